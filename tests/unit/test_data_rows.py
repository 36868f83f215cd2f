"""What a kind's policy makes of equal rows, and who a row is whatever its columns hold."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from launchyard.contract.rows import RowPolicy, Target
from launchyard.data.duplicates import GIVEN, settle_duplicates
from launchyard.data.identity import Fingerprint, encode_column, format_ids, hash_values, identify_rows
from launchyard.data.profile import ColumnProfiler

NUMBER = Target("number", "price")
KEEP = RowPolicy(duplicates="keep", conflicts="keep", near_copies="none")
DROP_REPEATS = RowPolicy(duplicates="drop", conflicts="keep", near_copies="none")
DROP_ALL = RowPolicy(duplicates="drop", conflicts="drop", near_copies="none")
ROWS = [{"size": 1, "price": 5.0}, {"size": 1, "price": 5.0}, {"size": 1, "price": 6.0}, {"size": 2, "price": 7.0}]


def make_table(rows: list[dict[str, Any]], content: tuple[str, ...]) -> pa.Table:
    table = identify_rows(pa.Table.from_pylist(rows), content)
    return table.append_column(GIVEN, pa.array([0] * len(rows), pa.uint8()))


def settle(policy: RowPolicy, target: Target = NUMBER) -> tuple[list[float], list[str], dict[str, int]]:
    table, dropped = settle_duplicates(make_table(ROWS, ("size",)), target, policy)
    return sorted(table["price"].to_pylist()), format_ids(table).to_pylist(), {k: n for k, n in dropped.items() if n}


@pytest.mark.parametrize(
    ("policy", "prices", "dropped"),
    [
        (KEEP, [5.0, 5.0, 6.0, 7.0], {}),
        (DROP_REPEATS, [5.0, 6.0, 7.0], {"exact_duplicate": 1}),
        (DROP_ALL, [7.0], {"conflicting_label": 3}),
    ],
)
def test_equal_rows_stay_as_the_kind_says(policy: RowPolicy, prices: list[float], dropped: dict[str, int]) -> None:
    assert settle(policy)[0] == prices
    assert settle(policy)[2] == dropped


def test_rows_that_stay_together_have_identities_of_their_own_in_order() -> None:
    ids = settle(KEEP)[1]

    assert ids == sorted(set(ids))
    assert set(settle(DROP_REPEATS)[1]) <= set(ids)


def test_without_a_target_equal_content_is_a_repeat() -> None:
    table, dropped = settle_duplicates(make_table(ROWS, ("size",)), Target("none"), DROP_REPEATS)

    assert (table.num_rows, dropped["exact_duplicate"]) == (2, 2)


def test_rows_of_lists_structs_and_bytes_are_who_they_are() -> None:
    rows: list[dict[str, Any]] = [
        {"picture": b"\x89PNG", "boxes": [1.5, 2.0], "place": {"x": 1, "y": None}},
        {"picture": b"\x89PNG", "boxes": [1.5, 2.0], "place": {"x": 1, "y": None}},
        {"picture": b"\x89PNG", "boxes": [], "place": {"x": 1, "y": None}},
        {"picture": b"\x89PNG", "boxes": None, "place": {"x": 1, "y": 0}},
        {"picture": b"", "boxes": [1.5, 2.0], "place": None},
    ]
    whole = pa.Table.from_pylist(rows)

    hashes = [hash_values(whole[name]).tolist() for name in whole.column_names]
    parts = [hash_values(whole.slice(start, 2)["boxes"]).tolist() for start in (0, 2, 4)]

    assert [len(set(found)) for found in hashes] == [2, 3, 3]
    assert hashes[1] == [one for part in parts for one in part]
    table, dropped = settle_duplicates(make_table(rows[:3], ("picture", "boxes")), Target("none"), DROP_REPEATS)
    assert (table.num_rows, dropped["exact_duplicate"]) == (2, 1)
    fingerprint = Fingerprint()
    fingerprint.add(identify_rows(whole.drop_columns(["place"]).slice(0, 3), ("picture",)))
    assert len(fingerprint.hexdigest()) == 64


def test_the_names_of_a_struct_count_and_their_order_does_not() -> None:
    one = encode_column(pa.array([{"a": 1, "b": b"\x00"}]))
    other = encode_column(pa.array([{"b": b"\x00", "a": 1}]))

    assert one.to_pylist() == other.to_pylist()
    assert one.to_pylist() != encode_column(pa.array([{"a": 1, "c": b"\x00"}])).to_pylist()


def test_what_was_a_text_keeps_its_digest() -> None:
    table = identify_rows(pa.table({"text": ["good"], "stars": [5]}), ("text", "stars"))

    assert format_ids(table).to_pylist() == ["8b178bd0ce69208a8703d96fa74fa1a6"]


def test_the_profile_of_bytes_and_lists_counts_their_sizes_and_shows_none_of_them() -> None:
    profilers = [ColumnProfiler("picture", pa.binary()), ColumnProfiler("boxes", pa.list_(pa.int64()))]
    columns = [
        pa.chunked_array([[b"abc", b"abc", None]]),
        pa.chunked_array([[[1, 2, 3], [], None]], pa.list_(pa.int64())),
    ]

    for profiler, column in zip(profilers, columns, strict=True):
        profiler.add(column)
    pictures, boxes = (profiler.build(3, 1) for profiler in profilers)

    assert (pictures.num_distinct, boxes.num_distinct) == (1, 2)
    assert (pictures.lengths["p100"], boxes.lengths["p0"]) == (3, 0)
    assert "abc" not in pictures.histogram
