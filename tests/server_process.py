"""A ``launchyard serve`` of a test's own, stopped as Ctrl-C does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from hostile_surroundings import list_imported, make_hostile_environment, write_shadowing_modules
from launchyard.client import Client
from launchyard.settings import Settings

COMMAND = Path(sys.executable).with_name("launchyard")


@dataclass(frozen=True)
class Server:
    """A running ``launchyard serve`` and the state that it follows."""

    process: subprocess.Popen[str]
    settings: Settings
    url: str

    def client(self, product: str) -> Client:
        return Client(self.url, product)

    def is_ready(self, product: str) -> bool:
        try:
            return requests.get(f"{self.url}/{product}/ready", timeout=10).ok
        except requests.RequestException:
            # It went to a replica that was just killed.
            return False

    def find_replicas(self, product: str) -> list[int]:
        """Return the ids of the processes that answer for a product."""
        name = f"ray::ServeReplica:{product}".encode()
        return [number for number in self.find_processes() if read_proc(number, "cmdline").startswith(name)]

    def find_processes(self) -> list[int]:
        """Return the ids of the server and of all that it started, wherever they were moved to since."""
        mark = f"LAUNCHYARD_HOME={self.settings.home}".encode()
        ids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        return [number for number in ids if mark in read_proc(number, "environ").split(b"\0")]


def read_proc(number: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{number}/{name}").read_bytes()
    except OSError:
        return b""


def wait_until(condition: Callable[[], Any], *, timeout_s: float, what: str) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s} s"
        time.sleep(0.05)
    return found


@contextmanager
def running_server(settings: Settings, log: Path) -> Iterator[Server]:
    """Serve everything that is deployed; what it says goes to ``log``."""
    hostile = make_hostile_environment(log.parent)
    write_shadowing_modules(log.parent)
    own = {"LAUNCHYARD_HOME": str(settings.home), "LAUNCHYARD_PORT": str(settings.port)}
    with log.open("w+") as output:
        process = subprocess.Popen(
            [COMMAND, "serve"],
            cwd=log.parent,
            env=os.environ | hostile | own,
            stdout=output,
            stderr=output,
            text=True,
            start_new_session=True,
        )
        server = Server(process, settings, f"http://127.0.0.1:{settings.port}")
        try:
            wait_until(lambda: "Ready after" in read_output(process, log), timeout_s=240, what="the server")
            yield server
            # A terminal sends Ctrl-C to the whole group.
            os.killpg(process.pid, signal.SIGINT)
            assert process.wait(timeout=60) == 0
            assert server.find_processes() == []
            assert list_imported(log.parent) == ""
        finally:
            for number in server.find_processes():
                os.kill(number, signal.SIGKILL)


def read_output(process: subprocess.Popen[str], log: Path) -> str:
    text = log.read_text()
    assert process.poll() is None, text
    return text
