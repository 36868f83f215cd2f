"""A Ray that does not start, as on a machine that is too busy: people read what to do, not a plain exception."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from launchyard.errors import RunError, ServerError
from launchyard_pipelines.local.ray import QUIET, local_ray
from launchyard_serving.session.cluster import serve_applications
from launchyard_serving.session.session import Session


@pytest.fixture(autouse=True)
def _busy_machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def give_up(**_options: object) -> None:
        raise Exception("The current node timed out during startup.")

    monkeypatch.setattr(ray, "init", give_up)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    # What a step tells its Ray, and how a server ends, is not to stay in the process of the tests.
    for name, value in {**QUIET, "RAY_AUTH_TOKEN": "token"}.items():
        monkeypatch.setenv(name, value)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_a_step_says_that_ray_does_not_start_and_what_to_do() -> None:
    with pytest.raises(RunError, match=r"Ray does not start: .*timed out.* Run it again"), local_ray(num_cpus=1):
        pytest.fail("there is no Ray")


def test_a_server_says_that_ray_does_not_start_and_what_to_do(tmp_path: Path) -> None:
    session = Session(tmp_path, "127.0.0.1", 8000)

    with (
        pytest.raises(ServerError, match=r"Ray does not start: .*timed out.* Start the server again"),
        serve_applications(session, []),
    ):
        pytest.fail("there is no Ray")
