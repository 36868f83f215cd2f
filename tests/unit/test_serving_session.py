from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator

import pytest

from launchyard.errors import ServerError
from launchyard_serving.session.session import find_free_port, open_session


@pytest.fixture(autouse=True)
def _own_process_state() -> Iterator[None]:
    """A session changes its process's environment and signal handlers; give both back."""
    environment = dict(os.environ)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    os.environ.clear()
    os.environ.update(environment)
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_a_taken_port_is_refused_with_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        with (
            pytest.raises(ServerError, match=rf"127\.0\.0\.1:{port}: cannot listen there.*--port"),
            open_session("127.0.0.1", port),
        ):
            pass


def test_an_address_that_is_not_this_machines_is_refused() -> None:
    with pytest.raises(ServerError, match=r"203\.0\.113\.1"), open_session("203.0.113.1", find_free_port()):
        pass


def test_a_session_switches_authentication_and_the_fast_proxy_on() -> None:
    with open_session("127.0.0.1", find_free_port()) as session:
        assert os.environ["RAY_AUTH_MODE"] == "token"
        assert os.environ["RAY_AUTH_TOKEN_PATH"] == str(session.token_path)
        assert os.environ["RAY_SERVE_ENABLE_HA_PROXY"] == "1"
        assert os.environ["RAY_SERVE_THROUGHPUT_OPTIMIZED"] == "1"
        assert stat.S_IMODE(session.token_path.stat().st_mode) == 0o600
        assert stat.S_IMODE(session.folder.stat().st_mode) == 0o700


def test_two_sessions_share_neither_token_nor_folder() -> None:
    with open_session("127.0.0.1", find_free_port()) as one, open_session("127.0.0.1", find_free_port()) as other:
        assert one.folder != other.folder
        assert one.token_path.read_text() != other.token_path.read_text()


def test_the_proxy_listens_on_loopback_except_where_it_was_asked_to_answer() -> None:
    port = find_free_port()
    with open_session("0.0.0.0", port) as session:
        config = session.folder / "test.cfg"
        config.write_text(f"bind :9101\nbind *:8404\nbind 127.0.0.1:{port}\n")
        script = (session.folder / "haproxy").read_text().rsplit("exec", 1)[0]

        subprocess.run(["sh", "-c", script, "haproxy", "-db", "-f", str(config)], check=True)

        assert config.read_text() == f"bind 127.0.0.1:9101\nbind 127.0.0.1:8404\nbind 0.0.0.0:{port}\n"


def test_the_end_of_a_session_leaves_neither_processes_nor_files() -> None:
    with open_session("127.0.0.1", find_free_port(), patience_s=0.1) as session:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
        assert session.find_processes() == [child.pid]

    assert child.wait(timeout=10) == -signal.SIGKILL
    assert not session.folder.exists()


def test_sigterm_ends_a_session_in_order() -> None:
    with pytest.raises(KeyboardInterrupt), open_session("127.0.0.1", find_free_port()) as session:
        os.kill(os.getpid(), signal.SIGTERM)

    assert not session.folder.exists()
