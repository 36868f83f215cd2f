"""Rows on their way through preparation, on disk: in memory there is one block of them at a time.

Rows are dealt into buckets by the first bits of their identity. Equal rows therefore meet in one bucket, buckets of
any data set are of equal size, and walking the buckets in order, some of them at a time and sorted, walks all rows in
the order of their identities: the same order whatever order they arrived in.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from launchyard.data.identity import ID_HIGH
from launchyard.data.sizes import DEFAULT_SIZES

NUM_BUCKETS = 128
"""Equal rows meet in one bucket, and a bucket at a time is in memory: 1/128 of the rows, and 128 open files."""


class Inbox:
    """Takes tables of identified rows and deals them into buckets; few rows are never written at all."""

    def __init__(self, folder: Path, *, block_bytes: int = DEFAULT_SIZES.block_bytes) -> None:
        """Start empty in the existing ``folder``."""
        self._folder = folder
        self._block_bytes = block_bytes
        self._waiting: list[pa.Table] = []
        self._writers: dict[int, pa.RecordBatchStreamWriter] = {}

    def add(self, table: pa.Table) -> None:
        """Take in rows; they are dealt once enough are waiting."""
        self._waiting.append(table)
        if sum(waiting.nbytes for waiting in self._waiting) >= self._block_bytes:
            self._deal()

    def drain(self) -> Iterator[pa.Table]:
        """Yield all rows in blocks of one or more whole buckets, in order; nothing can be added afterwards."""
        if not self._writers:
            yield pa.concat_tables(self._waiting)
            return
        self._deal()
        for writer in self._writers.values():
            writer.close()
        block: list[pa.Table] = []
        for bucket in sorted(self._writers):
            block.append(self._take(bucket))
            if sum(table.nbytes for table in block) >= self._block_bytes:
                yield pa.concat_tables(block)
                block = []
        if block:
            yield pa.concat_tables(block)

    def _deal(self) -> None:
        """Append each waiting row to the file of its bucket."""
        if not self._waiting:
            return
        table = pa.concat_tables(self._waiting)
        self._waiting = []
        buckets_N = (table[ID_HIGH].to_numpy() // np.uint64(2**64 // NUM_BUCKETS)).astype(np.int64)
        table = table.take(pa.array(np.argsort(buckets_N, kind="stable"))).combine_chunks()
        bounds = np.concatenate([[0], np.cumsum(np.bincount(buckets_N, minlength=NUM_BUCKETS))]).tolist()
        for bucket, (start, end) in enumerate(pairwise(bounds)):
            if end > start:
                self._open(bucket, table.schema).write_table(table.slice(start, end - start))

    def _open(self, bucket: int, schema: pa.Schema) -> pa.RecordBatchStreamWriter:
        if bucket not in self._writers:
            self._writers[bucket] = pa.ipc.new_stream(str(self._folder / f"{bucket}.in"), schema)
        return self._writers[bucket]

    def _take(self, bucket: int) -> pa.Table:
        path = self._folder / f"{bucket}.in"
        with pa.OSFile(str(path)) as file:
            table = pa.ipc.open_stream(file).read_all()
        path.unlink()
        return table


class RowStore:
    """Sorted blocks that can be walked again and again, and rows by their position in that walk."""

    def __init__(self, folder: Path) -> None:
        """Start empty in the existing ``folder``."""
        self._folder = folder
        self._starts = [0]

    @property
    def num_rows(self) -> int:
        """Rows of all blocks."""
        return self._starts[-1]

    def append(self, table: pa.Table) -> None:
        """Add the next block."""
        block = len(self._starts) - 1
        with pa.ipc.new_file(str(self._folder / f"{block}.rows"), table.schema) as writer:
            writer.write_table(table)
        self._starts.append(self.num_rows + table.num_rows)

    def walk(self) -> Iterator[tuple[int, pa.Table]]:
        """Yield each block with the position of its first row."""
        for block, start in enumerate(self._starts[:-1]):
            with pa.OSFile(str(self._folder / f"{block}.rows")) as file:
                yield start, pa.ipc.open_file(file).read_all()

    def take(self, positions_M: NDArray[np.int64], columns: list[str]) -> pa.Table:
        """Return the rows at ascending ``positions_M``, reading from each block only what is asked for."""
        blocks_M = np.searchsorted(self._starts, positions_M, side="right") - 1
        parts = []
        for block in np.unique(blocks_M).tolist():
            offsets = positions_M[blocks_M == block] - self._starts[block]
            with pa.memory_map(str(self._folder / f"{block}.rows")) as file:
                parts.append(pa.ipc.open_file(file).read_all().select(columns).take(pa.array(offsets)))
        return pa.concat_tables(parts)
