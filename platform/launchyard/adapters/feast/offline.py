"""Published feature rows: parquet files in time order that Feast joins and that the online store is filled from.

Everything here passes over a file in small row groups, so memory does not grow with the rows. Array legend: N rows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from launchyard.adapters.feast.objects import ROW, published_schema
from launchyard.data.identity import hash_values
from launchyard.errors import DataError
from launchyard.features.sets import ENTITY, TIMESTAMP, FeatureSet
from launchyard.files.atomic import sync

READ_AHEAD_BYTES = 1 << 20
PUBLICATION = b"launchyard.publication"
MAX_TIME_S = 253_402_300_800
"""The end of the year 9999: no later time can be written."""


@dataclass(frozen=True)
class StepSizes:
    """How much a store does at a time; what comes of it is the same."""

    group_rows: int = 2048
    """Rows of one step: read, written, or sent to the online store together."""
    pass_rows: int = 500_000
    """Rows whose newest one is looked for in one pass over a file's keys."""
    joined_rows: int = 2_000_000
    """Rows that Feast may hold in one join: it pairs each time asked for with every row of the entity."""


DEFAULT_SIZES = StepSizes()


def identify_publication(source: Path, feature_set: FeatureSet) -> str:
    """Return what a set's rows are known by online: a digest of the file and of what its columns mean."""
    digest = hashlib.sha256(json.dumps(feature_set.model_dump(mode="json"), sort_keys=True).encode())
    with source.open("rb") as file:
        digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def read_publication(path: Path) -> tuple[str, int]:
    """Return the publication that a published file is of, and its number of rows."""
    metadata = pq.read_metadata(path)
    return metadata.metadata[PUBLICATION].decode(), metadata.num_rows


def publish_rows(
    source: Path, target: Path, feature_set: FeatureSet, publication: str, sizes: StepSizes = DEFAULT_SIZES
) -> None:
    """Write the rows of a prepared set as Feast reads them.

    Raises:
        DataError: a column is missing or of another type, a time is missing or earlier than the one before it.
    """
    schema = published_schema(feature_set).with_metadata({PUBLICATION: publication.encode()})
    columns = [ENTITY, TIMESTAMP, *(feature.name for feature in feature_set.features)]
    start, before = 0, -np.inf
    with _open(source) as file, pq.ParquetWriter(target, schema, compression="zstd") as writer:
        _check_columns(source, file.schema_arrow.names, columns)
        for batch in file.iter_batches(sizes.group_rows, columns=columns, use_threads=False):
            times_N = batch[TIMESTAMP].cast(pa.float64()).to_numpy(zero_copy_only=False)
            _check_times(source, times_N, before, start)
            _check_lengths(source, batch, feature_set)
            writer.write_table(_publish_batch(source, batch, start, schema))
            start += batch.num_rows
            before = times_N[-1]
            # The allocator would keep the memory of freed blocks, more of it the longer the file is.
            pa.default_memory_pool().release_unused()


def remove_rows(path: Path, feature_set: FeatureSet, key: str) -> int:
    """Remove the rows of one entity from a published file, as a whole or not at all; return how many there were."""
    publication, num_before = read_publication(path)
    schema = published_schema(feature_set).with_metadata({PUBLICATION: publication.encode()})
    # Hidden, so that what a killed process leaves of it goes with the next removal (erase_user).
    temporary = path.with_name(f".{path.name}.new")
    start = 0
    try:
        with _open(path) as file, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
            for batch in file.iter_batches(DEFAULT_SIZES.group_rows, use_threads=False):
                kept = pa.Table.from_batches([batch.filter(pc.not_equal(batch[feature_set.entity], key))])
                # Numbers have no gaps, because a join takes its values by them.
                numbers = pa.array(np.arange(start, start + kept.num_rows))
                kept = kept.set_column(kept.schema.get_field_index(ROW), ROW, numbers)
                writer.write_table(kept.select(schema.names).cast(schema))
                start += kept.num_rows
        if start < num_before:
            # A power cut must not bring back who was removed.
            sync(temporary)
            temporary.replace(path)
            sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)
    return num_before - start


def write_vanished(before: Path, after: Path, target: Path, entity: str, sizes: StepSizes = DEFAULT_SIZES) -> None:
    """Write the keys of entities that a set had and has no longer to ``target``, unless there are none.

    Args:
        before: The rows published before; beside it, those keys that had vanished then and are still online.
        after: The rows published now.
        target: The file to write.
        entity: Column of the keys.
        sizes: How much is done at a time.
    """
    olds = [path for path in (before, name_vanished(before)) if path.is_file()]
    num_passes = _count_passes(after, sizes)
    schema = pa.schema([(entity, pa.string())])
    with pq.ParquetWriter(target, schema, compression="zstd") as writer:
        num_written = 0
        for part in range(num_passes if olds else 0):
            mine = [hashes_B[hashes_B % np.uint64(num_passes) == part] for _, _, hashes_B in _iter_keys(after, entity)]
            kept_K = np.unique(np.concatenate([np.empty(0, np.uint64), *mine]))
            for old in olds:
                for _, keys, hashes_B in _iter_keys(old, entity):
                    is_gone_B = (hashes_B % np.uint64(num_passes) == part) & ~_are_in(hashes_B, kept_K)
                    # A key may be written once for each batch that it stands in: emptied twice, it is empty.
                    gone = pc.unique(keys.filter(pa.array(is_gone_B)))
                    writer.write_table(pa.Table.from_arrays([gone], schema=schema))
                    num_written += len(gone)
    if not num_written:
        target.unlink()


def name_vanished(path: Path) -> Path:
    """Return where the keys lie that must leave the online store, beside a set's published rows."""
    return path.with_suffix(".vanished")


def iter_vanished(path: Path, entity: str) -> Iterator[list[str]]:
    """Yield the keys of entities that must leave the online store."""
    if name_vanished(path).is_file():
        for _, keys, _ in _iter_keys(name_vanished(path), entity):
            yield keys.to_pylist()


def iter_newest(
    path: Path, feature_set: FeatureSet, *, start: int, sizes: StepSizes = DEFAULT_SIZES
) -> Iterator[tuple[int, pa.Table]]:
    """Yield the newest row of each entity, in file order, from row ``start`` on.

    With each table comes the number of rows of the file that are dealt with once the table is written.
    """
    is_newest_N = find_newest(path, feature_set.entity, sizes)
    done = 0
    with _open(path) as file:
        for number in range(file.num_row_groups):
            num_rows = file.metadata.row_group(number).num_rows
            end = done + num_rows
            if end > start and is_newest_N[done:end].any():
                table = file.read_row_group(number, use_threads=False)
                yield end, table.filter(pa.array(is_newest_N[done:end]))
                pa.default_memory_pool().release_unused()
            done = end


def find_newest(path: Path, entity: str, sizes: StepSizes = DEFAULT_SIZES) -> NDArray[np.bool_]:
    """Return for each of the N rows of a file whether it is the last one of its entity.

    Entities are compared by 64 bits of BLAKE2b. Each pass over the keys looks at a share of them, so that memory stays
    the same however many there are; what is kept is one byte a row.
    """
    is_newest_N = np.zeros(pq.read_metadata(path).num_rows, dtype=bool)
    num_passes = _count_passes(path, sizes)
    for part in range(num_passes):
        hashes, rows = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
        for first, _, hashes_B in _iter_keys(path, entity):
            mine_M = np.flatnonzero(hashes_B % np.uint64(num_passes) == part)
            hashes.append(hashes_B[mine_M])
            rows.append(mine_M + first)
        # np.unique keeps the first of equal values: of the reversed order that is the last row.
        _, firsts = np.unique(np.concatenate(hashes)[::-1], return_index=True)
        is_newest_N[np.concatenate(rows)[::-1][firsts]] = True
    return is_newest_N


def _count_passes(path: Path, sizes: StepSizes) -> int:
    return -(-pq.read_metadata(path).num_rows // sizes.pass_rows) or 1


def _iter_keys(path: Path, entity: str) -> Iterator[tuple[int, pa.Array, NDArray[np.uint64]]]:
    """Yield the number of the first row of each batch, the keys in it and their hashes."""
    first = 0
    with _open(path) as file:
        for batch in file.iter_batches(DEFAULT_SIZES.group_rows, columns=[entity], use_threads=False):
            yield first, batch[entity], hash_values(batch[entity])
            first += batch.num_rows


def _are_in(hashes_B: NDArray[np.uint64], sorted_K: NDArray[np.uint64]) -> NDArray[np.bool_]:
    places_B = np.searchsorted(sorted_K, hashes_B)
    is_inside_B = places_B < len(sorted_K)
    is_inside_B[is_inside_B] = sorted_K[places_B[is_inside_B]] == hashes_B[is_inside_B]
    return is_inside_B


def _open(path: Path) -> pq.ParquetFile:
    # Pre-buffering would load whole row groups, which some writers make as large as the file.
    return pq.ParquetFile(path, pre_buffer=False, buffer_size=READ_AHEAD_BYTES)


def _publish_batch(source: Path, batch: pa.RecordBatch, start: int, schema: pa.Schema) -> pa.Table:
    """Return the rows of a batch with the columns and types of a published file."""
    micros = pc.cast(pc.round(pc.multiply(batch[TIMESTAMP], 1e6)), pa.int64())
    beside = [batch[ENTITY], micros, batch[TIMESTAMP], pa.array(np.arange(start, start + batch.num_rows))]
    try:
        values = [_clean(batch[field.name], field.type) for field in list(schema)[len(beside) :]]
        columns = [column.cast(field.type) for column, field in zip(beside, schema, strict=False)]
    except pa.ArrowInvalid as err:
        raise DataError(f"{source}: a value does not fit its feature's type: {err}. Prepare the data again.") from err
    return pa.Table.from_arrays([*columns, *values], schema=schema)


def _clean(values: pa.Array, wanted: pa.DataType) -> pa.Array:
    """Return values as ``wanted``, NaN as null: unknown is written in one way only."""
    values = values.cast(wanted)
    return pc.if_else(pc.is_nan(values), None, values) if pa.types.is_floating(wanted) else values


def _check_columns(source: Path, found: list[str], wanted: list[str]) -> None:
    missing = [name for name in wanted if name not in found]
    if missing:
        raise DataError(
            f"{source}: lacks column '{missing[0]}' of its feature set, found {', '.join(found)}. "
            "Prepare the data again."
        )


def _check_times(source: Path, times_N: NDArray[np.float64], before: float, start: int) -> None:
    steps_N = np.diff(times_N, prepend=before)
    # By what is right: NaN compares with nothing, and is bad.
    bad = np.flatnonzero(~((steps_N >= 0) & (np.abs(times_N) < MAX_TIME_S)))
    if len(bad):
        row = int(bad[0])
        raise DataError(
            f"{source}: row {start + row} has the time {times_N[row]}, not one after the times before it. "
            "Write the rows in time order, each with its time in seconds since 1970."
        )


def _check_lengths(source: Path, batch: pa.RecordBatch, feature_set: FeatureSet) -> None:
    for feature in feature_set.features:
        if feature.length is not None:
            lengths = set(pc.unique(pc.list_value_length(batch[feature.name])).to_pylist())
            wrong = sorted(lengths - {None, feature.length})
            if wrong:
                raise DataError(
                    f"{source}: '{feature.name}' has vectors of {wrong[0]} numbers, {feature.length} are declared. "
                    "Prepare the data again."
                )
