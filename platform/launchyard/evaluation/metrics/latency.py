"""How long one prediction takes. Shapes: B timed calls, R resamples."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from launchyard.evaluation.metrics.bootstrap import Bootstrap, summarise
from launchyard.evaluation.results import Latency, Measure

Item = TypeVar("Item")


def time_calls(
    call: Callable[[Item], object], items: Sequence[Item], *, warmup: int = 50, calls: int = 500
) -> NDArray[np.float64]:
    """Return the milliseconds of ``calls`` calls, one after the other, on ``items`` in turn, after ``warmup`` calls."""
    milliseconds_B = np.empty(calls)
    for number in range(-warmup, calls):
        item = items[number % len(items)]
        start = time.perf_counter()
        call(item)
        if number >= 0:
            milliseconds_B[number] = 1000 * (time.perf_counter() - start)
    return milliseconds_B


def describe_latency(milliseconds_B: NDArray[np.float64], threads: int) -> Latency:
    """Return the quantiles that people quote."""
    p50, p95, p99 = np.quantile(milliseconds_B, (0.5, 0.95, 0.99)).tolist()
    return Latency(p50_ms=p50, p95_ms=p95, p99_ms=p99, n=len(milliseconds_B), threads=threads)


def measure_latency(milliseconds_B: NDArray[np.float64], bootstrap: Bootstrap) -> dict[str, Measure]:
    """Return ``latency_p50_ms`` and ``latency_p99_ms`` with intervals, so that gates can stand on them."""
    generator = np.random.default_rng(bootstrap.seed)
    size = len(milliseconds_B)
    drawn_RB = milliseconds_B[generator.integers(0, size, size=(bootstrap.resamples, size))]
    return {
        f"latency_p{percent}_ms": summarise(
            float(np.percentile(milliseconds_B, percent)), np.percentile(drawn_RB, percent, axis=1), size, bootstrap
        )
        for percent in (50, 99)
    }
