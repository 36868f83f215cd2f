from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import pytest
from pydantic import BaseModel

from launchyard.bundle.self_test import EXAMPLES_NAME, find_difference, self_test
from launchyard.contract.predictor import Output
from launchyard.contract.rows import Row
from launchyard.errors import BundleError, RequestError


class Text(BaseModel):
    text: str


class LengthPredictor:
    """Answers with a text's length; ``drift`` is added, as another machine's arithmetic would."""

    input_schema: type[BaseModel] = Text
    output_schema: type[BaseModel] = Text

    def __init__(self, drift: float = 0.0) -> None:
        self.drift = drift

    @classmethod
    def load(cls, bundle_dir: Path, *, threads: int) -> Self:
        return cls()

    def parse(self, raw: object) -> Row:
        text = raw.get("text") if isinstance(raw, dict) else None
        if not text:
            raise RequestError("text: must not be empty. Send some text.")
        return {"text": text}

    def predict(self, rows: Sequence[Row]) -> list[Output]:
        return [{"label": "long", "scores": {"long": len(row["text"]) + self.drift}} for row in rows]

    def explain(self, rows: Sequence[Row]) -> list[Output]:
        return self.predict(rows)

    def describe(self, row: Row) -> dict[str, float | str]:
        return {}


def write_examples(folder: Path, *texts: str) -> None:
    examples = [
        {"input": {"text": text}, "expected": {"label": "long", "scores": {"long": len(text)}}, "tolerance": 0.01}
        for text in texts
    ]
    (folder / EXAMPLES_NAME).write_text(json.dumps(examples))


def test_answers_within_the_tolerance_pass(tmp_path: Path) -> None:
    write_examples(tmp_path, "one", "three")

    self_test(LengthPredictor(drift=0.009), tmp_path, find_difference)


def test_a_wrong_answer_names_the_example_and_the_difference(tmp_path: Path) -> None:
    write_examples(tmp_path, "one", "three")

    with pytest.raises(BundleError, match=r"example 0: answer\.scores\.long is 3\.02, expected 3 within 0\.01"):
        self_test(LengthPredictor(drift=0.02), tmp_path, find_difference)


def test_an_example_that_the_model_refuses_fails_the_test(tmp_path: Path) -> None:
    write_examples(tmp_path, "one", "")

    with pytest.raises(BundleError, match="the model refuses an example: text: must not be empty"):
        self_test(LengthPredictor(), tmp_path, find_difference)


def test_no_examples_are_no_test(tmp_path: Path) -> None:
    write_examples(tmp_path)

    with pytest.raises(BundleError, match="at least 1 item"):
        self_test(LengthPredictor(), tmp_path, find_difference)


def test_missing_examples_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"examples\.json is missing"):
        self_test(LengthPredictor(), tmp_path, find_difference)


@pytest.mark.parametrize(
    ("expected", "actual", "difference"),
    [
        ({"a": 1}, {"a": 1.05}, None),
        ([1, 2], [1, 2.5], "answer[1] is 2.5, expected 2 within 0.1"),
        ([1, 2], [1], "answer is [1], expected [1, 2]"),
        ({"a": 1}, {"a": 1, "b": 2}, "answer is {'a': 1, 'b': 2}, expected {'a': 1}"),
        ("x", "y", "answer is 'y', expected 'x'"),
        (True, 1.05, "answer is 1.05, expected True"),
        (0.5, float("nan"), "answer is nan, expected 0.5 within 0.1"),
        (None, None, None),
    ],
)
def test_differences_are_found_wherever_they_are(expected: Any, actual: Any, difference: str | None) -> None:
    assert find_difference(expected, actual, 0.1) == difference
