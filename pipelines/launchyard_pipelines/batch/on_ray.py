"""Batch prediction on Ray Data: one task reads, a pool of actors answers, each with the model loaded once.

Rows come in small blocks and wait for an actor in Ray's object store, which holds few of them at a time: nothing is
spilled to disk, where raw rows must not lie.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import pyarrow as pa
import ray.data
from ray.data import ActorPoolStrategy, DataContext, Datasource
from ray.data.block import BlockMetadata
from ray.data.datasource import ReadTask

from launchyard.errors import LaunchyardError
from launchyard_pipelines.batch.model import BatchModel, BatchTask
from launchyard_pipelines.local.ray import local_ray
from launchyard_pipelines.ray_data.execution import describe_failure, find_failure, ordered_and_quiet, raise_failure

BLOCK_BYTES = 2**20

ReadTables = Callable[[], Iterator[pa.Table]]


def answer_with_ray(read_tables: ReadTables, task: BatchTask, *, workers: int, batch_rows: int) -> Iterator[pa.Table]:
    """Yield the answers to all rows in order, given by ``workers`` processes that compute on ``task.device`` each.

    A process gets ``batch_rows`` rows at once.

    Raises:
        LaunchyardError: as it was raised where rows are read or answered.
    """
    # Two cores more than the actors take: one for the task that reads, one for those that divide what it read.
    num_cpus, num_gpus = workers * task.device.threads + 2, math.ceil(workers * task.device.gpus)
    with local_ray(num_cpus=num_cpus, num_gpus=num_gpus), ordered_and_quiet(block_bytes=BLOCK_BYTES):
        # Ray makes blocks of so many bytes, however many rows that is; repartitioned, all actors get some.
        dataset = (
            ray.data.read_datasource(_Tables(read_tables), override_num_blocks=1)
            .repartition(target_num_rows_per_block=batch_rows)
            .map_batches(
                _Answering,
                fn_kwargs={"task": task},
                compute=ActorPoolStrategy(size=workers),
                num_cpus=task.device.threads,
                num_gpus=task.device.gpus,
                batch_size=None,
                batch_format="pyarrow",
            )
        )
        for table in dataset.iter_batches(batch_format="pyarrow", batch_size=None):
            raise_failure(table)
            yield table


class _Tables(Datasource):
    """Tables that one task reads as they are asked for."""

    def __init__(self, read_tables: ReadTables) -> None:
        """Take what yields the tables; picklable."""
        super().__init__()
        self._read_tables = read_tables

    @property
    def supports_distributed_reads(self) -> bool:
        """False: the source's file lies on this machine."""
        return False

    def estimate_inmemory_data_size(self) -> int | None:
        """Return None: it is known when all is read."""
        return None

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: DataContext | None = None
    ) -> list[ReadTask]:
        """Return the one task."""
        metadata = BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None)
        return [ReadTask(self._read, metadata)]

    def _read(self) -> Iterator[pa.Table]:
        try:
            yield from self._read_tables()
        except LaunchyardError as err:
            yield describe_failure(err)


class _Answering:
    """What an actor runs: the model is loaded with its first rows, so that a failure can be told like theirs."""

    def __init__(self) -> None:
        self._model: BatchModel | None = None

    def __call__(self, batch: pa.Table, task: BatchTask) -> pa.Table:
        if (failure := find_failure(batch)) is not None:
            return failure
        try:
            self._model = self._model or BatchModel(task)
            return self._model.answer(batch)
        except LaunchyardError as err:
            return describe_failure(err)
