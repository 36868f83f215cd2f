"""What a trial means for the spec, and which trial wins."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from launchyard.errors import SpecError, TrainError
from launchyard.evaluation.results import TrialResult
from launchyard.kinds.text_classification.spec import TextClassification
from launchyard.spec.uris import locate_uris, map_uris
from launchyard.training.search import (
    apply_best,
    apply_trial,
    choose_best,
    count_longest_epochs,
    find_better,
    list_bases,
    make_record,
    takes_integers,
)

DOCUMENT = {
    "api": "launchyard/v1",
    "product": "reviews",
    "kind": "text-classification",
    "data": {"source": "rows.csv"},
    "model": {"base": "model"},
    "tune": {"trials": 3, "parameters": {"train.learning_rate": {"min": 1e-5, "max": 1e-3, "log": True}}},
}


@pytest.fixture
def spec() -> TextClassification:
    return TextClassification.model_validate(DOCUMENT)


def trial(number: int, metric: float | None, status: str = "completed") -> TrialResult:
    parameters = {"train.learning_rate": number / 1e5}
    return TrialResult(number=number, parameters=parameters, metric=metric, epochs=1, status=status, seconds=1)


def test_a_trial_replaces_its_keys_and_drops_the_search(spec: TextClassification) -> None:
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
    spec: TextClassification, parameters: dict[str, int | float | str], problem: str
) -> None:
    with pytest.raises(SpecError, match=rf"trial does not fit the spec: {re.escape(problem)}"):
        apply_trial(spec, parameters)


@pytest.mark.parametrize(
    ("key", "expected"),
    [("train.epochs", True), ("train.max_steps", True), ("train.learning_rate", False), ("train.optimizer", False)],
)
def test_whole_number_keys_are_known(spec: TextClassification, key: str, expected: bool) -> None:
    assert takes_integers(spec, key) is expected


def test_the_bases_of_all_trials_are_fetched_and_absolute(spec: TextClassification) -> None:
    tune = {"trials": 2, "parameters": {"model.base": {"values": ["one", "file:///other/two"]}}}
    searched = TextClassification.model_validate(DOCUMENT | {"tune": tune})

    moved = map_uris(searched, lambda uri: f"{uri}-moved")

    assert list_bases(searched) == ["model", "one", "file:///other/two"]
    assert list_bases(moved) == ["model-moved", "one-moved", "file:///other/two-moved"]
    assert [path for path, _ in locate_uris(searched)][-1] == ("tune", "parameters", "model.base")
    assert list_bases(spec) == ["model"]


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"train.epochs": {"values": [2, 9, 5]}}, 9),
        ({"train.epochs": {"min": 1, "max": 7}}, 7),
        ({"train.learning_rate": {"min": 1e-5, "max": 1e-3}}, 3),
    ],
)
def test_a_trial_may_take_all_the_epochs_that_it_was_given(parameters: dict[str, Any], expected: int) -> None:
    tune = {"trials": 2, "parameters": parameters}

    assert count_longest_epochs(TextClassification.model_validate(DOCUMENT | {"tune": tune})) == expected


def test_what_was_trained_is_the_spec_with_the_values_of_the_winner(spec: TextClassification, tmp_path: Path) -> None:
    record = make_record("accuracy", "max", [trial(1, 0.8), trial(2, 0.9)])
    (tmp_path / "tune.json").write_text(record.model_dump_json())

    trained = apply_best(spec, tmp_path / "tune.json")

    assert (trained.train.learning_rate, trained.tune) == (2 / 1e5, None)
    assert apply_best(spec, tmp_path / "absent.json") == spec


def test_a_completed_trial_wins_over_a_better_one_that_was_stopped() -> None:
    trials = [trial(1, 0.95, "stopped"), trial(2, 0.8), trial(3, 0.9), trial(4, None, "failed")]

    record = make_record("accuracy", "max", trials)

    assert (record.best, record.best_metric, len(record.trials)) == ({"train.learning_rate": 3 / 1e5}, 0.9, 4)


def test_less_is_better_where_the_kind_says_so() -> None:
    better = find_better("text-classification", "log_loss")

    assert choose_best([trial(1, 0.4), trial(2, 0.3), trial(3, 0.5)], better).number == 2
    with pytest.raises(TrainError, match="declares no metric 'loss', by which it trains"):
        find_better("text-classification", "loss")


def test_a_search_without_a_measured_trial_says_what_to_do() -> None:
    with pytest.raises(TrainError, match="Widen the budget"):
        choose_best([trial(1, None, "failed")], "max")
