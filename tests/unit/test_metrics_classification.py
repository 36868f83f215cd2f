"""The metrics agree with scikit-learn, on all rows and on resamples, and say when they are undefined."""

from __future__ import annotations

import time
import warnings
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics as reference

from launchyard.evaluation.metrics.bootstrap import Bootstrap, iter_weights, measure
from launchyard.evaluation.metrics.classification import ClassificationScores


def make_scores(num_rows: int, num_classes: int, *, seed: int = 0, decimals: int | None = None) -> ClassificationScores:
    generator = np.random.default_rng(seed)
    truth_B = generator.integers(0, num_classes, num_rows)
    logits_BC = generator.normal(size=(num_rows, num_classes)) + 1.5 * np.eye(num_classes)[truth_B]
    probabilities_BC = np.exp(logits_BC) / np.exp(logits_BC).sum(axis=1, keepdims=True)
    if decimals is not None:
        probabilities_BC = probabilities_BC.round(decimals)
    return ClassificationScores(truth_B, probabilities_BC, [f"l{number}" for number in range(num_classes)])


def measure_by_reference(scores: ClassificationScores, index_B: NDArray[Any]) -> dict[str, float]:
    """The same metrics by scikit-learn, over the rows at ``index_B``, repeats counted again."""
    truth, predicted = scores.truth_B[index_B], scores.predicted_B[index_B]
    probabilities = scores.probabilities_BC[index_B]
    classes = range(len(scores.labels))
    averages = {
        name: function(truth, predicted, average="macro", zero_division=0)
        for name, function in (
            ("precision_macro", reference.precision_score),
            ("recall_macro", reference.recall_score),
            ("f1_macro", reference.f1_score),
        )
    }
    per_class = [(truth == column, probabilities[:, column]) for column in classes]
    f1 = reference.f1_score(truth, predicted, average=None, labels=list(classes), zero_division=0)
    return {
        **averages,
        **{f"f1[{label}]": f1[column] for column, label in enumerate(scores.labels)},
        "accuracy": reference.accuracy_score(truth, predicted),
        "log_loss": reference.log_loss(truth, probabilities, labels=list(classes)),
        "roc_auc": float(np.mean([reference.roc_auc_score(true, score) for true, score in per_class])),
        "pr_auc": float(np.mean([reference.average_precision_score(true, score) for true, score in per_class])),
    }


@pytest.mark.parametrize("num_classes", [2, 5])
@pytest.mark.parametrize("decimals", [None, 1], ids=["distinct scores", "many ties"])
def test_metrics_agree_with_scikit_learn(num_classes: int, decimals: int | None) -> None:
    scores = make_scores(300, num_classes)
    if decimals is not None:
        # Ties only matter to the ranking metrics; the others need rows that add up to 1.
        tied_BC = scores.probabilities_BC.round(decimals) + 1e-9
        scores = ClassificationScores(scores.truth_B, tied_BC / tied_BC.sum(axis=1, keepdims=True), scores.labels)

    found = scores.metrics()

    expected = measure_by_reference(scores, np.arange(300))
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-9)


def test_weighted_rows_equal_repeated_rows() -> None:
    scores = make_scores(200, 3)
    (weights_RB,) = iter_weights(200, Bootstrap(resamples=5, confidence=0.95, seed=3))

    sampled = scores.resample(weights_RB)

    for number, weights_B in enumerate(weights_RB):
        expected = measure_by_reference(scores, np.repeat(np.arange(200), weights_B.astype(int)))
        assert {name: sampled[name][number] for name in expected} == pytest.approx(expected, abs=1e-9)


def test_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    confident_BC = np.tile([0.9, 0.1], (10, 1))
    half_right_B = np.array([0, 1] * 5)

    found = ClassificationScores(half_right_B, confident_BC, ("a", "b")).metrics()

    assert found["calibration_error"] == pytest.approx(0.4)


def test_a_label_without_rows_has_no_metrics_of_its_own() -> None:
    scores = ClassificationScores(np.array([0, 1, 0]), np.eye(3)[[0, 1, 2]], ("a", "b", "absent"))

    found = scores.metrics()

    assert "recall[absent]" not in found
    assert "f1[a]" in found


def test_rows_of_one_label_leave_ranking_undefined_and_accuracy_defined() -> None:
    scores = ClassificationScores(np.zeros(4, dtype=np.int64), np.tile([0.6, 0.4], (4, 1)), ("a", "b"))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = scores.metrics()

    assert "roc_auc" not in found
    assert found["accuracy"] == 1.0


def test_a_certain_mistake_costs_a_finite_log_loss() -> None:
    scores = ClassificationScores(np.array([0, 1]), np.array([[0.0, 1.0], [0.0, 1.0]]), ("a", "b"))

    assert np.isfinite(scores.metrics()["log_loss"])


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit 3 labels"):
        ClassificationScores(np.array([0, 1]), np.ones((2, 2)) / 2, ("a", "b", "c"))


def test_a_thousand_resamples_of_a_thousand_rows_take_less_than_two_seconds_of_cpu() -> None:
    scores = make_scores(1000, 2)

    start_s = time.process_time()
    measured = measure(scores, Bootstrap(resamples=1000, confidence=0.95))

    assert time.process_time() - start_s < 2.0
    assert measured.samples["roc_auc"].shape == (1000,)
