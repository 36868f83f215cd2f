"""Gates: what is released and what is not, and that each says why."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from launchyard.evaluation.gates import judge_prior, judge_rival, judge_rule
from launchyard.evaluation.metrics.bootstrap import Bootstrap, measure, paired_difference
from launchyard.evaluation.metrics.classification import ClassificationScores
from launchyard.evaluation.results import Measure, Rival

CHAMPION = Rival(role="champion", name="champion v3")
BASELINE = Rival(role="baseline", name="tf-idf")


def make_measure(value: float, spread: float = 0.02) -> Measure:
    return Measure(value=value, low=value - spread, high=value + spread, n=500)


@pytest.mark.parametrize(
    ("rule", "passed"),
    [(">= 0.8", True), (">= 0.81", False), ("> 0.8", False), ("<= 0.8", True), ("< 0.8", False), (" >=0.5 ", True)],
)
def test_a_rule_holds_for_the_measured_value(rule: str, passed: bool) -> None:
    result = judge_rule("accuracy", rule, {"accuracy": make_measure(0.8)})

    assert result.passed is passed
    assert result.value == 0.8
    assert result.rule == rule.strip()


def test_an_undefined_metric_does_not_pass() -> None:
    result = judge_rule("roc_auc", ">= 0.5", {"accuracy": make_measure(0.8)})

    assert not result.passed
    assert result.value is None


@pytest.mark.parametrize(("difference", "passed"), [(0.01, True), (0.0, True), (-0.005, True), (-0.006, False)])
def test_a_rival_may_be_better_by_the_tolerance_and_no_more(difference: float, passed: bool) -> None:
    result = judge_rival(
        "accuracy", "max", make_measure(0.8), make_measure(difference), rival=CHAMPION, tolerance=0.005
    )

    assert result.passed is passed
    assert result.rule == f">= champion v3 {0.8 - difference:.4g} - 0.005"
    assert result.difference == make_measure(difference)


@pytest.mark.parametrize(("difference", "passed"), [(-0.1, True), (0.01, True), (0.02, False)])
def test_less_of_a_loss_is_better(difference: float, passed: bool) -> None:
    result = judge_rival("log_loss", "min", make_measure(0.4), make_measure(difference), rival=BASELINE, tolerance=0.01)

    assert result.passed is passed
    assert result.rule.startswith("<= tf-idf")


def test_floating_point_does_not_fail_a_model_at_the_tolerance() -> None:
    difference = make_measure(0.805 - 0.81)

    assert difference.value < -0.005
    assert judge_rival("accuracy", "max", make_measure(0.805), difference, rival=CHAMPION, tolerance=0.005).passed


@pytest.mark.parametrize(("difference", "passed"), [(-0.000014, True), (-0.00006, False), (-0.0001, False)])
def test_less_than_the_shown_digits_is_no_difference(difference: float, passed: bool) -> None:
    result = judge_rival("ndcg@10", "max", make_measure(0.07), make_measure(difference), rival=BASELINE, tolerance=0.0)

    assert result.passed is passed


def test_a_rule_is_kept_though_floating_point_lies_a_bit_below() -> None:
    measured = make_measure(0.1 + 0.7)

    assert measured.value < 0.8
    assert judge_rule("f1_macro", ">= 0.8", {"f1_macro": measured}).passed
    assert not judge_rule("f1_macro", "< 0.8", {"f1_macro": measured}).passed


def test_a_rival_that_cannot_be_compared_is_not_passed() -> None:
    assert not judge_rival("accuracy", "max", make_measure(0.8), None, rival=CHAMPION, tolerance=0.0).passed


def compare_with_prior(predicted_B: NDArray[Any], truth_B: NDArray[Any]) -> bool:
    settings = Bootstrap(resamples=300, confidence=0.95)
    model = measure(ClassificationScores(truth_B, np.eye(2)[predicted_B] * 0.8 + 0.1, ("a", "b")), settings)
    commonest_BC = np.tile([0.9, 0.1], (len(truth_B), 1))
    prior = measure(ClassificationScores(truth_B, commonest_BC, ("a", "b")), settings)
    difference = paired_difference(model, prior, "recall_macro", settings)
    return judge_prior("recall_macro", "max", model.measures["recall_macro"], difference).passed


def test_a_model_that_always_answers_the_commonest_label_is_refused() -> None:
    truth_B = (np.arange(400) % 10 == 0).astype(int)

    assert not compare_with_prior(np.zeros(400, dtype=int), truth_B)


def test_a_model_that_guesses_is_refused_though_chance_puts_it_above_the_prior() -> None:
    truth_B = np.arange(400) % 2
    guesses_B = np.random.default_rng(3).integers(0, 2, 400)
    assert (guesses_B == truth_B).mean() > 0.5

    assert not compare_with_prior(guesses_B, truth_B)


def test_a_model_that_has_learned_passes_however_skewed_the_labels_are() -> None:
    truth_B = (np.arange(400) % 20 == 0).astype(int)
    answers_B = truth_B.copy()
    answers_B[::40] = 1 - answers_B[::40]

    assert compare_with_prior(answers_B, truth_B)


def test_a_rule_that_is_none_is_an_error_of_the_caller() -> None:
    with pytest.raises(ValueError, match="is not a rule"):
        judge_rule("accuracy", "0.8", {})
