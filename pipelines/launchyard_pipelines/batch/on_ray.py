"""Batch prediction on Ray Data: one task reads, a pool of actors answers, each with the model loaded once.

Rows come in small blocks and wait for an actor in Ray's object store, which holds few of them at a time: nothing is
spilled to disk, where raw rows must not lie.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import compress

import pyarrow as pa
import ray.data
from ray.data import ActorPoolStrategy, DataContext, Datasource
from ray.data.block import BlockMetadata
from ray.data.datasource import ReadTask

from launchyard import errors
from launchyard.errors import LaunchyardError
from launchyard_pipelines.batch.model import BatchModel, BatchTask
from launchyard_pipelines.local.ray import local_ray

FAILURE = "launchyard-failure"
MESSAGE = "launchyard-message"
"""Columns of the one row that takes the place of rows when their reading or answering failed."""
FEW_ROWS = "The minimum number of concurrent actors"
"""Start of Ray's warning that there are fewer blocks than actors: so be it, when somebody asked for them."""

BLOCK_BYTES = 2**20

ReadTables = Callable[[], Iterator[pa.Table]]


def answer_with_ray(read_tables: ReadTables, task: BatchTask, *, workers: int, batch_rows: int) -> Iterator[pa.Table]:
    """Yield the answers to all rows in order, given by ``workers`` processes of ``task.threads`` threads each.

    A process gets ``batch_rows`` rows at once.

    Raises:
        LaunchyardError: as it was raised where rows are read or answered.
    """
    # Two cores more than the actors take: one for the task that reads, one for those that divide what it read.
    with local_ray(num_cpus=workers * task.threads + 2), _ordered_and_quiet():
        # Ray makes blocks of so many bytes, however many rows that is; repartitioned, all actors get some.
        dataset = (
            ray.data.read_datasource(_Tables(read_tables), override_num_blocks=1)
            .repartition(target_num_rows_per_block=batch_rows)
            .map_batches(
                _Answering,
                fn_kwargs={"task": task},
                compute=ActorPoolStrategy(size=workers),
                num_cpus=task.threads,
                batch_size=None,
                batch_format="pyarrow",
            )
        )
        for table in dataset.iter_batches(batch_format="pyarrow", batch_size=None):
            _raise_failure(table)
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
            yield _describe_failure(err)


class _Answering:
    """What an actor runs: the model is loaded with its first rows, so that a failure can be told like theirs."""

    def __init__(self) -> None:
        self._model: BatchModel | None = None

    def __call__(self, batch: pa.Table, task: BatchTask) -> pa.Table:
        if FAILURE in batch.column_names:
            return batch.select([FAILURE, MESSAGE])
        try:
            self._model = self._model or BatchModel(task)
            return self._model.answer(batch)
        except LaunchyardError as err:
            return _describe_failure(err)


def _describe_failure(error: LaunchyardError) -> pa.Table:
    """Return an error as a row: Ray would log it with a traceback, try again and keep only its text."""
    return pa.table({FAILURE: [type(error).__name__], MESSAGE: [str(error)]})


def _raise_failure(table: pa.Table) -> None:
    if FAILURE in table.column_names:
        # Rows that came before it may stand in the same block.
        names, messages = table[FAILURE], table[MESSAGE]
        name, message = next(compress(zip(names.to_pylist(), messages.to_pylist(), strict=True), names.is_valid()))
        raise getattr(errors, name)(message)


@contextmanager
def _ordered_and_quiet() -> Iterator[None]:
    """Keep blocks small and in order, and Ray Data's own progress off the terminal, while the block runs."""
    context, logger = DataContext.get_current(), logging.getLogger("ray.data")
    options = context.execution_options
    before = options.preserve_order, context.enable_progress_bars, context.target_max_block_size
    level = logger.level
    options.preserve_order, context.enable_progress_bars, context.target_max_block_size = True, False, BLOCK_BYTES
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=FEW_ROWS)
            yield
    finally:
        options.preserve_order, context.enable_progress_bars, context.target_max_block_size = before
        logger.setLevel(level)
