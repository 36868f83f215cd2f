"""The file that a batch prediction writes: parquet or JSON lines, there whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic_core import to_json

from launchyard.errors import SourceError
from launchyard.prediction.media import spell_media

ROW_GROUP_BYTES = 32 * 2**20
"""Answers in memory that become one row group: many small ones read slowly."""

Write = Callable[[pa.Table], None]


@contextmanager
def open_output(path: Path, *, group_bytes: int = ROW_GROUP_BYTES) -> Iterator[Write]:
    """Yield a function that appends tables of one schema to what becomes ``path`` when the block ends well.

    Until then it has another name beside it, and when the block ends with an error, it is gone. An older file at
    ``path`` is replaced. Parquet has row groups of ``group_bytes`` or more, but for the last one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            with WRITERS[path.suffix](file, group_bytes) as write:
                yield write
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def _write_parquet(file: IO[bytes], group_bytes: int) -> Iterator[Write]:
    waiting: list[pa.Table] = []
    writer: pq.ParquetWriter | None = None

    def flush() -> None:
        nonlocal writer
        if waiting:
            table = pa.concat_tables(waiting)
            writer = writer or pq.ParquetWriter(file, table.schema, compression="zstd")
            writer.write_table(table)
            waiting.clear()

    def write(table: pa.Table) -> None:
        waiting.append(table)
        if sum(part.nbytes for part in waiting) >= group_bytes:
            flush()

    yield write
    flush()
    if writer is not None:
        writer.close()


@contextmanager
def _write_json_lines(file: IO[bytes], _group_bytes: int) -> Iterator[Write]:
    def write(table: pa.Table) -> None:
        rows: Iterator[object] = _iter_rows(table)
        if any(_holds_bytes(field.type) for field in table.schema):
            # In the base64 that requests and answers hold; pydantic's own is the one for URLs.
            rows = map(spell_media, rows)
        # JSON has no number that is none.
        file.writelines(to_json(row, inf_nan_mode="null") + b"\n" for row in rows)

    yield write


def _holds_bytes(kind: pa.DataType) -> bool:
    """Return whether values of a type are bytes, or hold some."""
    if pa.types.is_dictionary(kind):
        return _holds_bytes(kind.value_type)
    is_bytes = pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)
    return (
        is_bytes
        or pa.types.is_fixed_size_binary(kind)
        or any(_holds_bytes(kind.field(number).type) for number in range(kind.num_fields))
    )


def _iter_rows(table: pa.Table) -> Iterator[dict[str, object]]:
    """Yield the rows, maps as objects; where a map has a key twice, those of its table as lists of pairs.

    Raises:
        SourceError: a value has no form in JSON.
    """
    try:
        try:
            rows = table.to_pylist(maps_as_pydicts="strict")
        except (KeyError, TypeError):
            # An object would keep one of the values, or has no such keys.
            rows = table.to_pylist()
    except (OverflowError, ValueError) as err:
        raise SourceError(
            f"a row holds a value that is no text, or a time beyond the year 9999: {err}. Mend it, leave its column "
            "out with #columns= of the input, or write .parquet."
        ) from err
    yield from rows


WRITERS = {".parquet": _write_parquet, ".jsonl": _write_json_lines}
"""Ending of the file -> how it is written."""
