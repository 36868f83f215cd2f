"""How one row of an interaction log becomes an event, in training and serving alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from launchyard.contract.rows import RowPolicy, Target
from launchyard.data.values.columns import read_ids, read_numbers, require_values
from launchyard.data.values.keyed_columns import read_timestamps
from launchyard.kinds.recommendation.spec import Recommendation
from launchyard.spec.blocks import Product

MAX_ID_CHARACTERS = 500
"""Longest id of a user or item, and name of an event."""
MAX_WEIGHT = 1e6
"""Beyond it one event outweighs all others, and float32 sums lose the rest."""


class EventRecipe:
    """Events of recommendation: columns ``user``, ``item``, ``timestamp``, ``event``, ``weight`` and the context's."""

    content_columns: tuple[str, ...] = ("user", "item", "timestamp", "event")
    target = Target("ranking")
    policy = RowPolicy(duplicates="drop", conflicts="keep", near_copies="none")

    def __init__(self, spec: Product) -> None:
        """Take what the spec says about columns."""
        self._columns = cast(Recommendation, spec).data.interactions

    def source_columns(self) -> tuple[str, ...]:
        """Return the columns of user, item, timestamp, event, weight and context."""
        named = self._columns
        columns = (named.user, named.item, named.timestamp, named.event, named.weight, *named.context)
        return tuple(dict.fromkeys(name for name in columns if name is not None))

    def file_columns(self) -> Mapping[str, tuple[str, ...]]:
        """Return none: no column names files."""
        return {}

    def convert(self, batch: pa.Table) -> pa.Table:
        """Return the events of one batch: ids as text, the timestamp in seconds since 1970.

        Raises:
            DataError: a timestamp cannot be read, or a weight is not a number above 0.
        """
        named = self._columns
        times_N = read_timestamps(batch, named.timestamp, key="data.interactions.timestamp")
        columns = {
            "user": read_short_ids(batch, named.user, key="data.interactions.user"),
            "item": read_short_ids(batch, named.item, key="data.interactions.item"),
            "timestamp": pa.array(times_N, from_pandas=True),
            "event": pa.nulls(batch.num_rows, pa.string()),
            "weight": pa.array(np.ones(batch.num_rows, dtype=np.float32)),
        }
        if named.event is not None:
            columns["event"] = read_short_ids(batch, named.event, key="data.interactions.event")
        if named.weight is not None:
            columns["weight"] = pa.array(_read_weights(batch, named.weight))
        for name in named.context:
            columns[name] = read_ids(batch, name, key="data.interactions.context")
        return pa.table(columns)

    def inspect(self, sample: pa.Table) -> list[str]:
        """Return a warning when nearly all events have the same moment, or moments that cannot be."""
        times_N = sample["timestamp"].to_numpy()
        if len(np.unique(times_N)) <= max(1, len(times_N) // 100):
            return ["data.interactions.timestamp: nearly all events have the same moment. Is it the right column?"]
        return []


def read_short_ids(batch: pa.Table, column: str, *, key: str) -> pa.Array:
    """Return a column of ids as :func:`read_ids` does.

    Raises:
        DataError: one is longer than a request may name.
    """
    ids = read_ids(batch, column, key=key)
    lengths_N = pc.fill_null(pc.utf8_length(ids), 0).to_numpy(zero_copy_only=False)
    problem = f"{key}: is longer than {MAX_ID_CHARACTERS} characters"
    require_values(lengths_N <= MAX_ID_CHARACTERS, batch, column, problem)
    return ids


def _read_weights(batch: pa.Table, column: str) -> NDArray[np.float32]:
    weights_N = read_numbers(batch, column, key="data.interactions.weight")
    with np.errstate(invalid="ignore"):
        is_good_N = (weights_N > 0) & (weights_N <= MAX_WEIGHT)
    problem = f"data.interactions.weight: must be a number above 0 and at most {MAX_WEIGHT:,.0f}"
    require_values(is_good_N, batch, column, problem)
    return weights_N.astype(np.float32)
