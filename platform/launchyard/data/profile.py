"""What the columns of the examples hold, counted batch by batch in bounded memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from launchyard.data.identity import UInts, hash_values, mix
from launchyard.data.manifest import ColumnProfile

MOST_VALUES = 1_000
"""A column with more distinct values shows bins of the values' length instead of the commonest values."""

COMMONEST = 20
"""Values of a column that a profile lists; a report shows a column in one line or chart."""
LENGTH_BINS = 10
SKETCH_SIZE = 8_192
"""Smallest hashes kept to estimate distinct values (k minimum values): off by 1.1 % in two of three columns."""


class DistinctCounter:
    """Counts distinct values: exactly up to 8,192, beyond that within about 1 % (Bar-Yossef et al. 2002: the k-th
    smallest of n uniform hashes stands at k / n)."""  # noqa: D205, D209 - the source belongs to the first sentence

    def __init__(self) -> None:
        self._smallest: UInts = np.empty(0, dtype=np.uint64)

    def add(self, values: pa.ChunkedArray) -> None:
        """Take in one batch of values."""
        hashes = np.unique(np.concatenate([self._smallest, mix(hash_values(values))]))
        self._smallest = hashes[:SKETCH_SIZE]

    def count(self) -> int:
        """Return the number of distinct values so far."""
        if len(self._smallest) < SKETCH_SIZE:
            return len(self._smallest)
        return round((SKETCH_SIZE - 1) / (float(self._smallest[-1]) / 2.0**64))


class ColumnProfiler:
    """Counts what one column holds."""

    def __init__(self, name: str, data_type: pa.DataType) -> None:
        self._name = name
        self._type = str(data_type)
        # Bytes, lists and structs have no text that a person would read.
        self._shows_values = not (pa.types.is_nested(data_type) or pa.types.is_binary(data_type))
        self._distinct = DistinctCounter()
        self._values: Counter[str] = Counter()
        self._lengths: Counter[int] = Counter()

    def add(self, values: pa.ChunkedArray) -> None:
        """Take in one batch of values; nulls are left out."""
        values = values.drop_null()
        if (measure := _find_length(values.type)) is not None:
            self._lengths.update(_count_values(measure(values)))
        self._distinct.add(values)
        if self._shows_values and self._distinct.count() <= MOST_VALUES:
            self._values.update(_count_values(pc.cast(values, pa.string())))

    def build(self, num_rows: int, num_nulls: int, *, shows_values: bool = True) -> ColumnProfile:
        """Return the profile of what was taken in, out of ``num_rows`` rows that were read; no value if not wanted."""
        num_distinct = self._distinct.count()
        lengths = np.array(sorted(self._lengths), dtype=np.int64)
        weights = np.array([self._lengths[length] for length in lengths.tolist()], dtype=np.int64)
        is_listed = self._shows_values and shows_values and num_distinct <= MOST_VALUES
        return ColumnProfile(
            name=self._name,
            type=self._type,
            num_rows=num_rows,
            num_nulls=num_nulls,
            num_distinct=num_distinct,
            lengths=_find_quantiles(lengths, weights),
            histogram=self._list_commonest() if is_listed else _bin_lengths(lengths, weights),
        )

    def _list_commonest(self) -> dict[str, int]:
        """Return the commonest values, those of equal count in alphabetical order."""
        return dict(sorted(self._values.items(), key=lambda item: (-item[1], item[0]))[:COMMONEST])


def _find_length(data_type: pa.DataType) -> Callable[[pa.ChunkedArray], pa.ChunkedArray] | None:
    """Return what measures values of a type: characters, bytes or parts; None for those without a length."""
    if pa.types.is_string(data_type):
        return cast("Callable[[pa.ChunkedArray], pa.ChunkedArray]", pc.utf8_length)
    if pa.types.is_binary(data_type):
        return cast("Callable[[pa.ChunkedArray], pa.ChunkedArray]", pc.binary_length)
    if pa.types.is_list(data_type):
        return cast("Callable[[pa.ChunkedArray], pa.ChunkedArray]", pc.list_value_length)
    return None


def _count_values(values: pa.ChunkedArray) -> dict[Any, int]:
    counted = values.value_counts()
    return dict(zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True))


def _find_quantiles(lengths: np.ndarray, weights: np.ndarray) -> dict[str, float]:
    if not len(lengths):
        return {}
    below = np.cumsum(weights)
    ranks = {"p0": 0.0, "p50": 0.5, "p95": 0.95, "p100": 1.0}
    return {
        name: float(lengths[min(np.searchsorted(below, share * below[-1]), len(lengths) - 1)])
        for name, share in ranks.items()
    }


def _bin_lengths(lengths: np.ndarray, weights: np.ndarray) -> dict[str, int]:
    if not len(lengths):
        return {}
    width = max(1, -(-int(lengths[-1] + 1) // LENGTH_BINS))
    counts = np.bincount(lengths // width, weights=weights).astype(int).tolist()
    return {f"{index * width}-{(index + 1) * width - 1}": count for index, count in enumerate(counts)}
