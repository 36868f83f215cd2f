"""The self-test of a bundle: the model answers here what it answered where it was measured."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, RootModel

from launchyard.bundle.manifest import parse_file
from launchyard.contract.evaluation import CompareFunction
from launchyard.contract.predictor import Predictor
from launchyard.errors import BundleError, RequestError
from launchyard.prediction.media import spell_media
from launchyard.stored import Stored

EXAMPLES_NAME = "examples.json"


class Example(Stored):
    """One row of ``examples.json``."""

    input: Any = Field(description="A raw request input, redacted.")
    expected: dict[str, Any] = Field(description="What the predictor answered when the bundle was made.")
    tolerance: float = Field(ge=0, description="Largest absolute difference of any number in the answer.")


class Examples(RootModel[tuple[Example, ...]]):
    """The content of ``examples.json``: at least one example, or there is no test."""

    root: tuple[Example, ...] = Field(min_length=1)


def self_test(predictor: Predictor, folder: Path, compare: CompareFunction) -> None:
    """Check that ``predictor`` answers the examples of the bundle in ``folder`` as it did when that was made.

    ``compare`` is the kind's: it says where two answers differ.

    Raises:
        BundleError: an answer differs; the message names the example and the difference.
    """
    path = folder / EXAMPLES_NAME
    examples = parse_file(folder, EXAMPLES_NAME, Examples).root
    try:
        outputs = predictor.predict([predictor.parse(example.input) for example in examples])
    except RequestError as err:
        raise BundleError(f"{path}: the model refuses an example: {err} Make the bundle again.") from err
    for number, (example, output) in enumerate(zip(examples, outputs, strict=True)):
        difference = compare(example.expected, spell_media(output), example.tolerance)
        if difference is not None:
            raise BundleError(
                f"{path}: self-test failed: example {number}: {difference}. "
                "This machine computes other answers than those that were measured; make the bundle again."
            )


def find_difference(expected: Any, actual: Any, tolerance: float, where: str = "answer") -> str | None:
    """Return in words where two JSON values differ, numbers by more than ``tolerance``, or None.

    What a kind's self-test compares by, unless it names another function.

    >>> find_difference({"p": 0.5}, {"p": 0.7}, 0.1)
    'answer.p is 0.7, expected 0.5 within 0.1'
    """
    if _are_numbers(expected, actual):
        if math.isclose(expected, actual, rel_tol=0, abs_tol=tolerance):
            return None
        return f"{where} is {actual:g}, expected {expected:g} within {tolerance:g}"
    if isinstance(expected, Mapping) and isinstance(actual, Mapping) and expected.keys() == actual.keys():
        parts = [(f"{where}.{key}", expected[key], actual[key]) for key in expected]
    elif _are_lists(expected, actual) and len(expected) == len(actual):
        parts = [(f"{where}[{index}]", expected[index], actual[index]) for index in range(len(expected))]
    else:
        return None if expected == actual else f"{where} is {actual!r}, expected {expected!r}"
    differences = (find_difference(left, right, tolerance, path) for path, left, right in parts)
    return next((difference for difference in differences if difference), None)


def _are_numbers(*values: Any) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _are_lists(*values: Any) -> bool:
    return all(isinstance(value, list | tuple) for value in values)
