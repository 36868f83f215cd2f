"""Rows of a feature set that the spec declares: read from a source, put in time order, written for publishing.

    <set>.parquet: entity, timestamp (seconds since 1970), then one column per feature

All rows of one set are in memory while they are put in order. Array legend: N rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from launchyard.data.intake import number_rows
from launchyard.data.values.columns import read_ids, read_numbers, read_text, require_values
from launchyard.data.values.keyed_columns import read_timestamps
from launchyard.errors import DataError
from launchyard.features.sets import ENTITY, TIMESTAMP, FeatureSet, FeatureType
from launchyard.sources.forms.tables import iter_tables
from launchyard.sources.resolve import Fetched
from launchyard.spec.features import DeclaredSet, FeatureColumn

ARROW_TYPES: dict[FeatureType, pa.DataType] = {
    "number": pa.float64(),
    "integer": pa.int64(),
    "boolean": pa.bool_(),
    "text": pa.string(),
    "numbers": pa.list_(pa.float64()),
    "integers": pa.list_(pa.int64()),
    "texts": pa.list_(pa.string()),
}
"""How the values of each type of feature are written."""

TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
MAX_INTEGER = 2**53
"""Integers up to this size are exact in any file, whatever type its writer chose."""


@dataclass(frozen=True)
class WrittenSet:
    """What became of the rows of a source."""

    num_rows: int
    """Rows that were written."""
    num_incomplete: int
    """Rows left out because they lack the id or the time."""
    num_repeated: int
    """Rows left out because a later row of the source has the same id and time."""


def make_schema(feature_set: FeatureSet) -> pa.Schema:
    """Return the columns of a set's file."""
    features = ((feature.name, ARROW_TYPES[feature.type]) for feature in feature_set.features)
    return pa.schema([(ENTITY, pa.string()), (TIMESTAMP, pa.float64()), *features])


def write_feature_set(
    name: str, declared: DeclaredSet, fetched: Fetched, path: Path, *, make_key: Callable[[str], str]
) -> WrittenSet:
    """Write the rows of a declared set in time order and return how many there are.

    Of rows with the same id and time the last one of the source counts. NaN and blank values are unknown.

    Args:
        name: The set's name in the spec.
        declared: What the spec says of it.
        fetched: Its source.
        path: The file to write.
        make_key: Turns an id of the source into what is written: a pseudonym for users.

    Raises:
        DataError: a value cannot be read as what the spec says, or no row has an id and a time.
        SourceError: the source cannot be read or lacks a column.
    """
    where = f"features.sets.{name}"
    columns = [declared.key, declared.timestamp, *(found.column for found in declared.columns.values())]
    tables = number_rows(iter_tables(fetched, tuple(dict.fromkeys(columns))))
    rows = pa.concat_tables([_read_rows(batch, declared, where) for batch in tables])
    # A time that is missing is NaN, which Arrow takes for a value.
    complete = rows.filter(pc.and_(pc.is_valid(rows[ENTITY]), pc.is_finite(rows[TIMESTAMP])))
    if not complete.num_rows:
        raise DataError(
            f"{where}: none of {rows.num_rows:,} rows has both an id in column '{declared.key}' and a time in column "
            f"'{declared.timestamp}'. Check that they are the right columns."
        )
    ordered = _put_in_order(complete)
    keys = pa.array(_map_distinct(ordered[ENTITY], make_key), pa.string())
    schema = make_schema(declared.describe(name))
    pq.write_table(ordered.set_column(0, ENTITY, keys).cast(schema), path, compression="zstd")
    num_incomplete = rows.num_rows - complete.num_rows
    return WrittenSet(ordered.num_rows, num_incomplete, complete.num_rows - ordered.num_rows)


def _read_rows(batch: pa.Table, declared: DeclaredSet, where: str) -> pa.Table:
    columns = {
        ENTITY: read_ids(batch, declared.key, key=f"{where}.key"),
        TIMESTAMP: pa.array(read_timestamps(batch, declared.timestamp, key=f"{where}.timestamp")),
    }
    for feature, found in declared.columns.items():
        columns[feature] = _read_values(batch, found, f"{where}.columns.{feature}")
    return pa.table(columns)


def _read_values(batch: pa.Table, found: FeatureColumn, where: str) -> pa.Array:
    """Return the values of one feature; unknown ones are null."""
    if found.type == "text":
        texts = read_text(batch, found.column, key=where)
        return pc.if_else(pc.equal(pc.utf8_trim_whitespace(texts), ""), pa.scalar(None, pa.string()), texts)
    if found.type == "boolean":
        return _read_truths(batch, found.column, where)
    if found.type in ("number", "integer"):
        return _read_quantities(batch, found, where)
    return _read_lists(batch, found, where)


def _read_quantities(batch: pa.Table, found: FeatureColumn, where: str) -> pa.Array:
    numbers_N = read_numbers(batch, found.column, key=where)
    is_known_N = ~np.isnan(numbers_N)
    require_values(~np.isinf(numbers_N), batch, found.column, f"{where}: is not a finite number")
    if found.type == "number":
        return pa.array(numbers_N, mask=~is_known_N)
    is_whole_N = (np.floor(numbers_N) == numbers_N) & (np.abs(numbers_N) <= MAX_INTEGER)
    require_values(is_whole_N | ~is_known_N, batch, found.column, f"{where}: is not an integer up to 2 to the 53")
    # NaN has no integer; the 0 in its place is masked.
    return pa.array(np.where(is_known_N, numbers_N, 0).astype(np.int64), mask=~is_known_N)


def _read_truths(batch: pa.Table, column: str, where: str) -> pa.Array:
    texts = pc.utf8_lower(pc.utf8_trim_whitespace(read_text(batch, column, key=where))).to_pylist()
    is_good = [not text or text in TRUTHS for text in texts]
    require_values(is_good, batch, column, f"{where}: is neither true nor false")
    return pa.array([TRUTHS.get(text or "") for text in texts], pa.bool_())


def _read_lists(batch: pa.Table, found: FeatureColumn, where: str) -> pa.Array:
    values = batch[found.column].combine_chunks()
    wanted = ARROW_TYPES[found.type]
    try:
        lists = values.cast(wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as err:
        raise DataError(
            f"{where}: column '{found.column}' holds {values.type}, {found.type} are lists. "
            "Give the source as parquet or JSON lines with lists, or choose another type."
        ) from err
    parts = lists.flatten()
    is_unknown = pc.or_kleene(pc.is_null(parts), pc.is_nan(parts)) if found.type == "numbers" else pc.is_null(parts)
    if pc.any(is_unknown).as_py():
        raise DataError(
            f"{where}: a list in column '{found.column}' holds an unknown value. Leave it out, or the whole list."
        )
    return lists


def _put_in_order(rows: pa.Table) -> pa.Table:
    """Return the rows in time order, of those with equal entity and time the last one only."""
    order = np.arange(rows.num_rows)
    last = rows.select([ENTITY, TIMESTAMP]).append_column("order", pa.array(order))
    kept = last.group_by([ENTITY, TIMESTAMP]).aggregate([("order", "max")])["order_max"].to_numpy()
    times_N = rows[TIMESTAMP].to_numpy()
    kept = np.sort(kept)
    # Stable: rows of different entities and one time keep the order of the source.
    return rows.take(pa.array(kept[np.argsort(times_N[kept], kind="stable")]))


def _map_distinct(values: pa.ChunkedArray, make: Callable[[str], str]) -> list[str]:
    # Once for each id, for a pseudonym takes an HMAC and a log repeats its users.
    made = {value: make(value) for value in pc.unique(values).to_pylist()}
    return [made[value] for value in values.to_pylist()]
