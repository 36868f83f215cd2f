from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from event_log_contract import BOB, EventLogContract, make_event, recent_items, wait_until
from launchyard.errors import RegistryError
from launchyard.records.events import EventLog
from launchyard.records.recent_events import RecentEvents
from launchyard.settings import Settings
from records_contract import RecordsContract

pytestmark = pytest.mark.integration


def find_tool(name: str) -> str:
    """Return a server tool's path; Debian keeps them out of PATH, one folder per version."""
    found = shutil.which(name) or next(
        (str(path) for path in sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)), None
    )
    if found is None:
        pytest.skip(f"{name} is not installed. Run: make system-deps")
    return found


def run_as_server(command: list[str], folder: Path) -> None:
    """Run a tool as a user that the server accepts: it refuses to be root."""
    user = "postgres" if os.geteuid() == 0 else None
    subprocess.run(
        command,
        user=user,
        group=pwd.getpwnam(user).pw_gid if user else None,
        extra_groups=[] if user else None,
        cwd=folder,
        check=True,
        timeout=60,
        stdout=subprocess.DEVNULL,
    )


def find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def server_folder() -> Iterator[Path]:
    """A folder that the server's user can reach: pytest's own are closed to everybody but their owner."""
    with tempfile.TemporaryDirectory(prefix="launchyard-postgres-") as name:
        if os.geteuid() == 0:
            shutil.chown(name, "postgres")
        yield Path(name)


@pytest.fixture(scope="module")
def server_url(server_folder: Path) -> Iterator[str]:
    """URL of a PostgreSQL server on loopback that lives as long as this module's tests."""
    initdb, pg_ctl, folder = find_tool("initdb"), find_tool("pg_ctl"), server_folder
    port = find_free_port()
    data = str(folder / "data")
    run_as_server([initdb, "-D", data, "-U", "tester", "-A", "trust", "--no-sync"], folder)
    options = f"-h 127.0.0.1 -p {port} -k {folder}"
    run_as_server([pg_ctl, "-D", data, "-w", "-l", str(folder / "log"), "-o", options, "start"], folder)
    try:
        yield f"postgresql+psycopg://tester@127.0.0.1:{port}/postgres"
    finally:
        run_as_server([pg_ctl, "-D", data, "-m", "immediate", "stop"], folder)


@pytest.fixture
def settings(server_url: str, tmp_path: Path) -> Settings:
    """Settings with an empty database of their own."""
    name = f"test_{uuid.uuid4().hex}"
    engine = create_engine(server_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return Settings(home=tmp_path / "home", database_url=server_url.replace("/postgres", f"/{name}"))


class TestRecordsOnPostgres(RecordsContract):
    """The cluster's database."""


class TestEventLogOnPostgres(EventLogContract):
    """The cluster's database."""


def find_server_processes(folder: Path) -> list[int]:
    """Return the ids of the server and of its children, which serve one connection each."""
    server = int((folder / "data" / "postmaster.pid").read_text().split()[0])
    children = Path(f"/proc/{server}/task/{server}/children").read_text().split()
    return [server, *map(int, children)]


@pytest.mark.alone
def test_a_server_that_stands_still_costs_one_deadline_and_is_read_again_when_it_goes_on(
    settings: Settings, server_folder: Path
) -> None:
    with closing(EventLog(settings, "films")) as log, closing(RecentEvents(log, max_events=3, timeout_s=0.2)) as recent:
        recent.add([make_event(1)])
        assert recent_items(recent) == ["item-1"]
        stopped = find_server_processes(server_folder)
        for number in stopped:
            os.kill(number, signal.SIGSTOP)
        try:
            waits_s = [measure_refusal(recent) for _ in range(10)]
            remembered = recent_items(recent)
        finally:
            for number in reversed(stopped):
                os.kill(number, signal.SIGCONT)

        assert waits_s[0] < 1.0
        assert max(waits_s[1:]) < 0.1
        assert remembered == ["item-1"]
        wait_until(lambda: recent.problem is None)
        assert recent_items(recent, BOB) == []


def measure_refusal(recent: RecentEvents) -> float:
    """Return the seconds until the events of a user who is not in memory were refused."""
    start = time.monotonic()
    with pytest.raises(RegistryError, match="Check that"):
        recent.history(BOB)
    return time.monotonic() - start
