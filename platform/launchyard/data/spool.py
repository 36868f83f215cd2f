"""Rows on their way through preparation, on disk: in memory there is one bucket of them at a time.

Rows are dealt into buckets by the first bits of their identity. Equal rows therefore meet in one bucket, buckets of
any data set are of equal size, and walking the buckets in order, each sorted, walks all rows in the order of their
identities: the same order whatever order they arrived in.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from launchyard.data.identity import ID_HIGH

NUM_BUCKETS = 128


class Inbox:
    """Takes tables of identified rows and deals them into buckets."""

    def __init__(self, folder: Path) -> None:
        """Start empty in the existing ``folder``."""
        self._folder = folder
        self._writers: dict[int, pa.RecordBatchStreamWriter] = {}

    def add(self, table: pa.Table) -> None:
        """Append each row to its bucket."""
        buckets_N = (table[ID_HIGH].to_numpy() // np.uint64(2**64 // NUM_BUCKETS)).astype(np.int64)
        table = table.take(pa.array(np.argsort(buckets_N, kind="stable")))
        bounds = np.concatenate([[0], np.cumsum(np.bincount(buckets_N, minlength=NUM_BUCKETS))]).tolist()
        for bucket, (start, end) in enumerate(pairwise(bounds)):
            if end > start:
                self._open(bucket, table.schema).write_table(table.slice(start, end - start))

    def _open(self, bucket: int, schema: pa.Schema) -> pa.RecordBatchStreamWriter:
        if bucket not in self._writers:
            self._writers[bucket] = pa.ipc.new_stream(str(self._folder / f"{bucket}.in"), schema)
        return self._writers[bucket]

    def drain(self) -> Iterator[pa.Table]:
        """Yield each bucket that holds rows, in order, and delete it; nothing can be added afterwards."""
        for writer in self._writers.values():
            writer.close()
        for bucket in sorted(self._writers):
            path = self._folder / f"{bucket}.in"
            with pa.OSFile(str(path)) as file:
                table = pa.ipc.open_stream(file).read_all()
            path.unlink()
            yield table.combine_chunks()
        self._writers.clear()


class RowStore:
    """Sorted buckets that can be walked again and again, and rows by their position in that walk."""

    def __init__(self, folder: Path) -> None:
        """Start empty in the existing ``folder``."""
        self._folder = folder
        self._starts = [0]

    @property
    def num_rows(self) -> int:
        """Rows of all buckets."""
        return self._starts[-1]

    def append(self, table: pa.Table) -> None:
        """Add the next bucket."""
        bucket = len(self._starts) - 1
        with pa.ipc.new_file(str(self._folder / f"{bucket}.rows"), table.schema) as writer:
            writer.write_table(table)
        self._starts.append(self.num_rows + table.num_rows)

    def walk(self) -> Iterator[tuple[int, pa.Table]]:
        """Yield each bucket with the position of its first row."""
        for bucket, start in enumerate(self._starts[:-1]):
            with pa.OSFile(str(self._folder / f"{bucket}.rows")) as file:
                yield start, pa.ipc.open_file(file).read_all()

    def take(self, positions_M: NDArray[np.int64], columns: list[str]) -> pa.Table:
        """Return the rows at ascending ``positions_M``, reading from each bucket only what is asked for."""
        buckets_M = np.searchsorted(self._starts, positions_M, side="right") - 1
        parts = []
        for bucket in np.unique(buckets_M).tolist():
            offsets = positions_M[buckets_M == bucket] - self._starts[bucket]
            with pa.memory_map(str(self._folder / f"{bucket}.rows")) as file:
                parts.append(pa.ipc.open_file(file).read_all().select(columns).take(pa.array(offsets)))
        return pa.concat_tables(parts)
