"""Which row goes to which split: exact, stratified, grouped, by time, the same anywhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from launchyard.data.identity import hash_values, identify_rows, mix
from launchyard.data.split import (
    POOL,
    TEST,
    TRAIN,
    VALIDATION,
    KeyFile,
    Partition,
    allocate,
    make_keys,
    plan_sizes,
    select_ranks,
)
from launchyard.errors import DataError
from launchyard.spec.blocks import Split

COUNTS = Split(train=60, validation=20, test=20)


def _divide(
    folder: Path, split: Split, strata: np.ndarray, keys: np.ndarray, given: np.ndarray | None = None
) -> np.ndarray:
    given = np.zeros(len(keys), np.uint8) if given is None else given
    file = KeyFile(folder / "keys")
    file.append(keys, strata, given)
    names = ("train", "validation", "test")
    rows = {name: int((given == place).sum()) for place, name in enumerate(names) if place in given}
    partition = Partition(split, file, rows, num_strata=int(strata.max()) + 1)  # type: ignore[arg-type]
    partition.hold_out()
    partition.choose_train()
    return partition.states_N


def _random_keys(num_rows: int, seed: int = 7) -> np.ndarray:
    return mix(np.arange(num_rows, dtype=np.uint64), seed)


def test_counts_are_met_exactly_and_the_rest_is_in_no_split(tmp_path: Path) -> None:
    states = _divide(tmp_path, COUNTS, np.zeros(150, np.int64), _random_keys(150))

    assert np.bincount(states, minlength=4).tolist() == [60, 20, 20, 50]


def test_every_label_keeps_its_share_in_every_split(tmp_path: Path) -> None:
    strata = np.repeat([0, 1, 2], [700, 200, 100])

    states = _divide(tmp_path, Split(), strata, _random_keys(1000))

    for state, rows in ((TRAIN, [560, 160, 80]), (VALIDATION, [70, 20, 10]), (TEST, [70, 20, 10])):
        assert np.bincount(strata[states == state]).tolist() == rows


def test_a_label_of_three_rows_is_trained_validated_and_tested(tmp_path: Path) -> None:
    strata = np.repeat([0, 1], [997, 3])

    states = _divide(tmp_path, Split(), strata, _random_keys(1000))

    assert sorted(states[strata == 1].tolist()) == [TRAIN, VALIDATION, TEST]


def test_a_split_is_shuffled_and_another_seed_shuffles_differently(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    strata = np.zeros(1000, np.int64)

    first = _divide(tmp_path / "a", Split(), strata, _random_keys(1000, seed=1))
    second = _divide(tmp_path / "b", Split(), strata, _random_keys(1000, seed=2))

    assert 20 < np.count_nonzero(first[:500] == TEST) < 80
    assert 0 < np.count_nonzero((first == TEST) & (second == TEST)) < 50


def test_the_published_order_never_changes() -> None:
    # These values are part of the format: with others, every split in the world would change.
    assert mix(np.array([0], np.uint64), 0).tolist() == [0xE220A8397B1DCDAF]
    assert hash_values(pa.array(["a"])).tolist() == [0x40F89E395B66422F]


def test_rows_of_one_group_stay_together(tmp_path: Path) -> None:
    groups = [f"user {i // 7}" for i in range(700)]
    table = identify_rows(pa.table({"text": [str(i) for i in range(700)], "user": groups}), ("text",))
    split = Split(group="user")

    states = _divide(tmp_path, split, np.zeros(700, np.int64), make_keys(table, split))

    assert all(len(set(states[start : start + 7].tolist())) == 1 for start in range(0, 700, 7))
    assert 70 <= np.count_nonzero(states == TEST) < 77


def test_the_newest_rows_are_tested_and_one_moment_stays_together(tmp_path: Path) -> None:
    times = np.repeat(np.arange(-50.0, 50.0), 3)
    shuffled = np.random.default_rng(0).permutation(times)
    split = Split(time="at", train=200, validation=50, test=50)
    table = pa.table({"at": shuffled})

    states = _divide(tmp_path, split, np.zeros(300, np.int64), make_keys(table, split))

    assert shuffled[states == TEST].min() > shuffled[states == VALIDATION].max()
    assert shuffled[states == VALIDATION].min() > shuffled[states == TRAIN].max()
    assert np.count_nonzero(states == TEST) == 51
    assert all(len(set(states[shuffled == time].tolist())) == 1 for time in np.unique(times))


def test_given_splits_are_used_whole_and_what_is_missing_comes_off_the_training_rows(tmp_path: Path) -> None:
    given = np.repeat(np.array([0, 2], np.uint8), [100, 30])

    states = _divide(tmp_path, Split(), np.zeros(130, np.int64), _random_keys(130), given)

    assert (states[given == 2] == TEST).all()
    assert np.bincount(states[given == 0], minlength=2).tolist() == [90, 10]


def test_a_count_caps_a_given_split_and_its_other_rows_are_not_trained_on(tmp_path: Path) -> None:
    given = np.repeat(np.array([0, 2], np.uint8), [100, 30])

    states = _divide(tmp_path, COUNTS, np.zeros(130, np.int64), _random_keys(130), given)

    assert np.bincount(states[given == 2], minlength=4).tolist() == [0, 0, 20, 10]
    assert (states[(given == 2) & (states != TEST)] == POOL).all()


def test_too_few_rows_for_the_counts_is_an_error_with_the_numbers() -> None:
    with pytest.raises(DataError, match=r"train 60, validation 20, test 20 rows, found 99 to divide"):
        plan_sizes(COUNTS, 99, {})


def test_too_few_rows_in_a_given_split_is_an_error_with_the_numbers() -> None:
    with pytest.raises(DataError, match=r"found 500 to divide, 19 for test"):
        plan_sizes(COUNTS, 500, {"test": 19})


def test_fractions_below_one_leave_rows_out() -> None:
    assert plan_sizes(Split(train=0.5, validation=0.1, test=0.1), 1000, {}) == {
        "train": 500,
        "validation": 100,
        "test": 100,
    }


@given(st.lists(st.integers(0, 40), min_size=1, max_size=12), st.floats(0, 1))
def test_shares_add_up_stay_within_limits_and_follow_the_weights(rows: list[int], fraction: float) -> None:
    weights = np.array(rows, np.int64)
    total = int(weights.sum() * fraction)

    shares = allocate(total, weights, weights)

    assert shares.sum() == total
    assert (shares >= 0).all() and (shares <= weights).all()
    floor = 1 if total >= np.count_nonzero(weights) else 0
    assert (np.abs(shares - total * weights / max(1, weights.sum())) < 1 + floor * len(rows)).all()


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2**64 - 1)), min_size=1, max_size=60), st.data())
def test_the_selected_key_is_the_one_that_sorting_gives(rows: list[tuple[int, int]], data: st.DataObject) -> None:
    strata = np.array([stratum for stratum, _ in rows], np.uint32)
    keys = np.array([key for _, key in rows], np.uint64)
    sizes = np.bincount(strata, minlength=3)
    ranks = np.array([data.draw(st.integers(0, int(size))) for size in sizes], np.int64)

    cuts = select_ranks(lambda: iter([(strata[:20], keys[:20]), (strata[20:], keys[20:])]), ranks)

    for stratum in range(3):
        if ranks[stratum]:
            assert cuts[stratum] == np.sort(keys[strata == stratum])[ranks[stratum] - 1]
