"""Percentile bootstrap: how sure a metric is, given the rows it stands on (Efron and Tibshirani 1993, ch. 13).

Shapes: B rows, R resamples. Two models that are measured on the same rows with the same seed see the same
resamples, so the differences of their samples are paired.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from launchyard.contract.evaluation import Scores
from launchyard.evaluation.results import Measure

Floats = NDArray[np.float64]

MAX_WEIGHTS = 4_000_000
"""Most resampling weights held at once (32 MB), whatever the number of rows."""


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are made."""

    resamples: int
    confidence: float
    seed: int = 0


@dataclass(frozen=True)
class Measured:
    """Metrics with intervals, and the resamples behind them for paired comparisons."""

    measures: dict[str, Measure]
    samples: dict[str, Floats]


def measure(scores: Scores, bootstrap: Bootstrap) -> Measured:
    """Return every defined metric of ``scores`` with its interval."""
    points = scores.metrics()
    parts = [scores.resample(weights_RB) for weights_RB in iter_weights(scores.num_rows, bootstrap)]
    samples = {name: np.concatenate([part[name] for part in parts]) for name in points}
    return Measured(
        {name: summarise(value, samples[name], scores.num_rows, bootstrap) for name, value in points.items()}, samples
    )


def iter_weights(num_rows: int, bootstrap: Bootstrap) -> Iterator[Floats]:
    """Yield the resamples in blocks: how often each row was drawn, drawing as many rows as there are."""
    generator = np.random.default_rng(bootstrap.seed)
    block = max(1, MAX_WEIGHTS // num_rows)
    for start in range(0, bootstrap.resamples, block):
        size = min(block, bootstrap.resamples - start)
        drawn_RB = generator.integers(0, num_rows, size=(size, num_rows))
        drawn_RB += np.arange(size)[:, None] * num_rows
        counts = np.bincount(drawn_RB.ravel(), minlength=size * num_rows)
        yield counts.reshape(size, num_rows).astype(np.float64)


def summarise(value: float, sample_R: Floats, num_rows: int, bootstrap: Bootstrap) -> Measure:
    """Return ``value`` with the percentile interval of its resamples; undefined resamples are left out.

    The interval always holds ``value``: a metric with a bound, such as an accuracy of 1, has no spread there.
    """
    defined_R = sample_R[np.isfinite(sample_R)]
    tail = (1 - bootstrap.confidence) / 2
    low, high = np.quantile(defined_R, (tail, 1 - tail)) if len(defined_R) else (value, value)
    return Measure(value=value, low=min(float(low), value), high=max(float(high), value), n=num_rows)


def paired_difference(model: Measured, other: Measured, metric: str, bootstrap: Bootstrap) -> Measure | None:
    """Return ``model`` minus ``other`` on the same resamples; None when either leaves ``metric`` undefined."""
    if metric not in model.measures or metric not in other.measures:
        return None
    ours, theirs = model.measures[metric], other.measures[metric]
    return summarise(ours.value - theirs.value, model.samples[metric] - other.samples[metric], ours.n, bootstrap)
