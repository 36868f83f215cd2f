"""When data is large enough for Ray Data; Ray itself is loaded only then."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

import pyarrow as pa

from launchyard.kind import Recipe, load_part

LARGE_ROWS = 1_000_000
"""Rows from which on Ray is started; fewer are converted in about the time that takes."""


def map_when_large(recipe: Recipe, tables: Iterable[pa.Table], *, large_rows: int = LARGE_ROWS) -> Iterator[pa.Table]:
    """Yield the examples of each table: the first ``large_rows`` are converted in this process, the rest by Ray."""
    remaining = iter(tables)
    num_rows = 0
    while num_rows < large_rows and (ahead := next(remaining, None)) is not None:
        num_rows += ahead.num_rows
        yield recipe.convert(ahead)
    if (ahead := next(remaining, None)) is not None:
        # By dotted path: an import at the top would load Ray, about two seconds, in each run that never needs it.
        map_with_ray = load_part("launchyard_pipelines.ray_data:map_with_ray")
        yield from map_with_ray(recipe, chain([ahead], remaining))
