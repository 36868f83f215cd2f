"""The search for the items of the largest inner products: exact, approximate, filtered, saved and loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from launchyard.bundle.files import check_format
from launchyard.errors import BundleError, TrainError
from launchyard.vector_index import FILE_NAME, VectorIndex

NUM_ITEMS, NUM_DIMENSIONS = 40_000, 32


@pytest.fixture(scope="module", name="vectors_ID")
def catalogue() -> NDArray[np.float32]:
    return _draw(NUM_ITEMS, seed=1)


@pytest.fixture(scope="module")
def approximate(vectors_ID: NDArray[np.float32]) -> VectorIndex:
    """Return an index that fetches few candidates, so that the filters of these tests leave its scan in use."""
    return VectorIndex.build(vectors_ID, approximate_from=0, candidates=30)


def _draw(count: int, *, seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((count, NUM_DIMENSIONS)).astype(np.float32)


def _rank(vectors_ID: NDArray[np.float32], query_D: NDArray[np.float32], allowed_I: NDArray[np.bool_]) -> list[int]:
    """Return all allowed positions, best first, in the plainest way."""
    scores_I = vectors_ID @ query_D
    return [int(position) for position in np.lexsort((np.arange(len(scores_I)), -scores_I)) if allowed_I[position]]


def _measure_recall(index: VectorIndex, queries_BD: NDArray[np.float32], **filters: Any) -> float:
    found_BK, _ = index.search(queries_BD, 10, **filters)
    exact_BK, _ = VectorIndex.build(index.vectors_ID).search(queries_BD, 10, **filters)
    return float(np.mean([len(set(found) & set(exact)) / 10 for found, exact in zip(found_BK, exact_BK, strict=True)]))


def test_exact_search_ranks_as_sorting_all_scores_does() -> None:
    vectors_ID, queries_BD = _draw(500, seed=2), _draw(7, seed=3)
    everything = np.ones(500, dtype=bool)

    positions_BK, scores_BK = VectorIndex.build(vectors_ID).search(queries_BD, 20)

    assert positions_BK.tolist() == [_rank(vectors_ID, query_D, everything)[:20] for query_D in queries_BD]
    expected_BK = np.take_along_axis(queries_BD @ vectors_ID.T, positions_BK, axis=1)
    assert np.allclose(scores_BK, expected_BK, atol=1e-5)


def test_equal_scores_are_ordered_by_position_where_the_results_end_too() -> None:
    vectors_ID = np.ones((50, 4), dtype=np.float32)
    vectors_ID[30] = 2

    positions_BK, _ = VectorIndex.build(vectors_ID).search(np.ones((1, 4), dtype=np.float32), 5)

    assert positions_BK.tolist() == [[30, 0, 1, 2, 3]]


def test_results_end_with_minus_one_when_the_catalogue_does() -> None:
    index = VectorIndex.build(_draw(5, seed=4))
    allowed_I = np.array([True, True, False, True, True])

    positions_BK, scores_BK = index.search(
        _draw(1, seed=5), 10, excluded=[np.array([0], dtype=np.int32)], allowed_I=allowed_I
    )

    assert sorted(positions_BK[0, :3].tolist()) == [1, 3, 4]
    assert positions_BK[0, 3:].tolist() == [-1] * 7
    assert np.isneginf(scores_BK[0, 3:]).all()


@pytest.mark.parametrize("num_items", [0, 3])
def test_nothing_is_found_where_nothing_is_allowed(num_items: int) -> None:
    index = VectorIndex.build(_draw(num_items, seed=6))

    positions_BK, _ = index.search(_draw(2, seed=7), 4, allowed_I=np.zeros(num_items, dtype=bool))

    assert positions_BK.tolist() == [[-1] * 4] * 2


def test_a_catalogue_is_searched_approximately_from_the_threshold_on(vectors_ID: NDArray[np.float32]) -> None:
    assert not VectorIndex.build(vectors_ID, approximate_from=NUM_ITEMS + 1).is_approximate
    assert VectorIndex.build(vectors_ID, approximate_from=NUM_ITEMS).is_approximate
    assert not VectorIndex.build(vectors_ID[:500], approximate_from=0).is_approximate


def test_approximate_search_finds_what_the_exact_one_finds(approximate: VectorIndex) -> None:
    assert _measure_recall(approximate, _draw(50, seed=8)) >= 0.95


def test_a_rough_scan_is_not_exact_so_that_recall_can_be_told_apart(vectors_ID: NDArray[np.float32]) -> None:
    rough = VectorIndex.build(vectors_ID, approximate_from=0, candidates=1)

    assert _measure_recall(rough, _draw(50, seed=8)) < 0.95


def test_a_few_vectors_much_longer_than_the_others_are_found(vectors_ID: NDArray[np.float32]) -> None:
    uneven_ID = vectors_ID.copy()
    uneven_ID[:30] *= 10
    uneven_ID[0] *= 1000

    assert _measure_recall(VectorIndex.build(uneven_ID, approximate_from=0), _draw(50, seed=22)) >= 0.95


def test_approximate_scores_are_the_exact_inner_products_in_order(
    approximate: VectorIndex, vectors_ID: NDArray[np.float32]
) -> None:
    queries_BD = _draw(5, seed=9)

    positions_BK, scores_BK = approximate.search(queries_BD, 10)

    assert np.allclose(scores_BK, np.einsum("bkd,bd->bk", vectors_ID[positions_BK], queries_BD), atol=1e-4)
    assert (np.diff(scores_BK, axis=1) <= 0).all()


def test_a_query_finds_the_same_alone_and_in_a_batch(approximate: VectorIndex) -> None:
    queries_BD = _draw(9, seed=10)
    excluded = [np.arange(100 * row) for row in range(9)]

    together_BK, _ = approximate.search(queries_BD, 10, excluded=excluded)
    alone_BK = [approximate.search(queries_BD[[row]], 10, excluded=[excluded[row]])[0][0] for row in range(9)]

    assert together_BK.tolist() == [found.tolist() for found in alone_BK]


@pytest.mark.parametrize("num_excluded", [3, 300, 39_995])
def test_excluded_items_are_replaced_by_the_next_best(
    approximate: VectorIndex, vectors_ID: NDArray[np.float32], num_excluded: int
) -> None:
    query_D = _draw(1, seed=11)[0]
    ranking = _rank(vectors_ID, query_D, np.ones(NUM_ITEMS, dtype=bool))
    seen = np.array(ranking[:num_excluded])

    positions_BK, _ = approximate.search(query_D[None], 5, excluded=[seen])

    assert positions_BK[0].tolist() == ranking[num_excluded : num_excluded + 5]


@pytest.mark.parametrize("share", [0.9, 0.5, 0.1, 0.001])
def test_a_filter_of_any_width_keeps_recall(approximate: VectorIndex, share: float) -> None:
    allowed_I = np.random.default_rng(12).random(NUM_ITEMS) < share

    recall = _measure_recall(approximate, _draw(20, seed=13), allowed_I=allowed_I)

    assert recall >= 0.95


def test_a_filter_that_takes_most_of_what_a_query_looks_for_leaves_the_best_of_the_rest(
    vectors_ID: NDArray[np.float32],
) -> None:
    approximate = VectorIndex.build(vectors_ID, approximate_from=0, candidates=10)
    query_D = _draw(1, seed=14)[0]
    scores_I = vectors_ID @ query_D
    allowed_I = scores_I < np.quantile(scores_I, 0.5)
    allowed_I[np.argsort(-scores_I)[:3]] = True

    positions_BK, _ = approximate.search(query_D[None], 10, allowed_I=allowed_I)

    assert positions_BK[0].tolist() == _rank(vectors_ID, query_D, allowed_I)[:10]


@pytest.mark.parametrize("approximate_from", [0, NUM_ITEMS + 1])
def test_a_loaded_index_finds_what_the_saved_one_did(
    vectors_ID: NDArray[np.float32], tmp_path: Path, approximate_from: int
) -> None:
    index = VectorIndex.build(vectors_ID, approximate_from=approximate_from, candidates=7)
    queries_BD = _draw(20, seed=15)

    index.save(tmp_path)
    loaded = VectorIndex.load(tmp_path, threads=1)

    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]
    assert loaded.is_approximate == index.is_approximate
    positions_BK, scores_BK = loaded.search(queries_BD, 10)
    expected_BK, expected_scores_BK = index.search(queries_BD, 10)
    assert np.array_equal(positions_BK, expected_BK)
    assert np.array_equal(scores_BK, expected_scores_BK)


def test_an_odd_number_of_dimensions_is_saved_and_searched(tmp_path: Path) -> None:
    vectors_ID = _draw(3_000, seed=16)[:, :7]

    VectorIndex.build(vectors_ID, approximate_from=0).save(tmp_path)

    assert _measure_recall(VectorIndex.load(tmp_path, threads=1), _draw(20, seed=17)[:, :7]) >= 0.95


def test_a_bundle_may_hold_the_file(approximate: VectorIndex, tmp_path: Path) -> None:
    approximate.save(tmp_path)

    check_format(tmp_path, FILE_NAME)


def _spoil_nothing_left(path: Path) -> None:
    path.unlink()


def _spoil_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def _spoil_pickle(path: Path) -> None:
    np.savez(path, vectors=np.array([{"a": 1}], dtype=object), candidates=np.array(1))


def _spoil_codes(path: Path) -> None:
    with np.load(path) as arrays:
        np.savez(path, **{**arrays, "codes": arrays["codes"][:-1]})


def _spoil_levels(path: Path) -> None:
    with np.load(path) as arrays:
        np.savez(path, **{name: array for name, array in arrays.items() if name != "levels"})


@pytest.mark.parametrize("candidates", [0, -1, 1.5, float("inf"), [7, 7]])
@pytest.mark.parametrize("approximate_from", [0, 10_000])
def test_an_index_of_no_candidates_is_refused(tmp_path: Path, candidates: Any, approximate_from: int) -> None:
    path = VectorIndex.build(_draw(2_000, seed=18), approximate_from=approximate_from).save(tmp_path)
    with np.load(path) as arrays:
        np.savez(path, **{**arrays, "candidates": np.array(candidates)})

    with pytest.raises(BundleError, match=f"{FILE_NAME}: candidates: must be a whole number from 1 on, found"):
        VectorIndex.load(tmp_path, threads=1)


@pytest.mark.parametrize("spoil", [_spoil_nothing_left, _spoil_half, _spoil_pickle, _spoil_codes, _spoil_levels])
def test_a_damaged_file_is_refused_with_its_name(tmp_path: Path, spoil: Any) -> None:
    path = VectorIndex.build(_draw(2_000, seed=18), approximate_from=0).save(tmp_path)
    spoil(path)

    with pytest.raises(BundleError, match=FILE_NAME):
        VectorIndex.load(tmp_path, threads=1)


def test_a_vector_that_is_not_finite_is_refused_with_its_position() -> None:
    vectors_ID = _draw(10, seed=19)
    vectors_ID[4, 2] = np.nan

    with pytest.raises(TrainError, match="item 4"):
        VectorIndex.build(vectors_ID)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"queries_BD": np.ones((1, 3), dtype=np.float32)}, "queries of shape"),
        ({"queries_BD": np.full((1, NUM_DIMENSIONS), np.inf, dtype=np.float32)}, "infinity"),
        ({"k": 0}, "at least 1"),
        ({"excluded": []}, "excluded items of 0"),
        ({"excluded": [np.array([-1])]}, "not one of 0 to 9"),
        ({"excluded": [np.array([10])]}, "not one of 0 to 9"),
        ({"allowed_I": np.ones(9, dtype=bool)}, "10 booleans"),
        ({"allowed_I": np.ones(10, dtype=np.int64)}, "10 booleans"),
    ],
)
def test_a_search_that_does_not_fit_the_catalogue_is_refused(change: dict[str, Any], message: str) -> None:
    index = VectorIndex.build(_draw(10, seed=20))
    asked = {"queries_BD": _draw(1, seed=21), "k": 3, **change}

    with pytest.raises(ValueError, match=message):
        index.search(**asked)


def test_a_small_catalogue_needs_no_library() -> None:
    script = (
        "import sys; import numpy as np; from launchyard.vector_index import VectorIndex\n"
        "VectorIndex.build(np.ones((5, 2), np.float32)).search(np.ones((1, 2), np.float32), 3)\n"
        "sys.exit('faiss' in sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", script], check=False, timeout=60)

    assert done.returncode == 0
