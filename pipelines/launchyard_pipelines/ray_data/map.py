"""Ray Data as a way to run a recipe over large data: same functions, same order, same examples.

Source tables are handed over in windows, so the object store holds one window and never the whole source: nothing is
spilled to disk, where raw rows must not lie.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import pyarrow as pa
import ray.data

from launchyard.contract.rows import Recipe
from launchyard.errors import DataError
from launchyard.threads import count_cores
from launchyard_pipelines.local.ray import OBJECT_STORE_BYTES, local_ray
from launchyard_pipelines.ray_data.execution import describe_failure, ordered_and_quiet, raise_failure

WINDOW_BYTES = OBJECT_STORE_BYTES // 8
"""Source rows that are in the object store at once; their examples and the next step's copy take as much again."""


def map_with_ray(recipe: Recipe, tables: Iterable[pa.Table], *, window_bytes: int = WINDOW_BYTES) -> Iterator[pa.Table]:
    """Yield the examples of all tables in order, converted by Ray Data on this machine's other cores or its cluster.

    Raises:
        DataError: as the recipe raises it in a worker.
    """
    # One core is this process's own: it reads, checks and writes while the workers convert.
    with local_ray(num_cpus=max(1, count_cores() - 1)), ordered_and_quiet():
        remaining = iter(tables)
        while window := _take_window(remaining, window_bytes):
            yield from _map_window(recipe, window)


def _take_window(tables: Iterator[pa.Table], window_bytes: int) -> list[pa.Table]:
    """Return the next tables that fit in a window, at least one unless there is none."""
    window: list[pa.Table] = []
    while sum(table.nbytes for table in window) < window_bytes and (ahead := list(islice(tables, 1))):
        window += ahead
    return window


def _map_window(recipe: Recipe, window: list[pa.Table]) -> Iterator[pa.Table]:
    dataset = ray.data.from_arrow(window).map_batches(
        _convert, fn_kwargs={"recipe": recipe}, batch_format="pyarrow", batch_size=None
    )
    for table in dataset.iter_batches(batch_format="pyarrow", batch_size=None):
        # Blocks come in order, so it is the first error of the source that is raised.
        raise_failure(table)
        yield table


def _convert(batch: pa.Table, recipe: Recipe) -> pa.Table:
    """Return the examples, or the error as a row."""
    try:
        return recipe.convert(batch)
    except DataError as err:
        return describe_failure(err)
