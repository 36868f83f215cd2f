"""How many threads a model computes on: the same count where its latency is measured and where it serves."""

from __future__ import annotations

import os

from launchyard.spec.blocks import Product


def count_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def count_serving_threads(spec: Product) -> int:
    """Return the threads of one forward pass: ``resources.serve.cpus`` rounded down, or an even share of all cores.

    Never more than the cores that this process may use: threads without a core of their own only wait for each other.
    """
    cores = count_cores()
    cpus = spec.resources.serve.cpus
    wanted = cores // spec.serve.replicas.min if cpus is None else int(cpus)
    return max(1, min(wanted, cores))
