"""What the profile counts, exactly where it can and closely where it must estimate."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pytest

from launchyard.data.profile import COMMONEST, MOST_VALUES, ColumnProfiler, DistinctCounter


def _profile(values: Sequence[str | None], batch_rows: int = 100) -> ColumnProfiler:
    profiler = ColumnProfiler("shop", pa.string())
    for start in range(0, len(values), batch_rows):
        profiler.add(pa.chunked_array([pa.array(values[start : start + batch_rows], pa.string())]))
    return profiler


def test_distinct_values_are_counted_exactly_as_long_as_they_are_few() -> None:
    counter = DistinctCounter()
    for start in range(0, 5000, 500):
        counter.add(pa.chunked_array([[str(number) for number in range(start, start + 1000)]]))

    assert counter.count() == 5500


def test_many_distinct_values_are_estimated_within_four_percent() -> None:
    counter = DistinctCounter()
    for start in range(0, 100_000, 10_000):
        counter.add(pa.chunked_array([[str(number) for number in range(start, start + 10_000)]] * 2))

    assert counter.count() == pytest.approx(100_000, rel=0.04)


def test_the_commonest_values_are_listed_with_ties_in_order() -> None:
    profile = _profile([*"aab", *(f"v{i:02}" for i in range(30))]).build(33, 0)

    assert list(profile.histogram.items())[:3] == [("a", 2), ("b", 1), ("v00", 1)]
    assert len(profile.histogram) == COMMONEST


def test_a_column_of_many_values_shows_their_lengths() -> None:
    values = [f"{i:08}" for i in range(MOST_VALUES)] + ["x" * 95]

    profile = _profile(values).build(len(values), 0)

    assert profile.histogram["0-9"] == MOST_VALUES
    assert profile.histogram["90-99"] == 1


def test_nulls_are_no_values() -> None:
    profile = _profile([None, "a", None]).build(3, 2)

    assert (profile.num_nulls, profile.num_distinct, profile.histogram) == (2, 1, {"a": 1})


def test_numbers_have_values_and_no_lengths() -> None:
    profiler = ColumnProfiler("at", pa.float64())
    profiler.add(pa.chunked_array([[1.5, 2.0, 1.5]]))

    profile = profiler.build(3, 0)

    assert (profile.type, profile.lengths, profile.histogram) == ("double", {}, {"1.5": 2, "2": 1})
