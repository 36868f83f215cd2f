"""How one row of an interaction log becomes an event, in training and serving alike."""

from __future__ import annotations

import math
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from launchyard.data.columns import parse_time, read_numbers, read_text, read_times, require_values
from launchyard.kinds.recommendation import Recommendation
from launchyard.spec.blocks import Product

UNIT_LIMITS = ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3))
"""From this size on, a number of time counts this many units in a second: 1e11 seconds is the year 5138, and 1e11
milliseconds the year 1973."""
EVENT_COLUMNS = ("user", "item", "timestamp", "event", "weight")


class EventRecipe:
    """Events of recommendation: columns ``user``, ``item``, ``timestamp``, ``event``, ``weight`` and the context's."""

    content_columns: tuple[str, ...] = ("user", "item", "timestamp", "event")
    label_column: str | None = None

    def __init__(self, spec: Product) -> None:
        """Take what the spec says about columns."""
        self._columns = cast(Recommendation, spec).data.interactions

    def source_columns(self) -> tuple[str, ...]:
        """Return the columns of user, item, timestamp, event, weight and context."""
        named = self._columns
        columns = (named.user, named.item, named.timestamp, named.event, named.weight, *named.context)
        return tuple(dict.fromkeys(name for name in columns if name is not None))

    def convert(self, batch: pa.Table) -> pa.Table:
        """Return the events of one batch: ids as text, the timestamp in seconds since 1970.

        Raises:
            DataError: a timestamp cannot be read, or a weight is not a number above 0.
        """
        named = self._columns
        times_N = read_timestamps(batch, named.timestamp, key="data.interactions.timestamp")
        columns = {
            "user": read_ids(batch, named.user, key="data.interactions.user"),
            "item": read_ids(batch, named.item, key="data.interactions.item"),
            "timestamp": pa.array(times_N, from_pandas=True),
            "event": pa.nulls(batch.num_rows, pa.string()),
            "weight": pa.array(np.ones(batch.num_rows, dtype=np.float32)),
        }
        if named.event is not None:
            columns["event"] = read_ids(batch, named.event, key="data.interactions.event")
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


def read_ids(batch: pa.Table, column: str, *, key: str) -> pa.Array:
    """Return a column of ids as text without white space around it: 7, 7.0 and ``"7"`` are one id; blank is null.

    Raises:
        DataError: the column holds lists or records.
    """
    values = batch[column]
    if pa.types.is_floating(values.type):
        numbers = values.combine_chunks()
        is_whole = pc.equal(pc.floor(numbers), numbers)
        whole = pc.cast(pc.if_else(is_whole, numbers, None), pa.int64(), safe=False)
        texts = pc.coalesce(pc.cast(whole, pa.string()), pc.cast(numbers, pa.string()))
        texts = pc.if_else(pc.fill_null(pc.is_nan(numbers), False), None, texts)
    else:
        texts = read_text(batch, column, key=key)
    trimmed = pc.utf8_trim_whitespace(texts)
    return pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, pa.string()), trimmed)


def read_timestamps(batch: pa.Table, column: str, *, key: str) -> NDArray[np.float64]:
    """Return a column of moments as seconds since 1970; null and empty become NaN.

    A number counts seconds, milliseconds, microseconds or nanoseconds, as its size says, each row for itself.

    Raises:
        DataError: a text is neither a number nor a date or time in ISO 8601.
    """
    times_N = to_seconds(read_times(batch, column, key=key))
    require_values(np.isnan(times_N) | np.isfinite(times_N), batch, column, f"{key}: is no moment in time")
    return times_N


def to_seconds(times_N: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return moments in seconds since 1970 that were given in seconds, or in a smaller unit.

    >>> to_seconds(np.array([881250949.0, 881250949000.0])).tolist()
    [881250949.0, 881250949.0]
    """
    sizes_N = np.abs(times_N)
    seconds_N = times_N.copy()
    for index, (limit, units) in enumerate(UNIT_LIMITS):
        below = UNIT_LIMITS[index - 1][0] if index else np.inf
        seconds_N = np.where((sizes_N >= limit) & (sizes_N < below), times_N / units, seconds_N)
    return seconds_N


def read_moment(value: float | str) -> float:
    """Return one moment in seconds since 1970, read as :func:`read_timestamps` reads a column of them.

    >>> read_moment("1997-12-04T15:55:49Z"), read_moment(881250949000)
    (881250949.0, 881250949.0)

    Raises:
        ValueError: it is no moment in time.
    """
    number = parse_time(value) if isinstance(value, str) else float(value)
    if not math.isfinite(number):
        raise ValueError(f"{value} is no moment in time")
    units = next((units for limit, units in UNIT_LIMITS if abs(number) >= limit), 1.0)
    return number / units


def _read_weights(batch: pa.Table, column: str) -> NDArray[np.float32]:
    weights_N = read_numbers(batch, column, key="data.interactions.weight")
    with np.errstate(invalid="ignore"):
        is_good_N = np.isfinite(weights_N) & (weights_N > 0)
    require_values(is_good_N, batch, column, "data.interactions.weight: must be a number above 0")
    return weights_N.astype(np.float32)
