"""Ray Data as a way to run a recipe over large data: same functions, same order, same examples.

Source tables are handed over in windows, so the object store holds one window and never the whole source: nothing is
spilled to disk, where raw rows must not lie.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice

import pyarrow as pa
import ray.data

from launchyard.contract.rows import Recipe
from launchyard.errors import DataError
from launchyard.threads import count_cores
from launchyard_pipelines.local.ray import OBJECT_STORE_BYTES, local_ray

ERROR_COLUMN = "_error"

WINDOW_BYTES = OBJECT_STORE_BYTES // 8
"""Source rows that are in the object store at once; their examples and the next step's copy take as much again."""


def map_with_ray(recipe: Recipe, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Yield the examples of all tables in order, converted by Ray Data on this machine's other cores or its cluster.

    Raises:
        DataError: as the recipe raises it in a worker.
    """
    # One core is this process's own: it reads, checks and writes while the workers convert.
    with local_ray(num_cpus=max(1, count_cores() - 1)), _ordered_and_quiet():
        remaining = iter(tables)
        while window := _take_window(remaining):
            yield from _map_window(recipe, window)


def _take_window(tables: Iterator[pa.Table]) -> list[pa.Table]:
    """Return the next tables that fit in a window, at least one unless there is none."""
    window: list[pa.Table] = []
    while sum(table.nbytes for table in window) < WINDOW_BYTES and (ahead := list(islice(tables, 1))):
        window += ahead
    return window


def _map_window(recipe: Recipe, window: list[pa.Table]) -> Iterator[pa.Table]:
    dataset = ray.data.from_arrow(window).map_batches(
        _convert, fn_kwargs={"recipe": recipe}, batch_format="pyarrow", batch_size=None
    )
    for table in dataset.iter_batches(batch_format="pyarrow", batch_size=None):
        # Blocks come in order, so it is the first error of the source that is raised.
        if ERROR_COLUMN in table.column_names:
            raise DataError(table[ERROR_COLUMN][0].as_py())
        yield table


def _convert(batch: pa.Table, recipe: Recipe) -> pa.Table:
    """Return the examples, or the error as a row: Ray would log it with a traceback and keep only its text."""
    try:
        return recipe.convert(batch)
    except DataError as err:
        return pa.table({ERROR_COLUMN: [str(err)]})


@contextmanager
def _ordered_and_quiet() -> Iterator[None]:
    """Keep blocks in order and Ray Data's own progress off the terminal while the block runs."""
    context = ray.data.DataContext.get_current()
    logger = logging.getLogger("ray.data")
    before = context.execution_options.preserve_order, context.enable_progress_bars
    level = logger.level
    context.execution_options.preserve_order, context.enable_progress_bars = True, False
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        context.execution_options.preserve_order, context.enable_progress_bars = before
        logger.setLevel(level)
