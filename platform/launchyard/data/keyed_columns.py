"""Reading the columns that say whom or what a row is about and when it happened, whoever wrote the file.

Array legend: N rows of a batch.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from launchyard.data.columns import read_text, read_times, require_values

UNIT_LIMITS = ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3))
"""From which size on a number counts nanoseconds, microseconds or milliseconds; 1e11 seconds are the year 5138."""


def read_ids(batch: pa.Table, column: str, *, key: str) -> pa.Array:
    """Return a column of ids as text without white space around it: 7, 7.0 and ``"7"`` are one id; blank is null.

    Raises:
        DataError: the column holds lists or records; ``key`` is the spec's key that named it.
    """
    values = batch[column]
    if pa.types.is_floating(values.type):
        numbers = pc.cast(values, pa.float64()).combine_chunks()
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
    """Return moments in seconds since 1970 that were given in seconds or in a smaller unit.

    >>> to_seconds(np.array([881250949.0, 881250949000.0])).tolist()
    [881250949.0, 881250949.0]
    """
    sizes_N = np.abs(times_N)
    units_N = np.select([sizes_N >= limit for limit, _ in UNIT_LIMITS], [unit for _, unit in UNIT_LIMITS], 1.0)
    seconds_N: NDArray[np.float64] = times_N / units_N
    return seconds_N
