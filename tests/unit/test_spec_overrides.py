"""``--set KEY=VALUE``: typed by YAML, checked like the file, and named in errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launchyard.errors import SpecError
from launchyard.kinds.text_classification.spec import TextClassification
from launchyard.spec.keys import split_path
from launchyard.spec.load import load_spec
from launchyard.spec.overrides import apply_override, parse_override
from spec_samples import write_spec


def problems_of(path: Path, *overrides: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load_spec(path, overrides)
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("k=1", 1),
        ("k=1e-4", 1e-4),
        ("k= true ", True),
        ("k=no", "no"),
        ("k=", None),
        ("k='1'", "1"),
        ("k=[a, 2]", ["a", 2]),
        ("k={a: {b: 1}}", {"a": {"b": 1}}),
        ("k=>= 0.8", ">= 0.8"),
        ("k=a=b", "a=b"),
        ("k=pypi://a==1/b", "pypi://a==1/b"),
    ],
)
def test_values_are_typed_by_yaml(text: str, value: object) -> None:
    parsed = parse_override(text)

    assert (parsed.key, parsed.value, type(parsed.value)) == ("k", value, type(value))


TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=0xFFF, exclude_categories=["Cc"]))
NUMBERS = st.integers(-(10**17), 10**17) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)


@given(value=JSON)
def test_any_json_value_arrives_as_it_was_given(value: object) -> None:
    text = json.dumps(value, ensure_ascii=False)

    assert parse_override(f"train.epochs={text}").value == value


@given(value=JSON, path=st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=4))
def test_an_override_changes_its_key_and_nothing_else(value: object, path: list[str]) -> None:
    document: dict[str, Any] = {"x": {"a": 1}, "y": [1]}
    before = json.dumps(document)

    changed = apply_override(document, parse_override(f"{'.'.join(path)}={json.dumps(value)}"), TextClassification)

    assert json.dumps(document) == before
    assert {key: changed[key] for key in ("x", "y")} == document
    node: Any = changed
    for part in path:
        node = node[part]
    assert node == value


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("train.epochs", ("train", "epochs")),
        ("data.label.bins.good", ("data", "label", "bins", "good")),
        ("evaluate.gates.f1[so-so v1.2]", ("evaluate", "gates", "f1[so-so v1.2]")),
        ("tune.parameters.train.learning_rate", ("tune", "parameters", "train.learning_rate")),
        ("tune.parameters.train.learning_rate.min", ("tune", "parameters", "train.learning_rate", "min")),
        ("data.source.classes.good", ("data", "source", "classes", "good")),
        ("trian.epochs", ("trian", "epochs")),
    ],
)
def test_dots_inside_a_key_that_the_user_chose_belong_to_it(text: str, path: tuple[str, ...]) -> None:
    assert split_path(TextClassification, text) == path


def test_overrides_are_applied_in_order_and_over_the_file(tmp_path: Path) -> None:
    path = write_spec(tmp_path, train={"epochs": 9, "batch_size": 16})

    spec = load_spec(path, ["train.epochs=5", "train.epochs=1", "model.lora.rank=4", "evaluate.gates.accuracy=>= 0.9"])

    assert isinstance(spec, TextClassification)
    assert (spec.train.epochs, spec.train.batch_size) == (1, 16)
    assert spec.model.model_dump()["lora"]["rank"] == 4
    assert spec.evaluate.gates == {"accuracy": ">= 0.9"}


def test_a_block_that_is_null_in_the_file_is_made(tmp_path: Path) -> None:
    path = write_spec(tmp_path, evaluate={"beat_baseline": None})

    spec = load_spec(path, ["evaluate.beat_baseline.tolerance=0.1"])

    assert spec.evaluate.beat_baseline is not None
    assert spec.evaluate.beat_baseline.tolerance == 0.1


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("train.epochs=-1", "--set train.epochs=-1: must be at least 1, got -1."),
        ("train={epochs: -1}", "--set train={epochs: -1}: train.epochs: must be at least 1, got -1."),
        ("trian.epochs=1", "--set trian.epochs=1: is not a key of the spec. Did you mean 'train.epochs'?"),
        ("train.epoch=1", "--set train.epoch=1: is not a key of the spec. Did you mean 'train.epochs'?"),
        ("epochs=1", "--set epochs=1: is not a key of the spec. Did you mean 'train.epochs'?"),
        ("train.epochs", "--set train.epochs: has no value. Write KEY=VALUE, such as --set train.epochs=1"),
        ("=1", "--set =1: '' is not a key. Write KEY=VALUE, such as --set train.epochs=1"),
        ("train..epochs=1", "--set train..epochs=1: 'train..epochs' is not a key."),
        ("train.epochs=[1", "--set train.epochs=[1: line 1, column 3: expected ',' or ']'"),
        (
            "data.source.train=x.csv",
            "--set data.source.train=x.csv: 'data.source' is 'reviews.csv', which has no keys. "
            "Set 'data.source' as a whole.",
        ),
        ("kind=text", "--set kind=text: kind: 'text' is not a product kind."),
        (
            "evaluate.gates.acuracy=> 0",
            "--set evaluate.gates.acuracy=> 0: 'acuracy' is not a metric of text-classification.",
        ),
    ],
)
def test_a_wrong_override_is_the_place_of_the_error(tmp_path: Path, override: str, problem: str) -> None:
    (found,) = problems_of(write_spec(tmp_path), override)

    assert found.startswith(problem)


def test_an_override_that_breaks_its_block_is_named_beside_the_file(tmp_path: Path) -> None:
    path = write_spec(tmp_path)

    assert problems_of(path, "data.split.train=0.95") == [
        f"{path} with --set data.split.train=0.95: data.split: the fractions add up to 1.15, more than 1. "
        "Lower one of them."
    ]


def test_all_wrong_overrides_are_shown_at_once(tmp_path: Path) -> None:
    assert len(problems_of(write_spec(tmp_path), "a", "b", "=1")) == 3
    assert len(problems_of(write_spec(tmp_path), "data.source.train=1", "data.source.test=1")) == 2


def test_the_file_is_still_to_blame_for_its_own_mistakes(tmp_path: Path) -> None:
    path = write_spec(tmp_path, train={"epochs": 0, "batch_size": 0})

    assert problems_of(path, "train.epochs=1") == [f"{path}: train.batch_size: must be at least 1, got 0."]
