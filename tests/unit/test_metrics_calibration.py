"""Confidence is made true, and a threshold keeps texts away that are unlike any class."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from launchyard.evaluation.metrics.calibration import choose_threshold, fit_temperature, softmax
from launchyard.evaluation.metrics.classification import ClassificationScores
from launchyard.kinds.text_classification.baseline import answer_baseline
from launchyard.kinds.text_classification.spec import Abstain


def test_temperature_scaling_undoes_overconfidence() -> None:
    generator = np.random.default_rng(0)
    logits_BC = generator.normal(scale=2.0, size=(4000, 3))
    truth_B = np.array([generator.choice(3, p=probability_C) for probability_C in softmax(logits_BC)])
    overconfident_BC = 2.5 * logits_BC

    temperature = fit_temperature(overconfident_BC, truth_B)

    before = ClassificationScores(truth_B, softmax(overconfident_BC), "abc").metrics()
    after = ClassificationScores(truth_B, softmax(overconfident_BC / temperature), "abc").metrics()
    assert temperature == pytest.approx(2.5, rel=0.08)
    assert after["calibration_error"] < 0.5 * before["calibration_error"]
    assert after["accuracy"] == before["accuracy"]


def test_a_perfect_model_on_few_rows_does_not_become_certain() -> None:
    logits_BC = np.array([[1.0, -1.0], [-1.0, 1.0]])

    temperature = fit_temperature(logits_BC, np.array([0, 1]))

    assert temperature == pytest.approx(0.2)


def test_the_coverage_threshold_answers_the_share_that_is_asked_for() -> None:
    confidence_B = np.linspace(0.5, 1.0, 101)

    threshold = choose_threshold(confidence_B, np.ones(101, dtype=bool), coverage=0.9, accuracy=None)

    assert (confidence_B >= threshold).mean() == pytest.approx(0.9, abs=0.01)


def test_the_accuracy_threshold_is_the_lowest_that_keeps_the_accuracy() -> None:
    confidence_B = np.linspace(0.0, 1.0, 200)
    correct_B = confidence_B >= 0.5

    threshold = choose_threshold(confidence_B, correct_B, coverage=0.95, accuracy=0.8)

    answered_B = confidence_B >= threshold
    assert correct_B[answered_B].mean() >= 0.8
    assert correct_B[confidence_B >= threshold - 0.01].mean() < 0.8


def test_an_accuracy_out_of_reach_leaves_only_the_surest_answers() -> None:
    confidence_B = np.linspace(0.0, 1.0, 100)

    threshold = choose_threshold(confidence_B, np.zeros(100, dtype=bool), coverage=0.95, accuracy=0.9)

    assert (confidence_B >= threshold).sum() == 1


def test_equal_confidences_are_answered_together_or_not_at_all() -> None:
    confidence_B = np.repeat([0.9, 0.6], 50)
    correct_B = np.concatenate([np.ones(50), np.ones(10), np.zeros(40)]).astype(bool)

    threshold = choose_threshold(confidence_B, correct_B, coverage=0.95, accuracy=0.95)

    assert threshold == 0.9


def test_an_impossible_coverage_is_refused() -> None:
    with pytest.raises(ValidationError):
        Abstain(coverage=0)


def test_texts_unlike_any_class_are_abstained_from(shared_dir: Path) -> None:
    """Real requests that belong to none of the trained intents, as their collectors (Larson et al. 2019) say."""
    rows = json.loads((shared_dir / "data/clinc150/data_full.json").read_text(encoding="utf-8"))
    intents = sorted({intent for _, intent in rows["train"]})[:20]
    train, validation, test = ([row for row in rows[split] if row[1] in intents] for split in ("train", "val", "test"))
    outside = [text for text, _ in rows["oos_test"]]

    texts = [text for text, _ in validation + test] + outside
    known, its_intents = [text for text, _ in train], [intent for _, intent in train]
    probabilities_BC, labels = answer_baseline(known, its_intents, texts, language="en")
    confidence_B = probabilities_BC.max(axis=1)
    of_validation, of_test, of_outside = np.split(confidence_B, [len(validation), len(validation) + len(test)])
    answers = [labels[column] for column in probabilities_BC.argmax(axis=1)]
    correct_B = np.array([answer == intent for answer, (_, intent) in zip(answers, validation, strict=False)])
    threshold = choose_threshold(of_validation, correct_B, coverage=0.95, accuracy=None)

    assert (of_test >= threshold).mean() > 0.9
    assert (of_outside < threshold).mean() > 0.75
