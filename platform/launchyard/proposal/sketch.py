"""What the first rows of a table say about its columns."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from launchyard.contract.proposals import ColumnSketch, ColumnType, TableSketch
from launchyard.data.values.canonical import format_column
from launchyard.data.values.columns import parse_iso_time
from launchyard.sources.forms.tables import iter_tables
from launchyard.sources.resolve import Fetched

MAX_ROWS = 100_000
"""Rows that are looked at: enough to tell columns apart, read in seconds."""
MAX_MEASURED = 2_000
"""Values whose words are counted, and that are tried as times, drawn evenly from all that were read."""
TIME_SHARE = 0.98
"""Share of a text column's values that must be times; the rest may be typing errors."""
EPOCHS = ((6e8, 2.1e9, 1.0), (6e11, 2.1e12, 1e3), (6e14, 2.1e15, 1e6), (6e17, 2.1e18, 1e9))
"""Whole numbers from 1989 to 2036 as seconds, milli-, micro- and nanoseconds since 1970, and a second in their unit."""
TIME_WORDS = {"time", "timestamp", "datetime", "date", "day", "ts", "created", "updated", "modified", "at", "when"}
"""Of a column's name that says that numbers of a moment's size are moments, and no ids."""
SINGULAR = {"class", "address", "business", "news", "goods", "status", "stars", "process"}
"""Words that end in s and are no plurals, or are used as such alone."""
NO_SPACES = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff]")


def sketch_table(fetched: Fetched) -> TableSketch:
    """Return what the first rows of a source say.

    Raises:
        SourceError: it holds no table, or a row of it is damaged.
    """
    tables, is_whole = [], True
    num_rows = 0
    for table in iter_tables(fetched, None):
        if num_rows >= MAX_ROWS:
            is_whole = False
            break
        tables.append(table.slice(0, MAX_ROWS - num_rows))
        is_whole = table.num_rows <= MAX_ROWS - num_rows
        num_rows += tables[-1].num_rows
    rows = pa.concat_tables(tables)
    return TableSketch(tuple(_sketch_columns(rows)), rows, is_whole)


def split_name(name: str) -> set[str]:
    """Return the words that a column's name is made of, in the singular.

    >>> sorted(split_name("customerID:tokens"))
    ['customer', 'id', 'token']
    >>> sorted(split_name("userid"))
    ['id', 'user']
    """
    spaced = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", name).lower()
    words = (re.sub(r"(?<=[a-z]{3})id$", " id", word) for word in re.findall(r"[^\W_]+", spaced))
    return {word if word in SINGULAR else word.removesuffix("s") for pair in words for word in pair.split()}


def draw(values: pa.ChunkedArray | pa.Array, most: int = MAX_MEASURED) -> list[str]:
    """Return at most ``most`` of the values, evenly from first to last, as text; null and blank ones are left out."""
    step = max(1, len(values) // most)
    texts = format_column(values.take(pa.array(range(0, len(values), step), pa.int64())))
    return [text for text in texts.to_pylist() if text and text.strip()]


def list_filled(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column's values as text without white space around them; null and blank ones are left out."""
    texts = pc.utf8_trim_whitespace(format_column(values))
    return texts.filter(pc.fill_null(pc.greater(pc.utf8_length(texts), 0), False))


def count_words(text: str) -> int:
    """Return the words of a text; each letter of a script without spaces counts as one."""
    return len(NO_SPACES.sub(" x ", text).split())


def _sketch_columns(rows: pa.Table) -> Iterator[ColumnSketch]:
    for name in rows.column_names:
        values = rows[name]
        if pa.types.is_nested(values.type) or pa.types.is_binary(values.type) or pa.types.is_large_binary(values.type):
            null_share = values.null_count / max(1, len(values))
            yield ColumnSketch(name, "other", False, len(values) - values.null_count, 0, null_share, 0.0, 0.0, None)
        else:
            yield _sketch_column(name, values)


def _sketch_column(name: str, values: pa.ChunkedArray) -> ColumnSketch:
    filled = list_filled(values)
    drawn = draw(filled)
    type_, span, is_whole = _read_type(name, values.type, filled, drawn)
    return ColumnSketch(
        name,
        type_,
        is_whole,
        num_values=len(filled),
        num_distinct=len(pc.unique(filled)),
        null_share=1 - len(filled) / max(1, len(values)),
        mean_words=sum(map(count_words, drawn)) / max(1, len(drawn)),
        mean_characters=sum(map(len, drawn)) / max(1, len(drawn)),
        span=span,
    )


def _read_type(
    name: str, type_: pa.DataType, filled: pa.ChunkedArray, drawn: list[str]
) -> tuple[ColumnType, tuple[str, str] | None, bool]:
    """Return what a column holds, its range, and whether it holds whole numbers; csv files hold texts alone."""
    if pa.types.is_boolean(type_):
        return "truth", None, False
    numbers = _read_numbers(filled)
    if numbers is not None:
        low, high = numbers
        is_whole = all(text.lstrip("-").removesuffix(".0").isdigit() for text in drawn)
        unit = _find_epoch(name, low, high) if is_whole else None
        if unit is not None:
            return "time", _span_of_times([low / unit, high / unit]), True
        return "number", (f"{low:g}", f"{high:g}"), is_whole
    times = [time for text in drawn if (time := _read_time(text)) is not None]
    if drawn and len(times) >= TIME_SHARE * len(drawn):
        return "time", _span_of_times(times), False
    return "text", None, False


def _read_numbers(filled: pa.ChunkedArray) -> tuple[float, float] | None:
    """Return least and greatest where every value is a finite number; else None."""
    try:
        range_ = pc.min_max(pc.cast(filled, pa.float64())).as_py()
    except pa.ArrowInvalid:
        return None
    is_finite = range_["min"] is not None and math.isfinite(range_["min"]) and math.isfinite(range_["max"])
    return (range_["min"], range_["max"]) if is_finite else None


def _find_epoch(name: str, low: float, high: float) -> float | None:
    """Return how many of a column's numbers a second has, where they are such moments; else None.

    Numbers of that size may be ids, too: the name decides.
    """
    if not TIME_WORDS & split_name(name):
        return None
    return next((unit for least, most, unit in EPOCHS if least <= low and high <= most), None)


def _read_time(text: str) -> float | None:
    try:
        return parse_iso_time(text)
    except ValueError:
        return None


def _span_of_times(times: list[float]) -> tuple[str, str] | None:
    if not times:
        return None
    first, last = (datetime.fromtimestamp(time, UTC).date().isoformat() for time in (min(times), max(times)))
    return first, last
