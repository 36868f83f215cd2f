"""One row that a model fails on costs no other row its answer: who computed with it is answered all the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from launchyard.contract.predictor import Output
from launchyard.contract.rows import Row
from launchyard.errors import LaunchyardError, RequestError

Compute = Callable[[Sequence[Row]], list[Output]]


@dataclass(frozen=True)
class RowFault:
    """Takes the place of the output of a row that failed alone."""

    error: Exception


def compute_each(compute: Compute, rows: Sequence[Row]) -> list[Output | RowFault]:
    """Return what ``compute`` gives for each row, in order, with a fault in place of each row that it fails on.

    A batch that fails is computed again in halves, so one row of 32 costs 10 more calls, and none as long as nothing
    fails. Called in the thread that computes.

    Raises:
        LaunchyardError: something is missing that all rows need, such as a store; no row is to blame for it.
    """
    try:
        outputs = compute(rows)
        if len(outputs) == len(rows):
            return [*outputs]
        # Nobody can tell which row an output is of, so this is as bad as an error.
        fault: Exception = ValueError(f"the model gave {len(outputs)} outputs for {len(rows)} rows")
    except Exception as err:
        # The boundary of one request: whatever a model raises is the matter of its rows alone.
        if isinstance(err, LaunchyardError) and not isinstance(err, RequestError):
            raise
        fault = err
    if len(rows) == 1:
        return [RowFault(fault)]
    middle = len(rows) // 2
    return [*compute_each(compute, rows[:middle]), *compute_each(compute, rows[middle:])]
