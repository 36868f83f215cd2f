"""The baseline that drift is measured from."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from launchyard.evaluation.drift import Histograms, make_histogram, write_baseline


def test_numbers_are_binned_into_equal_shares() -> None:
    histogram = make_histogram([float(number) for number in range(1000)])

    assert len(histogram.shares) == 10
    assert histogram.shares == pytest.approx([0.1] * 10, abs=0.01)
    assert histogram.n == 1000


def test_a_feature_that_never_changes_has_one_bin_with_everything() -> None:
    histogram = make_histogram([3.0] * 20)

    assert histogram.edges == (3.0,)
    assert histogram.shares == (1.0, 0.0)


def test_baseline_files_hold_every_row_and_feature(tmp_path: Path) -> None:
    rows: list[dict[str, float | str]] = [{"num_words": 3.0, "script": "latin"}, {"num_words": 5.0, "script": "cjk"}]

    write_baseline(tmp_path, rows)

    assert pq.read_table(tmp_path / "baseline/samples.parquet").to_pylist() == rows
    histograms = Histograms.model_validate_json((tmp_path / "baseline/histograms.json").read_text("utf-8")).root
    assert histograms["script"].categories == ("cjk", "latin")
    assert sum(histograms["num_words"].shares) == pytest.approx(1)
