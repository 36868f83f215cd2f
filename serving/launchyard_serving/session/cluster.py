"""Ray and Serve on this machine, for as long as one ``launchyard serve`` runs."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator, Sequence
from contextlib import chdir, contextmanager

import ray
from ray import serve
from ray.exceptions import RayError
from ray.serve import RunTarget
from ray.serve.config import HTTPOptions, ProxyLocation
from ray.serve.schema import ApplicationStatus

from launchyard.errors import ServerError
from launchyard_serving.deployment import LOGGING
from launchyard_serving.session.session import LOOPBACK, Session, interrupt_on_signals

OBJECT_STORE_BYTES = 80 * 2**20
"""Requests do not go through Ray's object store; this is the least it accepts."""


@contextmanager
def serve_applications(session: Session, targets: Sequence[RunTarget], *, num_gpus: int = 0) -> Iterator[None]:
    """Run the applications while the block runs; they are starting when it begins.

    At the end requests that are being answered are finished first.

    Args:
        session: Where they run.
        targets: The applications.
        num_gpus: GPUs that they share; without any, none is looked for.

    Raises:
        ServerError: Ray or Serve did not start, or died while the block ran.
    """
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    try:
        # Replicas import from the folder that Ray starts in, before all else.
        with chdir(session.folder):
            _start_ray(session, num_cpus=len(targets), num_gpus=num_gpus)
        # Ray has put a handler of its own on SIGTERM, which would skip the way out below.
        interrupt_on_signals()
        serve.start(
            proxy_location=ProxyLocation.HeadOnly,
            http_options=HTTPOptions(host=LOOPBACK, port=session.port),
            logging_config=LOGGING,
        )
        serve.run_many(targets, wait_for_ingress_deployment_creation=False, wait_for_applications_running=False)
        yield
    except RayError as err:
        raise ServerError(f"{session.url}: Ray Serve does not run: {err}. Start it again.") from err
    finally:
        # From here on a further Ctrl-C would only leave processes behind; every wait below is bounded.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if ray.is_initialized():
            _drain_applications()
        ray.shutdown()


def _start_ray(session: Session, *, num_cpus: int, num_gpus: int) -> None:
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
            _temp_dir=str(session.folder / "ray"),
        )
    except Exception as err:
        raise ServerError(
            f"{session.url}: Ray does not start: {err} Start the server again, when the machine is less busy or has "
            "more memory to spare."
        ) from err


def _drain_applications() -> None:
    """Take every application down, which ends when the requests that it had begun are answered.

    ``serve.shutdown`` would do it too, and take Serve itself down afterwards; ray.shutdown does that at once.
    """
    for name in serve.status().applications:
        serve.delete(name)


def check_applications() -> None:
    """Do nothing while every application runs or is starting.

    Raises:
        ServerError: one could not be started; the message holds what Serve says about it.
    """
    for name, application in serve.status().applications.items():
        if application.status == ApplicationStatus.DEPLOY_FAILED:
            raise ServerError(f"{name}: the endpoint cannot start: {application.message}")
