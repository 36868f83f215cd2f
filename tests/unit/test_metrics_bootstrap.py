"""Intervals cover what they claim, are the same every time, and pair two models on the same resamples."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from launchyard.evaluation.metrics.bootstrap import MAX_WEIGHTS, Bootstrap, iter_weights, measure, paired_difference
from launchyard.evaluation.metrics.classification import ClassificationScores
from launchyard.evaluation.metrics.latency import describe_latency, measure_latency, time_calls

SETTINGS = Bootstrap(resamples=400, confidence=0.95)


def make_scores(correct_B: NDArray[Any]) -> ClassificationScores:
    truth_B = np.arange(len(correct_B)) % 2
    predicted_B = np.where(correct_B, truth_B, 1 - truth_B)
    return ClassificationScores(truth_B, np.eye(2)[predicted_B] * 0.8 + 0.1, ("a", "b"))


def test_intervals_hold_the_true_accuracy_about_as_often_as_they_claim() -> None:
    generator = np.random.default_rng(0)
    settings = Bootstrap(resamples=200, confidence=0.9)

    measures = [measure(make_scores(generator.random(200) < 0.8), settings).measures["accuracy"] for _ in range(200)]

    covered = np.mean([found.low <= 0.8 <= found.high for found in measures])
    assert 0.83 <= covered <= 0.96


def test_the_interval_of_the_calibration_error_lies_on_both_sides() -> None:
    generator = np.random.default_rng(0)
    settings = Bootstrap(resamples=200, confidence=0.9)

    found = []
    for _ in range(100):
        logit_B = generator.normal(0, 2, 400)
        truth_B = (generator.random(400) < 1 / (1 + np.exp(-logit_B))).astype(np.int64)
        surer_B = 1 / (1 + np.exp(-1.5 * logit_B))
        scores = ClassificationScores(truth_B, np.stack([1 - surer_B, surer_B], axis=1), ("a", "b"))
        found.append(measure(scores, settings).measures["calibration_error"])

    expected = np.mean([measured.value for measured in found])
    assert np.mean([measured.low <= expected <= measured.high for measured in found]) >= 0.85
    assert np.mean([measured.high - measured.value for measured in found]) == pytest.approx(
        np.mean([measured.value - measured.low for measured in found]), rel=0.3
    )


def test_the_same_rows_give_the_same_interval() -> None:
    scores = make_scores(np.random.default_rng(1).random(100) < 0.7)

    assert measure(scores, SETTINGS).measures == measure(scores, SETTINGS).measures


def test_every_resample_draws_as_many_rows_as_there_are() -> None:
    (weights_RB,) = iter_weights(50, Bootstrap(resamples=20, confidence=0.95))

    assert weights_RB.shape == (20, 50)
    assert (weights_RB.sum(axis=1) == 50).all()


def test_many_rows_are_resampled_block_by_block() -> None:
    scores = make_scores(np.random.default_rng(1).random(100) < 0.7)
    bootstrap = Bootstrap(resamples=MAX_WEIGHTS // 100 + 5, confidence=0.95)

    blocks = [len(weights_RB) for weights_RB in iter_weights(100, bootstrap)]

    assert blocks == [MAX_WEIGHTS // 100, 5]
    assert measure(scores, bootstrap).samples["accuracy"].shape == (MAX_WEIGHTS // 100 + 5,)


def test_a_paired_difference_is_surer_than_two_intervals() -> None:
    generator = np.random.default_rng(2)
    one_B = generator.random(400) < 0.8
    other_B = one_B & (generator.random(400) < 0.95)
    one, other = measure(make_scores(one_B), SETTINGS), measure(make_scores(other_B), SETTINGS)

    difference = paired_difference(one, other, "accuracy", SETTINGS)

    assert difference is not None
    assert difference.low > 0
    assert one.measures["accuracy"].low < other.measures["accuracy"].high


def test_a_metric_that_one_model_leaves_undefined_has_no_difference() -> None:
    measured = measure(make_scores(np.array([True, False, True])), SETTINGS)

    assert paired_difference(measured, measured, "no such metric", SETTINGS) is None


def test_a_perfect_score_has_an_interval_without_width() -> None:
    found = measure(make_scores(np.ones(30, dtype=bool)), SETTINGS).measures["accuracy"]

    assert (found.value, found.low, found.high, found.n) == (1.0, 1.0, 1.0, 30)


def test_latency_counts_the_calls_after_the_warm_up() -> None:
    seen: list[int] = []

    milliseconds_B = time_calls(seen.append, [1, 2, 3], warmup=5, calls=20)

    assert len(seen) == 25
    assert milliseconds_B.shape == (20,)
    assert describe_latency(milliseconds_B, threads=2).n == 20


def test_latency_has_an_interval_like_every_figure() -> None:
    milliseconds_B = np.random.default_rng(0).gamma(4.0, size=500)

    found = measure_latency(milliseconds_B, SETTINGS)

    p50, p99 = found["latency_p50_ms"], found["latency_p99_ms"]
    assert p50.low < p50.value < p50.high < p99.value
    assert p50.n == 500
