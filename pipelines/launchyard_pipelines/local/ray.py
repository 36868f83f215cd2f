"""Ray on this machine, for as long as one step needs it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import ray
from ray._private import node as ray_node

from launchyard.errors import RunError
from launchyard.files.scratch import open_scratch

OBJECT_STORE_BYTES = 80 * 2**20
"""Rows and weights travel by file, not through Ray's object store; this is the least it accepts."""
LOOPBACK = "127.0.0.1"

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_ENABLE_CONTROLLER_STRUCTURED_LOGGING": "0",
    "RAY_TRAIN_ENABLE_WORKER_STRUCTURED_LOGGING": "0",
    # Ray sees at such a look that the workers are done: with its own 2 s each training would take longer.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.25",
    # They would lie idle: processes of Ray Train have an environment of their own, those of a search start when needed.
    "RAY_enable_worker_prestart": "0",
    "RAY_prestart_worker_first_driver": "0",
    # Ray's own 60 s are too few on a busy machine.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "600",
}
"""Ray as a library in one machine: nobody watches its dashboard and no node is taken away,
but on a busy one workers take long to start."""

_STARTED_HERE: ContextVar[bool] = ContextVar("started_here", default=False)


def is_ray_started_here() -> bool:
    """Return whether Ray runs on this machine alone, for this program, and ends with :func:`local_ray`."""
    return _STARTED_HERE.get()


class UnwatchedNode(ray_node.Node):
    """Ray's head without the processes that nobody asks on a Ray that is one program's.

    Each loads Ray anew, and ``ray.init`` waits for the last: together half of what starting Ray takes.
    """

    def start_monitor(self) -> None:
        """Start no autoscaler."""

    def start_log_monitor(self) -> None:
        """Start nothing that carries logs to the driver, which asked for none."""

    def start_api_server(self, **_options: Any) -> None:
        """Start no dashboard; Ray 2.60 starts its process even when told to leave it out."""


@contextmanager
def _unwatched() -> Iterator[None]:
    """Let ``ray.init`` start an :class:`UnwatchedNode`, for which it has no parameter."""
    whole = ray_node.Node
    ray_node.Node = UnwatchedNode
    try:
        yield
    finally:
        ray_node.Node = whole


def _start_ray(folder: Path, *, num_cpus: float, num_gpus: int) -> None:
    try:
        ray.init(
            address="local",
            num_cpus=num_cpus,
            num_gpus=num_gpus,
            object_store_memory=OBJECT_STORE_BYTES,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="error",
            _node_ip_address=LOOPBACK,
            # Ray opens its own folder to all users; ours above it stays closed.
            _temp_dir=str(folder / "ray"),
        )
    except Exception as err:
        raise RunError(
            f"Ray does not start: {err} Run it again, when the machine is less busy or has more memory to spare."
        ) from err


@contextmanager
def local_ray(*, num_cpus: float, num_gpus: int = 0) -> Iterator[None]:
    """Run the block on a Ray of its own that only this process and its children may use, then stop it.

    Inside a program that is connected to Ray already (a cluster job, a test module) that one is used and kept.

    Raises:
        RunError: Ray does not start.
    """
    if ray.is_initialized():
        yield
        return
    # Without it Ray would write a token into the home folder, for all programs of this user.
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    with open_scratch() as folder:
        # Workers import from the folder that Ray starts in, before all else.
        with chdir(folder), _unwatched():
            _start_ray(folder, num_cpus=num_cpus, num_gpus=num_gpus)
        started_here = _STARTED_HERE.set(True)
        try:
            yield
        finally:
            ray.shutdown()
            _STARTED_HERE.reset(started_here)
