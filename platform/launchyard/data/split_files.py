"""The files of a prepared data set, written so that they are the same however the rows came."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

ROW_GROUP_ROWS = 8_192
"""Training reads a file by row groups: small enough to hold several, large enough that parquet compresses."""
ROW_GROUP_BYTES = 2**25
"""Bytes of files in one row group: a picture in each row makes few rows large."""


@contextmanager
def returned_memory() -> Iterator[None]:
    """Let Arrow give memory back to the system at once while the block runs.

    Its own pool keeps what was freed: measured, a fifth more at the peak, and another peak in every run.
    """
    before = pa.default_memory_pool()
    pa.set_memory_pool(pa.system_memory_pool())
    try:
        yield
    finally:
        pa.set_memory_pool(before)


class SplitWriter:
    """Writes one parquet file in row groups that do not depend on how many rows are added at once."""

    def __init__(self, path: Path, *, group_bytes: int = ROW_GROUP_BYTES) -> None:
        self._path = path
        self._group_bytes = group_bytes
        self._waiting: list[pa.Table] = []
        self._waiting_bytes = 0
        self._writer: pq.ParquetWriter | None = None

    def add(self, table: pa.Table) -> None:
        """Take in the next rows."""
        self._waiting.append(table)
        self._waiting_bytes += count_file_bytes(table)
        num_rows = sum(part.num_rows for part in self._waiting)
        if num_rows >= ROW_GROUP_ROWS or self._waiting_bytes >= self._group_bytes:
            self._write_groups()

    def close(self) -> None:
        """Write what is waiting and finish the file."""
        self._write_groups()
        rest = self._waiting[0]
        writer = self._open(rest.schema)
        if rest.num_rows:
            writer.write_table(rest)
        writer.close()

    def _write_groups(self) -> None:
        """Write every full row group and keep the rest, as one table."""
        table = pa.concat_tables(self._waiting).combine_chunks()
        start = 0
        for end in _find_ends(table, self._group_bytes):
            self._open(table.schema).write_table(table.slice(start, end - start), row_group_size=ROW_GROUP_ROWS)
            start = end
        # Taken, not sliced: a slice would keep the rows that are written.
        self._waiting = [table.take(pa.array(np.arange(start, table.num_rows)))]
        self._waiting_bytes = count_file_bytes(self._waiting[0])

    def _open(self, schema: pa.Schema) -> pq.ParquetWriter:
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._path, schema, compression="zstd")
        return self._writer


def count_file_bytes(table: pa.Table) -> int:
    """Return how many bytes of files the rows hold: in columns of bytes."""
    return int(_measure_files(table).sum())


def _measure_files(table: pa.Table) -> NDArray[np.int64]:
    """Return the bytes of files in each row, N."""
    sizes_N = np.zeros(table.num_rows, dtype=np.int64)
    for column in table.columns:
        if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
            sizes_N += pc.fill_null(pc.binary_length(column), 0).to_numpy()
    return sizes_N


def _find_ends(table: pa.Table, group_bytes: int) -> Iterator[int]:
    """Yield where full row groups end: after so many rows, or at the row with which so many bytes are reached."""
    bytes_N = np.cumsum(_measure_files(table))
    end, before = 0, 0
    while end < table.num_rows:
        by_bytes = int(np.searchsorted(bytes_N, before + group_bytes)) + 1
        end = min(end + ROW_GROUP_ROWS, by_bytes)
        if end > table.num_rows:
            return
        yield end
        before = int(bytes_N[end - 1])
