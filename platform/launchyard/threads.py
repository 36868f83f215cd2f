"""How many threads a model computes on: the same count where its latency is measured and where it serves."""

from __future__ import annotations

import math
import os

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


def share_threads(cpus: float | None, *, count: int) -> int:
    """Return how many threads each of ``count`` processes computes on: never more than its share of the cores.

    ``cpus`` is what is asked for each; None asks for the whole share.
    """
    share = max(1, count_cores() // count)
    return share if cpus is None else max(1, min(share, math.floor(cpus)))
