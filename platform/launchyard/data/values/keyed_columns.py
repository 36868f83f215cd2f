"""Reading the columns that say when something happened to whom or what, whoever wrote the file, and single moments.

Array legend: N rows of a batch.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from launchyard.data.values.columns import (
    is_number,
    parse_iso_time,
    read_numbers,
    read_text,
    read_times,
    require_values,
)

UNIT_LIMITS = ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3))
"""From which size on a number counts nanoseconds, microseconds or milliseconds; 1e11 seconds are the year 5138."""
DAY_FORMS = (
    (19_000_101, 21_001_231, "%Y%m%d"),
    (190_001_010_000, 210_012_312_359, "%Y%m%d%H%M"),
    (19_000_101_000_000, 21_001_231_235_959, "%Y%m%d%H%M%S"),
)
"""Numbers that are a day, a minute or a second in digits: 20240131, 202401312359 and 20240131235959.

As seconds or milliseconds they are in August of 1970, in 1976 and in the 26th century: nobody's log is of then.
"""
SMALLEST_MOMENT = 1e8
"""Numbers below it are seconds of 1970 to 1973, or count something else."""


def read_timestamps(batch: pa.Table, column: str, *, key: str) -> NDArray[np.float64]:
    """Return a column of moments as seconds since 1970; null and empty become NaN.

    A number counts seconds, milliseconds, microseconds or nanoseconds, as its size says, or is a day in digits, each
    row for itself.

    Raises:
        DataError: a text is neither a number nor a date or time in ISO 8601, or days in digits stand among other
            small numbers.
    """
    values = batch[column]
    if pa.types.is_timestamp(values.type) or pa.types.is_date(values.type):
        return read_times(batch, column, key=key)
    if is_number(values.type):
        numbers_N, moments_N = read_numbers(batch, column, key=key), np.full(batch.num_rows, np.nan)
    else:
        numbers_N, moments_N = _parse_texts(batch, column, key)
    require_values(np.isnan(numbers_N) | np.isfinite(numbers_N), batch, column, f"{key}: is no moment in time")
    days_N = find_days(numbers_N)
    is_other_N = np.isnan(days_N) & (np.abs(numbers_N) < SMALLEST_MOMENT)
    if not np.isnan(days_N).all():
        require_values(~is_other_N, batch, column, f"{key}: is no day, such as the 20240131 of other rows")
    return np.where(np.isnan(moments_N), to_seconds(numbers_N), moments_N)


def to_seconds(numbers_N: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return moments in seconds since 1970 that were given in seconds or in a smaller unit, or as days in digits.

    >>> to_seconds(np.array([881250949.0, 881250949000.0, 19971204.0])).tolist()
    [881250949.0, 881250949.0, 881193600.0]
    """
    sizes_N = np.abs(numbers_N)
    units_N = np.select([sizes_N >= limit for limit, _ in UNIT_LIMITS], [unit for _, unit in UNIT_LIMITS], 1.0)
    days_N = find_days(numbers_N)
    seconds_N: NDArray[np.float64] = np.where(np.isnan(days_N), numbers_N / units_N, days_N)
    return seconds_N


def find_days(numbers_N: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the moments of numbers that are days in digits, such as 20240131; NaN for all others."""
    days_N = np.full(len(numbers_N), np.nan)
    is_like_N = np.zeros(len(numbers_N), dtype=bool)
    for first, last, _ in DAY_FORMS:
        is_like_N |= (numbers_N >= first) & (numbers_N <= last)
    distinct, places = np.unique(numbers_N[is_like_N], return_inverse=True)
    found = np.array([_read_day(number) for number in distinct.tolist()], dtype=np.float64)
    days_N[is_like_N] = found[places]
    return days_N


def read_moment(value: float | str) -> float:
    """Return one moment in seconds since 1970, read as :func:`read_timestamps` reads a column of them.

    >>> read_moment("1997-12-04T15:55:49Z"), read_moment(881250949000), read_moment("19971204")
    (881250949.0, 881250949.0, 881193600.0)

    Raises:
        ValueError: it is no moment in time.
    """
    try:
        number = float(value)
    except ValueError:
        return parse_iso_time(str(value))
    if not math.isfinite(number):
        raise ValueError(f"{value} is no moment in time")
    day = _read_day(number)
    units = next((units for limit, units in UNIT_LIMITS if abs(number) >= limit), 1.0)
    return number / units if math.isnan(day) else day


def _read_day(number: float) -> float:
    form = next((form for first, last, form in DAY_FORMS if first <= number <= last), None)
    if form is None or not number.is_integer():
        return math.nan
    try:
        return datetime.strptime(f"{number:.0f}", form).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return math.nan


def _parse_texts(batch: pa.Table, column: str, key: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the texts that are numbers, and the moments of those in ISO 8601; NaN elsewhere."""
    numbers_N, moments_N = np.full(batch.num_rows, np.nan), np.full(batch.num_rows, np.nan)
    is_good_N = np.ones(batch.num_rows, dtype=bool)
    for index, text in enumerate(read_text(batch, column, key=key).to_pylist()):
        if not (text and text.strip()):
            continue
        try:
            numbers_N[index] = float(text)
        except ValueError:
            try:
                moments_N[index] = parse_iso_time(text.strip())
            except ValueError:
                is_good_N[index] = False
    problem = f"{key}: is neither a number nor a date or time in ISO 8601"
    require_values(is_good_N, batch, column, problem)
    return numbers_N, moments_N
