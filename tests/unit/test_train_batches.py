"""Which rows make which step."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from launchyard.spec.blocks import GradientTrain
from launchyard.training.batches import (
    MAX_PARTS,
    PART_COST,
    PART_ROWS,
    order_batches,
    pack_by_length,
    plan_steps,
    slice_batch,
    split_by_length,
)


def test_steps_cover_every_row_of_every_epoch() -> None:
    plan = plan_steps(GradientTrain(epochs=3, batch_size=32), 100)

    assert (plan.steps_per_epoch, plan.num_steps) == (4, 12)
    assert plan.evaluation_steps == {4, 8, 12}


def test_evaluations_divide_an_epoch_evenly() -> None:
    plan = plan_steps(GradientTrain(epochs=1, batch_size=10, evaluations_per_epoch=4), 100)

    assert plan.evaluation_steps == {2, 5, 8, 10}


def test_max_steps_ends_with_an_evaluation() -> None:
    plan = plan_steps(GradientTrain(epochs=10, batch_size=10, max_steps=15), 100)

    assert plan.num_steps == 15
    assert plan.evaluation_steps == {10, 15}


@pytest.mark.parametrize("grouped", [True, False])
@pytest.mark.parametrize("num_rows", [1, 7, 64, 1003])
def test_an_epoch_holds_each_row_once(grouped: bool, num_rows: int) -> None:
    lengths_R = np.random.default_rng(0).integers(1, 60, num_rows)

    batches = order_batches(lengths_R, 16, seed=1, epoch=0, grouped=grouped)

    assert sorted(np.concatenate(batches)) == list(range(num_rows))
    assert [len(batch) for batch in batches[:-1]] == [16] * (len(batches) - 1)


@pytest.mark.parametrize("grouped", [True, False])
def test_the_order_depends_on_seed_and_epoch_alone(grouped: bool) -> None:
    lengths_R = np.random.default_rng(0).integers(1, 60, 500)

    def order(seed: int, epoch: int) -> list[int]:
        batches = order_batches(lengths_R, 16, seed=seed, epoch=epoch, grouped=grouped)
        return [int(row) for batch in batches for row in batch]

    assert order(1, 2) == order(1, 2)
    assert order(1, 2) != order(1, 3)
    assert order(1, 2) != order(2, 2)


def test_grouping_by_length_halves_the_padding() -> None:
    lengths_R = np.random.default_rng(0).integers(1, 60, 2000)

    def padded(grouped: bool) -> int:
        batches = order_batches(lengths_R, 32, seed=1, epoch=0, grouped=grouped)
        return sum(int(lengths_R[batch].max()) * len(batch) for batch in batches) - int(lengths_R.sum())

    assert padded(grouped=True) < 0.5 * padded(grouped=False)


def test_grouped_batches_are_not_sorted_over_the_epoch() -> None:
    lengths_R = np.arange(640)

    batches = order_batches(lengths_R, 32, seed=1, epoch=0, grouped=True)

    means = [float(lengths_R[batch].mean()) for batch in batches]
    assert means != sorted(means)
    assert means != sorted(means, reverse=True)


@pytest.mark.parametrize(("world_size", "slices", "num_rows"), [(1, 1, 32), (2, 3, 31), (3, 4, 5), (4, 2, 3)])
def test_workers_and_slices_share_a_batch_without_overlap(world_size: int, slices: int, num_rows: int) -> None:
    rows_B = np.arange(num_rows) * 10

    parts = [
        part
        for rank in range(world_size)
        for part in slice_batch(rows_B, rank=rank, world_size=world_size, slices=slices)
    ]

    assert sorted(np.concatenate(parts)) == rows_B.tolist()
    assert all(len(part) for part in parts)


def test_a_worker_without_a_row_gets_no_slice() -> None:
    assert slice_batch(np.array([5]), rank=1, world_size=2, slices=1) == []


def compute_cost(parts: Sequence[NDArray[np.intp]], lengths_B: NDArray[np.int64]) -> int:
    return sum(len(part) * int(lengths_B[part].max()) + PART_COST for part in parts)


@pytest.mark.parametrize("num_rows", [1, 4, 5, 31, 32, 48])
def test_the_parts_of_a_batch_are_the_cheapest_there_are(num_rows: int) -> None:
    lengths_B = np.random.default_rng(num_rows).integers(1, 200, num_rows)

    parts = split_by_length(np.arange(num_rows), lengths_B)

    order_B = np.argsort(lengths_B, kind="stable")
    places = range(PART_ROWS, num_rows, PART_ROWS)
    others = (cuts for count in range(MAX_PARTS) for cuts in combinations(places, count))
    assert sorted(np.concatenate(parts)) == list(range(num_rows))
    assert compute_cost(parts, lengths_B) == min(
        compute_cost(np.split(order_B, list(cuts)), lengths_B) for cuts in others
    )


def test_rows_of_one_length_are_one_part() -> None:
    parts = split_by_length(np.array([7, 3, 5, 9, 8]), np.full(5, 1000))

    assert [part.tolist() for part in parts] == [[7, 3, 5, 9, 8]]


def test_packing_gives_each_row_to_one_worker() -> None:
    lengths_V = np.random.default_rng(0).integers(1, 60, 101)

    rows = [
        row
        for rank in range(3)
        for batch in pack_by_length(lengths_V, 8, rank=rank, world_size=3)
        for row in batch.tolist()
    ]

    assert sorted(rows) == list(range(101))
