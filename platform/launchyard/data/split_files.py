"""The files of a prepared data set, written so that they are the same however the rows came."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROW_GROUP_ROWS = 8_192


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

    def __init__(self, path: Path) -> None:
        self._path = path
        self._waiting: list[pa.Table] = []
        self._writer: pq.ParquetWriter | None = None

    def add(self, table: pa.Table) -> None:
        """Take in the next rows."""
        self._waiting.append(table)
        if sum(part.num_rows for part in self._waiting) >= ROW_GROUP_ROWS:
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
        num_full = table.num_rows // ROW_GROUP_ROWS * ROW_GROUP_ROWS
        if num_full:
            self._open(table.schema).write_table(table.slice(0, num_full), row_group_size=ROW_GROUP_ROWS)
        # Taken, not sliced: a slice would keep the rows that are written.
        self._waiting = [table.take(pa.array(np.arange(num_full, table.num_rows)))]

    def _open(self, schema: pa.Schema) -> pq.ParquetWriter:
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._path, schema, compression="zstd")
        return self._writer
