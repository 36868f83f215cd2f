"""The examples in docstrings do what they show."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROMPT = ">>>"
PACKAGES = ("platform/launchyard", "pipelines/launchyard_pipelines", "serving/launchyard_serving")


def list_modules() -> list[str]:
    """Return every module of the three packages whose text holds an example."""
    return [
        ".".join(path.relative_to((ROOT / package).parent).with_suffix("").parts).removesuffix(".__init__")
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        if PROMPT in path.read_text(encoding="utf-8")
    ]


@pytest.mark.parametrize("name", list_modules())
def test_the_examples_of_a_docstring_are_right(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))

    assert result.failed == 0, "the output above shows what the example gives now"
    assert result.attempted > 0, f"{name} holds {PROMPT} where no doctest is found: put it into a docstring"
