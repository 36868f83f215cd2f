"""When data is large enough for Ray Data; Ray itself is loaded only then."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

import pyarrow as pa

from launchyard.contract.rows import MapBatches, Recipe
from launchyard.kind import load_part
from launchyard.threads import count_cores

LARGE_ROWS = 5_000_000
"""Rows from which on Ray is started: one process converts so many in about three minutes (docs/adr-0007)."""
MIN_CORES = 4
"""With fewer, handing rows to other processes takes longer than converting them here."""


def map_when_large(
    recipe: Recipe, tables: Iterable[pa.Table], *, large_rows: int = LARGE_ROWS, cores: int | None = None
) -> Iterator[pa.Table]:
    """Yield the examples of each table: the first ``large_rows`` are converted in this process, the rest by Ray.

    Ray is left alone on a machine with fewer than ``MIN_CORES``; ``cores`` is by default what this process may use.
    """
    remaining = iter(tables)
    few_cores = (count_cores() if cores is None else cores) < MIN_CORES
    num_rows = 0
    while (few_cores or num_rows < large_rows) and (ahead := next(remaining, None)) is not None:
        num_rows += ahead.num_rows
        yield recipe.convert(ahead)
    if (ahead := next(remaining, None)) is not None:
        # By dotted path: an import at the top would load Ray, about two seconds, in each run that never needs it.
        map_with_ray: MapBatches = load_part("launchyard_pipelines.ray_data.map:map_with_ray")
        yield from map_with_ray(recipe, chain([ahead], remaining))
