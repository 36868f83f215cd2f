"""What a trial means for the spec, and which trial wins."""

from __future__ import annotations

import re

import pytest

from launchyard.errors import SpecError, TrainError
from launchyard.evaluation import TrialResult
from launchyard.kinds.text_classification import TextClassification
from launchyard.search import apply_trial, choose_best, make_record, takes_integers
from launchyard.spec.blocks import Product

DOCUMENT = {
    "api": "launchyard/v1",
    "product": "reviews",
    "kind": "text-classification",
    "data": {"source": "rows.csv"},
    "model": {"base": "model"},
    "tune": {"trials": 3, "parameters": {"train.learning_rate": {"min": 1e-5, "max": 1e-3, "log": True}}},
}


@pytest.fixture
def spec() -> Product:
    return TextClassification.model_validate(DOCUMENT)


def trial(number: int, metric: float | None, status: str = "completed") -> TrialResult:
    parameters = {"train.learning_rate": number / 1e5}
    return TrialResult(number=number, parameters=parameters, metric=metric, epochs=1, status=status, seconds=1)


def test_a_trial_replaces_its_keys_and_drops_the_search(spec: Product) -> None:
    changed = apply_trial(spec, {"train.learning_rate": 3e-4, "model.dropout": 0.2})

    assert (changed.train.learning_rate, changed.model.model_dump()["dropout"], changed.tune) == (3e-4, 0.2, None)


@pytest.mark.parametrize(
    ("parameters", "problem"),
    [
        ({"train.epochs": -1}, "train.epochs: must be at least 1, got -1"),
        ({"train.epochs": 1.5}, "train.epochs: must be a whole number, got 1.5"),
        ({"train.learning_rate": "fast"}, "train.learning_rate: must be a number, got 'fast'"),
        ({"model.max_length": "many"}, "model.max_length: must be a whole number, got 'many'"),
        ({"train.length_grouped": 7}, "train.length_grouped: must be true or false, got 7"),
        ({"train.nonsense": 1}, "train.nonsense: "),
    ],
)
def test_a_trial_that_does_not_fit_is_refused_in_the_words_of_the_spec(
    spec: Product, parameters: dict[str, int | float | str], problem: str
) -> None:
    with pytest.raises(SpecError, match=rf"trial does not fit the spec: {re.escape(problem)}"):
        apply_trial(spec, parameters)


@pytest.mark.parametrize(
    ("key", "expected"),
    [("train.epochs", True), ("train.max_steps", True), ("train.learning_rate", False), ("train.optimizer", False)],
)
def test_whole_number_keys_are_known(spec: Product, key: str, expected: bool) -> None:
    assert takes_integers(spec, key) is expected


def test_a_completed_trial_wins_over_a_better_one_that_was_stopped(spec: Product) -> None:
    assert spec.tune is not None
    trials = [trial(1, 0.95, "stopped"), trial(2, 0.8), trial(3, 0.9), trial(4, None, "failed")]

    record = make_record(spec.tune, trials)

    assert (record.best, record.best_metric, len(record.trials)) == ({"train.learning_rate": 3 / 1e5}, 0.9, 4)


def test_less_is_better_when_the_spec_says_so(spec: Product) -> None:
    assert spec.tune is not None
    tune = spec.tune.model_copy(update={"mode": "min"})

    assert choose_best(tune, [trial(1, 0.4), trial(2, 0.3), trial(3, 0.5)]).number == 2


def test_a_search_without_a_measured_trial_says_what_to_do(spec: Product) -> None:
    assert spec.tune is not None

    with pytest.raises(TrainError, match="Widen the budget"):
        choose_best(spec.tune, [trial(1, None, "failed")])
