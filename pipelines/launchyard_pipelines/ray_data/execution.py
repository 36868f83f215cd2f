"""How Ray Data runs here: in order, quietly, and with errors that come back as they were raised."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import compress

import pyarrow as pa
from ray.data import DataContext

from launchyard import errors
from launchyard.errors import LaunchyardError

FAILURE = "launchyard-failure"
MESSAGE = "launchyard-message"
"""Columns of the one row that takes the place of rows when their reading or computing failed."""
FEW_ROWS = "The minimum number of concurrent actors"
"""Start of Ray's warning that there are fewer blocks than actors: so be it, when somebody asked for them."""


def describe_failure(error: LaunchyardError) -> pa.Table:
    """Return an error as a row: Ray would log it with a traceback, try again and keep only its text."""
    return pa.table({FAILURE: [type(error).__name__], MESSAGE: [str(error)]})


def find_failure(table: pa.Table) -> pa.Table | None:
    """Return the failure in a table, or None when it holds rows."""
    return table.select([FAILURE, MESSAGE]) if FAILURE in table.column_names else None


def raise_failure(table: pa.Table) -> None:
    """Do nothing with a table of rows.

    Raises:
        LaunchyardError: it holds a failure, which is raised as it was where the rows were computed.
    """
    if FAILURE in table.column_names:
        # Rows that came before it may stand in the same block.
        names, messages = table[FAILURE], table[MESSAGE]
        name, message = next(compress(zip(names.to_pylist(), messages.to_pylist(), strict=True), names.is_valid()))
        raise getattr(errors, name)(message)


@contextmanager
def ordered_and_quiet(*, block_bytes: int | None = None) -> Iterator[None]:
    """Keep blocks in order, and Ray Data's own progress off the terminal, while the block runs.

    Args:
        block_bytes: Largest size of Ray's blocks; None for Ray's own.
    """
    context, logger = DataContext.get_current(), logging.getLogger("ray.data")
    options = context.execution_options
    before = options.preserve_order, context.enable_progress_bars, context.target_max_block_size
    level = logger.level
    options.preserve_order, context.enable_progress_bars = True, False
    if block_bytes is not None:
        context.target_max_block_size = block_bytes
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=FEW_ROWS)
            yield
    finally:
        options.preserve_order, context.enable_progress_bars, context.target_max_block_size = before
        logger.setLevel(level)
