"""Reading source columns whose type depends on who wrote the file: as numbers, as times, as digests."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from launchyard.data.identity import hash_values
from launchyard.data.values.canonical import format_column, format_id_column, format_value
from launchyard.data.values.redact import quote_value
from launchyard.errors import DataError

ROW_NUMBER = "launchyard:row"
"""Column that reading adds to every batch of a source: the number of the row in it, from 1, for messages."""

MOST_NAMED = 5

_DAY_WITH_SLASHES = re.compile(r"^(\d{4})/(\d\d)/(\d\d)(?!\d)")


def read_text(batch: pa.Table, column: str, *, key: str) -> pa.Array:
    """Return a column as text, whatever plain type it has, as :mod:`launchyard.data.values.canonical` writes it.

    Raises:
        DataError: the column holds lists or records; ``key`` is the spec's key that named it.
    """
    return _read_as(format_column, batch, column, key=key)


def read_ids(batch: pa.Table, column: str, *, key: str) -> pa.Array:
    """Return a column of ids as text without white space around it: 7, 7.0 and ``"7.0"`` are one id; blank is null.

    Raises:
        DataError: the column holds lists or records; ``key`` is the spec's key that named it.
    """
    return _read_as(format_id_column, batch, column, key=key)


def _read_as(make: Callable[[pa.ChunkedArray], pa.Array], batch: pa.Table, column: str, *, key: str) -> pa.Array:
    values = batch[column]
    if not pa.types.is_nested(values.type):
        with suppress(TypeError):
            return make(values)
    raise DataError(f"{key}: column '{column}' holds {values.type} values, not text. Choose another column.")


def read_numbers(batch: pa.Table, column: str, *, key: str) -> NDArray[np.float64]:
    """Return a column as float64; null, empty and NaN become NaN.

    Raises:
        DataError: a value is not a number.
    """
    if is_number(batch[column].type):
        numbers: NDArray[np.float64] = pc.cast(batch[column], pa.float64()).to_numpy()
        return numbers
    parsed = _parse_each(batch, column, float, f"{key}: is not a number")
    return np.array([np.nan if number is None else number for number in parsed], dtype=np.float64)


def read_times(batch: pa.Table, column: str, *, key: str) -> NDArray[np.float64]:
    """Return a column as float64 that can be ordered: dates and times as seconds since 1970, numbers as they are.

    A time without a zone is taken as UTC. Null and empty become NaN. Microseconds are kept until the year 2255.

    Raises:
        DataError: a text is neither a number nor a date or time in ISO 8601.
    """
    values = batch[column]
    if pa.types.is_timestamp(values.type) or pa.types.is_date(values.type):
        micros = pc.cast(pc.cast(values, pa.timestamp("us"), safe=False), pa.int64())
        seconds: NDArray[np.float64] = pc.divide(pc.cast(micros, pa.float64()), 1e6).to_numpy()
        return seconds
    if is_number(values.type):
        return read_numbers(batch, column, key=key)
    parsed = _parse_each(batch, column, parse_time, f"{key}: is neither a number nor a date or time in ISO 8601")
    return np.array([np.nan if time is None else time for time in parsed], dtype=np.float64)


def hide_values(batch: pa.Table, column: str, *, key: str) -> pa.Array:
    """Return a digest of each id as 16 hex digits: equal ids stay equal, and nobody can read who they are.

    Nulls and empty values are null.
    """
    values = read_ids(batch, column, key=key)
    hashes = [f"{number:016x}" for number in hash_values(values.fill_null("")).tolist()]
    return pc.if_else(pc.is_valid(values), pa.array(hashes, pa.string()), pa.scalar(None, pa.string()))


def require_values(is_good: Sequence[bool] | NDArray[np.bool_], batch: pa.Table, column: str, problem: str) -> None:
    """Return when all rows are good.

    Raises:
        DataError: some are not; the message is ``problem`` with the first few values and their rows. Personal data
            in them is masked.
    """
    bad = np.flatnonzero(~np.asarray(is_good))
    if not len(bad):
        return
    named = [f"{_quote(batch[column][i])} in row {number_row(batch, i)}" for i in bad[:MOST_NAMED].tolist()]
    more = f" and {len(bad) - MOST_NAMED:,} more nearby" if len(bad) > MOST_NAMED else ""
    raise DataError(
        f"{problem}, found {', '.join(named)}{more} of column '{column}'. Correct the rows, or what the spec says."
    )


def number_row(batch: pa.Table, index: int) -> int:
    """Return the number in its source, from 1, of the row at ``index`` of a batch."""
    number: int = batch[ROW_NUMBER][index].as_py()
    return number


def is_number(kind: pa.DataType) -> bool:
    """Return whether a column of this type holds numbers."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _quote(value: pa.Scalar) -> str:
    """Return a value as it is compared, or as it is if it has no text."""
    plain = value.as_py()
    with suppress(TypeError):
        plain = format_value(plain)
    return quote_value(plain)


def _parse_each(batch: pa.Table, column: str, parse: Callable[[str], float], problem: str) -> list[float | None]:
    parsed: list[float | None] = []
    is_good = np.ones(batch.num_rows, dtype=bool)
    for index, text in enumerate(read_text(batch, column, key=problem.partition(":")[0]).to_pylist()):
        try:
            parsed.append(parse(text.strip()) if text and text.strip() else None)
        except ValueError:
            parsed.append(None)
            is_good[index] = False
    require_values(is_good, batch, column, problem)
    return parsed


def parse_time(text: str) -> float:
    """Return a number as it is, and a date or time in ISO 8601 as seconds since 1970; without a zone it is UTC.

    Raises:
        ValueError: it is neither.
    """
    try:
        return float(text)
    except ValueError:
        return parse_iso_time(text)


def parse_iso_time(text: str) -> float:
    """Return a date or time in ISO 8601 as seconds since 1970; without a zone it is UTC.

    Slashes in a day whose year comes first, and `` UTC`` behind a time, are taken too.

    Raises:
        ValueError: it is none.
    """
    # As BigQuery writes a zone, and as people in East Asia write a day.
    usual = _DAY_WITH_SLASHES.sub(r"\1-\2-\3", text.removesuffix(" UTC"))
    time = datetime.fromisoformat(usual)
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
