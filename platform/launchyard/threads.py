"""How many threads and GPUs a model computes on: the same where its latency is measured and where it serves."""

from __future__ import annotations

import math
import os

from launchyard.contract.predictor import Device
from launchyard.errors import TrainError
from launchyard.spec.blocks import Product


def count_cores() -> int:
    """Return how many cores this process may use."""
    # Not os.cpu_count(): taskset, or the cpuset of a container, may leave this process fewer.
    return len(os.sched_getaffinity(0))


def count_serving_threads(spec: Product) -> int:
    """Return the threads of one forward pass: ``resources.serve.cpus`` rounded down, or an even share of all cores.

    Never more than the cores that this process may use: threads without a core of their own only wait for each other.
    """
    cores = count_cores()
    cpus = spec.resources.serve.cpus
    wanted = cores // spec.serve.replicas.min if cpus is None else int(cpus)
    return max(1, min(wanted, cores))


def find_serving_device(spec: Product) -> Device:
    """Return what one replica computes on."""
    return Device(count_serving_threads(spec), spec.resources.serve.gpus)


def describe_missing_gpus(gpus: float, *, count: int, key: str) -> str | None:
    """Return what to do about GPUs that this machine does not have; None when it has them, or none are asked for.

    Told before anything is started: Ray would wait for them for ever.

    Args:
        gpus: What each process gets.
        count: Processes at the same time.
        key: Where in the spec ``gpus`` stands.
    """
    found = count_gpus() if gpus else 0
    if gpus * count <= found:
        return None
    return (
        f"{key}.gpus: {gpus * count:g} asked for ({gpus:g} each, {count} at the same time), {found} found on this "
        f"machine. Set {key}.gpus to 0 to compute on the CPU."
    )


def check_gpus(gpus: int, *, count: int, key: str) -> None:
    """Refuse GPUs that this machine does not have; arguments as for :func:`describe_missing_gpus`.

    Raises:
        TrainError: more are asked for than there are.
    """
    if problem := describe_missing_gpus(gpus, count=count, key=key):
        raise TrainError(problem)


def count_gpus() -> int:
    """Return how many GPUs this process may use; loads torch."""
    import torch  # noqa: PLC0415 - slow to import, and most products ask for no GPU

    found: int = torch.cuda.device_count()
    return found


def share_threads(cpus: float | None, *, count: int) -> int:
    """Return how many threads each of ``count`` processes computes on: never more than its share of the cores.

    ``cpus`` is what is asked for each; None asks for the whole share.
    """
    share = max(1, count_cores() // count)
    return share if cpus is None else max(1, min(share, math.floor(cpus)))
