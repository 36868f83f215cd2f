"""Which rows make which step: pure functions of sizes, seed and epoch, the same on every worker and after a resume.

Array legend: R training rows, V validation rows, B rows of a batch, E places where a part of a batch may begin or end.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from launchyard.spec.blocks import GradientTrain

BATCHES_PER_POOL = 50
"""Most batches that are drawn from one pool of rows: enough to find rows of like length."""
POOLS_PER_EPOCH = 4
"""Fewest pools in an epoch, so that batches differ from epoch to epoch on small data too."""
MAX_PARTS = 4
"""Most forward passes that one batch is computed in on a CPU."""
PART_ROWS = 4
"""Rows of such parts give matrix products of few different shapes; each shape has to be set up when it is first met."""
PART_COST = 128
"""What one more forward and backward pass costs on a CPU, in tokens of padding: with a small encoder about 50 in fp32
and 200 in bf16."""


@dataclass(frozen=True)
class Plan:
    """The steps of a training and where it is interrupted by an evaluation."""

    num_rows: int
    batch_size: int
    steps_per_epoch: int
    num_steps: int
    evaluation_steps: frozenset[int]
    """Numbers of finished steps after which the model is validated; the last step is always one."""


def plan_steps(train: GradientTrain, num_rows: int) -> Plan:
    """Return the plan of training on ``num_rows`` rows; the last batch of an epoch may be smaller."""
    steps_per_epoch = math.ceil(num_rows / train.batch_size)
    num_steps = steps_per_epoch * train.epochs
    if train.max_steps is not None:
        num_steps = min(num_steps, train.max_steps)
    parts = train.evaluations_per_epoch
    ends = {max(1, round(steps_per_epoch * part / parts)) for part in range(1, train.epochs * parts + 1)}
    return Plan(
        num_rows=num_rows,
        batch_size=train.batch_size,
        steps_per_epoch=steps_per_epoch,
        num_steps=num_steps,
        evaluation_steps=frozenset(end for end in ends if end < num_steps) | {num_steps},
    )


def order_rows(num_rows: int, *, seed: int, epoch: int) -> NDArray[np.intp]:
    """Return a permutation of the rows that depends on nothing but its arguments."""
    return np.random.default_rng((seed, epoch)).permutation(num_rows)


def order_batches(
    lengths_R: NDArray[np.int64], batch_size: int, *, seed: int, epoch: int, grouped: bool
) -> list[NDArray[np.intp]]:
    """Return the batches of one epoch; each row is in exactly one.

    ``grouped`` puts rows of like length together: rows are shuffled into pools, each pool is sorted by
    length and cut into batches, and the batches are shuffled. The one smaller batch comes last either way.
    """
    order_R = order_rows(len(lengths_R), seed=seed, epoch=epoch)
    full = len(order_R) // batch_size * batch_size
    if not grouped:
        return [order_R[start : start + batch_size] for start in range(0, len(order_R), batch_size)]
    pool = batch_size * min(BATCHES_PER_POOL, max(full // batch_size // POOLS_PER_EPOCH, 1))
    batches = []
    for start in range(0, full, pool):
        rows = order_R[start : min(start + pool, full)]
        rows = rows[np.argsort(lengths_R[rows], kind="stable")]
        batches += [rows[at : at + batch_size] for at in range(0, len(rows), batch_size)]
    shuffle = np.random.default_rng((seed, epoch, 1)).permutation(len(batches))
    rest = [order_R[full:]] if full < len(order_R) else []
    return [batches[index] for index in shuffle] + rest


def slice_batch(rows_B: NDArray[np.intp], *, rank: int, world_size: int, slices: int) -> list[NDArray[np.intp]]:
    """Return this worker's part of a global batch, in at most ``slices`` slices of about equal size.

    Workers take turns through the batch, so that each gets rows of all its lengths. A worker for which no
    row is left gets an empty list.
    """
    own = rows_B[rank::world_size]
    return list(np.array_split(own, min(slices, len(own)))) if len(own) else []


def split_by_length(rows_B: NDArray[np.intp], lengths_B: NDArray[np.int64]) -> list[NDArray[np.intp]]:
    """Return at least one row, ``rows_B``, shortest first, in the 1 to ``MAX_PARTS`` parts that cost least one by one.

    A part costs its rows times the longest of their lengths, because each row is padded to it, plus ``PART_COST``.
    Parts begin at multiples of ``PART_ROWS``.

    >>> split_by_length(np.arange(6), np.array([90, 10, 80, 10, 10, 10]))
    [array([1, 3, 4, 5]), array([2, 0])]
    """
    order_B = np.argsort(lengths_B, kind="stable")
    sorted_B = lengths_B[order_B]
    ends_E = np.array([*range(0, len(rows_B), PART_ROWS), len(rows_B)])
    # cost_EE[end, start]: of the part between two places where parts may begin or end.
    num_rows_EE = ends_E[:, None] - ends_E
    cost_EE = np.where(num_rows_EE > 0, num_rows_EE * sorted_B[ends_E - 1][:, None] + PART_COST, np.inf)
    # least_E: of the rows before each place, in at most as many parts as rounds were made.
    least_E, starts = cost_EE[:, 0].copy(), [np.zeros(len(ends_E), dtype=np.intp)]
    least_E[0] = 0
    for _ in range(MAX_PARTS - 1):
        totals_EE = cost_EE + least_E
        starts.append(totals_EE.argmin(axis=1))
        least_E = np.append(0, totals_EE.min(axis=1)[1:])
    cuts, place = set(), len(ends_E) - 1
    for starts_E in reversed(starts):
        place = int(starts_E[place])
        cuts.add(int(ends_E[place]))
    return np.split(rows_B[order_B], sorted(cuts - {0}))


def pack_by_length(
    lengths_V: NDArray[np.int64], batch_size: int, *, rank: int, world_size: int
) -> list[NDArray[np.intp]]:
    """Return this worker's part of all rows in batches of like length, for passes whose order does not matter."""
    own = np.argsort(lengths_V, kind="stable")[rank::world_size]
    return [own[start : start + batch_size] for start in range(0, len(own), batch_size)]
