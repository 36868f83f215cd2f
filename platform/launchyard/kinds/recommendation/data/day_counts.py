"""What happened to the items until a moment: totals and windows, from counts per day.

The counts lie in the bundle as they were when its data were prepared, and in the online store as they are now. Either
way a window is summed up for the moment asked from whole days before it (:func:`launchyard.features.sets.sum_buckets`
is the rule for one item), so a test user is answered with nothing that came after.

Array legend: I items, R (item, day) pairs sorted by item and day.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from launchyard.errors import BundleError
from launchyard.features.sets import DAY_S, ENTITY, number_day

DAY_COUNTS_NAME = "day_counts.npz"
Floats = NDArray[np.float64]
WINDOWS_DAYS = (7, 30)


@dataclass(frozen=True)
class Totals:
    """Each item at one moment."""

    num_events_I: Floats
    first_event_I: Floats
    """Seconds since 1970; NaN before the first event."""
    windows_I: Mapping[int, Floats]
    """Window in days -> events in it."""


@dataclass(frozen=True, eq=False)
class DayCounts:
    """Events of each item on each day."""

    starts_I: NDArray[np.int64]
    """Where an item's pairs begin; one number more than items."""
    days_R: NDArray[np.int64]
    counts_R: NDArray[np.int64]
    older_I: NDArray[np.int64]
    """Events before the first pair of each item: the store keeps days only so far back."""
    first_event_I: Floats

    def equals(self, other: DayCounts) -> bool:
        """Return whether another holds the same counts."""
        return all(
            np.array_equal(getattr(self, name), getattr(other, name), equal_nan=name == "first_event_I")
            for name in ("starts_I", "days_R", "counts_R", "older_I", "first_event_I")
        )

    @cached_property
    def _running_sums(self) -> NDArray[np.int64]:
        return np.concatenate([[0], np.cumsum(self.counts_R)])

    @cached_property
    def _sorted_keys(self) -> NDArray[np.int64]:
        """Item and day in one ascending number, to search them all at once."""
        items_R = np.repeat(np.arange(len(self.starts_I) - 1), np.diff(self.starts_I))
        return items_R * self._stride + (self.days_R - self._first_day)

    @cached_property
    def _first_day(self) -> int:
        return int(self.days_R.min(initial=0))

    @cached_property
    def _stride(self) -> int:
        return int(self.days_R.max(initial=0)) - self._first_day + 2

    def count_before(self, day: int) -> Floats:
        """Return the events of each item before a day."""
        offset = min(max(day - self._first_day, 0), self._stride - 1)
        ends_I = np.searchsorted(self._sorted_keys, np.arange(len(self.starts_I) - 1) * self._stride + offset)
        return (self._running_sums[ends_I] - self._running_sums[self.starts_I[:-1]] + self.older_I).astype(np.float64)

    def total(self, time: float) -> Totals:
        """Return what was known at ``time``, seconds since 1970."""
        today = number_day(time)
        before_I = self.count_before(today)
        windows = {days: before_I - self.count_before(today - days) for days in WINDOWS_DAYS}
        # The first event's own day is not over: what happens today is known tomorrow.
        known_I = np.where(self.first_event_I < today * DAY_S, self.first_event_I, np.nan)
        return Totals(before_I, known_I, windows)


def read_day_counts(table: pa.Table, items: Sequence[str]) -> DayCounts:
    """Return the counts in the file of ``item_statistics``: the newest row of an item holds its newest days.

    Rows of earlier days fill in what the newest row does not reach back to.
    """
    position = {item: place for place, item in enumerate(items)}
    days: list[dict[int, int]] = [{} for _ in items]
    first_event_I = np.full(len(items), np.nan)
    num_events_I = np.zeros(len(items), dtype=np.int64)
    for row in table.to_pylist():
        place = position.get(row[ENTITY])
        if place is not None:
            days[place].update(zip(row["day_numbers"], row["day_counts"], strict=True))
            first_event_I[place] = row["first_event"]
            num_events_I[place] = row["num_events"]
    return _pack(days, first_event_I, num_events_I)


def read_online(rows: Sequence[Mapping[str, Any] | None]) -> DayCounts:
    """Return the counts of online rows, one for each item in catalogue order; None where the store has none."""
    days = [dict(zip(row["day_numbers"] or (), row["day_counts"] or (), strict=True)) if row else {} for row in rows]
    first = [row["first_event"] if row and row["first_event"] is not None else np.nan for row in rows]
    totals = [int(row["num_events"]) if row else 0 for row in rows]
    return _pack(days, np.array(first, dtype=np.float64), np.array(totals, dtype=np.int64))


def _pack(days: Sequence[Mapping[int, int]], first_event_I: Floats, num_events_I: NDArray[np.int64]) -> DayCounts:
    ordered = [sorted(found.items()) for found in days]
    starts_I = np.r_[0, np.cumsum([len(found) for found in ordered])].astype(np.int64)
    flat = np.array([pair for found in ordered for pair in found], dtype=np.int64).reshape(-1, 2)
    kept_I = np.array([sum(count for _, count in found) for found in ordered], dtype=np.int64)
    return DayCounts(starts_I, flat[:, 0], flat[:, 1], num_events_I - kept_I, first_event_I)


def save_day_counts(counts: DayCounts, folder: Path) -> None:
    """Write the counts per day as plain arrays."""
    np.savez_compressed(
        folder / DAY_COUNTS_NAME,
        allow_pickle=False,
        starts=counts.starts_I,
        days=counts.days_R,
        counts=counts.counts_R,
        older=counts.older_I,
        first_event=counts.first_event_I,
    )


def load_day_counts(folder: Path) -> DayCounts:
    """Return what :func:`save_day_counts` wrote.

    Raises:
        BundleError: it is missing or damaged.
    """
    path = folder / DAY_COUNTS_NAME
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return DayCounts(arrays["starts"], arrays["days"], arrays["counts"], arrays["older"], arrays["first_event"])
    except (OSError, KeyError, ValueError) as err:
        raise BundleError(f"{path}: cannot be read: {err}. Evaluate the model again.") from err
