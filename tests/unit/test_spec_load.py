"""Loading a whole spec: every problem at once, in plain words; the digest; the way there and back."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from launchyard.errors import SpecError
from launchyard.kinds.text_classification.spec import TextClassification
from launchyard.spec.blocks import find_gradient_train
from launchyard.spec.load import dump_spec, load_spec, spec_sha256
from spec_samples import MINIMAL, write_spec, write_text


def problems_of(path: Path, *overrides: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load_spec(path, overrides)
    return str(caught.value).splitlines()


def problem_of(folder: Path, **changes: Any) -> str:
    """Return the only problem of the minimal spec with some blocks replaced, without its file."""
    path = write_spec(folder, **changes)
    problems = problems_of(path)
    assert len(problems) == 1, problems
    return problems[0].removeprefix(f"{path}: ")


def test_a_minimal_spec_becomes_the_class_of_its_kind(tmp_path: Path) -> None:
    spec = load_spec(write_spec(tmp_path))

    assert isinstance(spec, TextClassification)
    assert (spec.data.source, spec.train.epochs, spec.data.label.column) == ("reviews.csv", 3, "label")


def test_all_problems_are_shown_at_once_with_their_place(tmp_path: Path) -> None:
    train = {"learning_rate": -1, "epochs": 0}
    path = write_spec(tmp_path, train=train, product="Reviews!", modle={"base": "x"})

    assert problems_of(path) == [
        f"{path}: product: must be of the form ^[a-z]([-a-z0-9]{{0,38}}[a-z0-9])?$, got 'Reviews!'. "
        "Name: a letter, then letters, digits and '-'; lower case, up to 40 characters.",
        f"{path}: train.epochs: must be at least 1, got 0.",
        f"{path}: train.learning_rate: must be greater than 0, got -1.",
        f"{path}: modle: is not a key of the spec. Did you mean 'model'?",
    ]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"train": {"epochs": "3"}}, "train.epochs: must be a whole number, got '3'. Remove the quotes."),
        ({"train": {"epochs": 2.5}}, "train.epochs: must be a whole number, got 2.5."),
        ({"train": {"epochs": True}}, "train.epochs: must be a whole number, got true."),
        ({"train": {"epochs": None}}, "train.epochs: must be a whole number, got null."),
        ({"train": {"learning_rate": float("inf")}}, "train.learning_rate: must be a finite number, got inf."),
        ({"train": {"learning_rate": 11}}, "train.learning_rate: must be at most 10, got 11."),
        ({"train": {"momentum": 1}}, "train.momentum: must be below 1, got 1."),
        ({"train": {"length_grouped": "no"}}, "train.length_grouped: must be true or false, got 'no'. Write false."),
        ({"train": {"early_stopping": 3}}, "train.early_stopping: must be a mapping of keys, got 3."),
        ({"train": [1]}, "train: must be a mapping of keys, got a list of 1."),
        ({"data": {"source": "a", "redact": "email"}}, "data.redact: must be a list, got 'email'. Write [email]."),
        (
            {"data": {"source": "a", "redact": ["email", "phoen"]}},
            "data.redact[1]: must be 'email', 'phone', 'card' or 'ip', got 'phoen'. Did you mean 'phone'?",
        ),
        (
            {"data": {"source": "a", "label": {"map": {"1": 2}}}},
            "data.label.map.1: must be text, got 2. Put it in quotes.",
        ),
        (
            {"model": {"base": "y" * 99, "max_length": "z" * 99}},
            f"model.max_length: must be a whole number, got '{'z' * 60}…'.",
        ),
        (
            {"evaluate": {"gates": {"accuracy": 0.8}}},
            "evaluate.gates.accuracy: '0.8' is not a rule. Write an operator and a number, such as '>= 0.80'.",
        ),
        ({"api": "launchyard/v2"}, "api: must be 'launchyard/v1', got 'launchyard/v2'. Did you mean 'launchyard/v1'?"),
    ],
)
def test_a_wrong_value_is_told_in_plain_words(tmp_path: Path, changes: dict[str, Any], problem: str) -> None:
    assert problem_of(tmp_path, **changes) == problem


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        (5, "data.source: must be text or a mapping of keys, got 5."),
        ("gopher://x", "data.source: 'gopher://' is not a source. Use a path or one of file://"),
        ({"trian": "a"}, "data.source.trian: is not a key of the spec. Did you mean 'data.source.train'?"),
        ({"train": "a", "tests": "b"}, "data.source.tests: is not a key of the spec. Did you mean 'data.source.test'?"),
        ({"classes": {"good": 3}}, "data.source.classes.good: must be text, got 3. Put it in quotes."),
        ({"train": ["a"]}, "data.source.train: must be text, got a list of 1."),
    ],
)
def test_a_wrong_source_is_told_once_for_the_form_that_was_meant(tmp_path: Path, source: object, problem: str) -> None:
    assert problem_of(tmp_path, data={"source": source}).startswith(problem)


@pytest.mark.parametrize(
    ("candidates", "problem"),
    [
        ({"min": 1}, ".max: is missing. Add it: Largest value."),
        ({"min": 2, "max": 1}, ": min must be below max, got 2 and 1."),
        ({"values": [1]}, ".values: must be of at least 2 entries, got a list of 1."),
        (
            {"values": [[1], 2]},
            ".values[0]: must be true or false or a whole number or a number or text, got a list of 1.",
        ),
        (
            {"minimum": 1, "max": 2},
            ".minimum: is not a key of the spec. Did you mean 'tune.parameters.train.learning_rate.min'?",
        ),
    ],
)
def test_a_wrong_search_range_is_told_once(tmp_path: Path, candidates: object, problem: str) -> None:
    tune = {"trials": 2, "parameters": {"train.learning_rate": candidates}}

    assert problem_of(tmp_path, tune=tune) == f"tune.parameters.train.learning_rate{problem}"


def test_an_unknown_key_names_the_nearest_even_in_another_block(tmp_path: Path) -> None:
    problem = problem_of(tmp_path, learning_rate=1e-4)

    assert problem == "learning_rate: is not a key of the spec. Did you mean 'train.learning_rate'?"


def test_an_unknown_key_without_a_near_one_lists_what_there_is(tmp_path: Path) -> None:
    problem = problem_of(tmp_path, serve={"zzz": 1})

    assert problem.startswith("serve.zzz: is not a key of the spec. Known keys here: max_batch_size, max_body_bytes,")


def test_missing_keys_say_what_they_are_for(tmp_path: Path) -> None:
    path = write_text(tmp_path, "kind: text-classification\n")

    assert (
        problems_of(path)[2] == f"{path}: data: is missing. Add it: Where the rows come from and what they must fulfil."
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("api: launchyard/v1", "kind: is missing. Write one of: "),
        ("kind: 3", "kind: must be text, got 3. Write one of: "),
        (
            "kind: text-clasification",
            "kind: 'text-clasification' is not a product kind. Did you mean 'text-classification'?",
        ),
    ],
)
def test_a_wrong_kind_names_the_known_ones(tmp_path: Path, text: str, problem: str) -> None:
    path = write_text(tmp_path, text)

    (found,) = problems_of(path)
    assert found.startswith(f"{path}: {problem}")
    assert "text-classification" in found


def test_counts_and_fractions_do_not_mix(tmp_path: Path) -> None:
    split = {"train": 2000, "validation": 0.1, "test": 500}

    assert problem_of(tmp_path, data={"source": "a", "split": split}) == (
        "data.split: train, validation and test must all be counts or all be fractions, got 2000, 0.1, 500."
    )


def test_a_size_that_is_neither_count_nor_fraction_says_both(tmp_path: Path) -> None:
    split = {"train": 2000.5, "validation": 500, "test": 500}

    assert problem_of(tmp_path, data={"source": "a", "split": split}) == (
        "data.split.train: must be below 1 or a whole number, got 2000.5."
    )


FULL: dict[str, Any] = MINIMAL | {
    "data": {
        "source": {"train": "a.csv", "test": "测试.csv"},
        "label": {"column": "stars", "bins": {"bad": [None, 3], "good": [3, None]}},
        "redact": ["email"],
    },
    "train": {"learning_rate": 1e-5, "early_stopping": None, "class_weights": {"bad": 2.0, "good": 1.0}},
    "tune": {"trials": 4, "parameters": {"train.learning_rate": {"min": 1e-5, "max": 1e-3, "log": True}}},
    "evaluate": {"gates": {"accuracy": ">= 0.8", "f1[bad]": "> 0.5"}, "slices": ["country"]},
}


def test_a_dumped_spec_loads_as_the_same_spec(tmp_path: Path) -> None:
    spec = load_spec(write_spec(tmp_path, **FULL))
    dumped = tmp_path / "content-addressed-without-suffix"
    dumped.write_text(dump_spec(spec), encoding="utf-8")

    again = load_spec(dumped)

    assert again == spec
    assert spec_sha256(again) == spec_sha256(spec)
    assert dump_spec(again) == dump_spec(spec)


def shuffled(value: Any, source: random.Random) -> Any:
    """Return the value with the keys of every mapping in another order."""
    if isinstance(value, list):
        return [shuffled(item, source) for item in value]
    if not isinstance(value, dict):
        return value
    keys = list(value)
    source.shuffle(keys)
    return {key: shuffled(value[key], source) for key in keys}


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32), flow=st.booleans(), indent=st.integers(2, 9), spelled_out=st.booleans())
def test_the_digest_depends_on_the_meaning_alone(
    tmp_path_factory: pytest.TempPathFactory, seed: int, flow: bool, indent: int, spelled_out: bool
) -> None:
    folder = tmp_path_factory.mktemp("digest")
    plain = load_spec(write_spec(folder, **FULL))
    document = json.loads(dump_spec(plain)) if spelled_out else FULL
    text = yaml.safe_dump(
        shuffled(document, random.Random(seed)),
        default_flow_style=flow,
        indent=indent,
        sort_keys=False,
        allow_unicode=True,
    )
    text = text if flow else f"# a comment\n{text}"

    assert spec_sha256(load_spec(write_text(folder, text))) == spec_sha256(plain)


@pytest.mark.parametrize(
    "override",
    ["train.epochs=4", "product=other", "data.redact=[phone]", "evaluate.gates.accuracy='>= 0.81'", "tune=null"],
)
def test_the_digest_changes_with_the_meaning(tmp_path: Path, override: str) -> None:
    path = write_spec(tmp_path, **FULL)

    assert spec_sha256(load_spec(path, [override])) != spec_sha256(load_spec(path))


def test_spec_classes_are_frozen(tmp_path: Path) -> None:
    train = find_gradient_train(load_spec(write_spec(tmp_path)))

    assert train is not None
    with pytest.raises(ValueError, match="frozen"):
        train.epochs = 5  # type: ignore[misc]
