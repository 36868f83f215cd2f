"""Axes: from values to places on a chart, with ticks at round numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from launchyard.report.formats import format_number

NUM_TICKS = 5


@dataclass(frozen=True)
class Tick:
    """A labelled place on an axis."""

    position: float
    label: str


@dataclass(frozen=True)
class Scale:
    """A map from the values ``low..high`` to the places ``start..end``, in units of the drawing."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def place(self, value: float) -> float:
        """Return where ``value`` lies, to a tenth of a unit."""
        low, high, at = (
            (math.log(self.low), math.log(self.high), math.log(value)) if self.log else (self.low, self.high, value)
        )
        return round(self.start + (at - low) / (high - low) * (self.end - self.start), 1)

    def ticks(self) -> list[Tick]:
        """Return about :data:`NUM_TICKS` ticks inside the scale."""
        values = log_ticks(self.low, self.high) if self.log else linear_ticks(self.low, self.high, NUM_TICKS)
        return [Tick(self.place(value), format_number(value)) for value in values]


def fit_scale(values: Sequence[float], start: float, end: float, *, log: bool = False, is_round: bool = False) -> Scale:
    """Return a scale that holds all finite ``values``; equal values get room on both sides.

    A ``is_round`` linear scale begins and ends at a tick.
    """
    finite = [value for value in values if math.isfinite(value)] or [1.0]
    low, high = min(finite), max(finite)
    log = log and low > 0
    if low == high:
        low, high = (low / 2, high * 2) if log else (low - (abs(low) or 1) / 10, high + (abs(high) or 1) / 10)
    if is_round and not log:
        step = _step(low, high, NUM_TICKS)
        low, high = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    return Scale(low, high, start, end, log)


def linear_ticks(low: float, high: float, count: int) -> list[float]:
    """Return multiples of 1, 2 or 5 times a power of ten between ``low`` and ``high``, at most ``count`` + 1.

    >>> linear_ticks(0, 0.97, 5)
    [0.0, 0.2, 0.4, 0.6, 0.8]
    """
    step = _step(low, high, count)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def _step(low: float, high: float, count: int) -> float:
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))


def log_ticks(low: float, high: float) -> list[float]:
    """Return the powers of ten between ``low`` and ``high``, with their 2 and 5 folds where there are few."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1,) if len(exponents) > 4 else (1, 2, 5)
    values = [factor * 10.0**exponent for exponent in exponents for factor in factors]
    return [value for value in values if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)]


def thin(points: Sequence[tuple[float, float]], limit: int) -> list[tuple[float, float]]:
    """Return at most ``limit`` points: the mean of each of as many stretches of neighbours."""
    if len(points) <= limit:
        return list(points)
    edges = [round(index * len(points) / limit) for index in range(limit + 1)]
    stretches = [points[first:last] for first, last in pairwise(edges)]
    return [
        (sum(x for x, _ in stretch) / len(stretch), sum(y for _, y in stretch) / len(stretch)) for stretch in stretches
    ]
