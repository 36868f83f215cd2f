"""What counts as a near duplicate of a held-out row, and what does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from launchyard.data.near_duplicates import SIMILARITY, mark_near_duplicates, measure_similarity
from launchyard.data.sizes import DEFAULT_SIZES, BlockSizes
from launchyard.data.split import NEAR_DUPLICATE, POOL, TEST
from launchyard.data.spool import RowStore

NEAR = [
    ("This film was GREAT!!!", "this film was great"),
    (
        "the delivery was late and the box was broken when it came",
        "the delivery was late and the box was broken when it came again",
    ),
    (
        "a slow and tedious film that never finds the courage to say what it is really about",
        "a slow and tedious movie that never finds the courage to say what it is really about",
    ),
    ("这家店的服务非常好,老板很热情,下次还会再来的。", "这家店的服务非常好,老板很热情,下次还会再来"),
    ("¡Qué película tan buena, la vería otra vez!", "Qué película tan buena; la vería otra vez"),
]
DIFFERENT = [
    ("book a flight to paris", "book a flight to london"),
    ("what is the weather", "what is the time"),
    ("a touching and funny film", "a tedious and boring film"),
    ("非常好的产品", "非常差的产品"),
    ("!!!", "???"),
    ("👍", "👎"),
    ("order 12345 has not arrived", "order 67890 has not arrived"),
]


def _mark(folder: Path, texts: list[str], states: list[int], sizes: BlockSizes = DEFAULT_SIZES) -> np.ndarray:
    rows = RowStore(folder)
    for start in range(0, len(texts), 200):
        rows.append(pa.table({"text": texts[start : start + 200]}))
    states_N = np.array(states, np.uint8)
    found = mark_near_duplicates(rows, ("text",), states_N, POOL, folder, sizes)
    assert found == np.count_nonzero(states_N == NEAR_DUPLICATE)
    return states_N


@pytest.mark.parametrize(("left", "right"), NEAR)
def test_a_near_copy_of_a_test_row_is_taken_out_of_training(tmp_path: Path, left: str, right: str) -> None:
    assert _mark(tmp_path, [left, right], [TEST, POOL]).tolist() == [TEST, NEAR_DUPLICATE]


@pytest.mark.parametrize(("left", "right"), DIFFERENT)
def test_a_different_row_stays(tmp_path: Path, left: str, right: str) -> None:
    assert _mark(tmp_path, [left, right], [TEST, POOL]).tolist() == [TEST, POOL]


def test_near_copies_among_training_rows_stay(tmp_path: Path) -> None:
    assert _mark(tmp_path, ["same words here", "same words, here"], [POOL, POOL]).tolist() == [POOL, POOL]


def test_nearly_all_of_many_near_copies_are_found_and_nothing_else(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    words = [f"w{i}" for i in range(500)]
    originals = [" ".join(random.choice(words, 20)) for _ in range(300)]
    copies = [f"{text} indeed" for text in originals]
    others = [" ".join(random.choice(words, 20)) for _ in range(300)]
    # Small parts and few pairs at once, so that every boundary of the walk is crossed.
    sizes = BlockSizes(bands_bytes=2**15, num_pairs=100)

    states = _mark(tmp_path, originals + copies + others, [TEST] * 300 + [POOL] * 600, sizes)

    assert np.count_nonzero(states[300:600] == NEAR_DUPLICATE) >= 295
    assert np.count_nonzero(states[600:] == NEAR_DUPLICATE) == 0


def test_similarity_is_jaccard_of_words_and_pairs() -> None:
    # {a, b, c, ab, bc, c.} and {a, b, d, ab, bd, d.} share a, b, ab of nine.
    assert measure_similarity(pa.array(["a b c"]), pa.array(["a b d"])).tolist() == [3 / 9]
    assert SIMILARITY == 0.8
