"""Every guard rail that the documents promise has a test, and the test that is named exists."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def read_rails() -> list[tuple[str, str]]:
    """Return each mistake of the tables with the cell that names its tests."""
    lines = (ROOT / "docs" / "guard-rails.md").read_text(encoding="utf-8").splitlines()
    rows = [line.strip("|").split(" | ") for line in lines if line.startswith("| ")]
    return [(cells[0].strip(), cells[-1]) for cells in rows if cells[0].strip() != "mistake"]


@cache
def list_tests(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize(("mistake", "tests"), read_rails(), ids=[mistake for mistake, _ in read_rails()])
def test_the_test_of_a_guard_rail_exists(mistake: str, tests: str) -> None:
    named = NAMED.findall(tests)

    assert named, f"'{mistake}' names no test"
    assert [f"{path}::{name}" for path, name in named if name not in list_tests(path)] == []


def test_no_mistake_is_listed_without_being_read() -> None:
    text = (ROOT / "docs" / "guard-rails.md").read_text(encoding="utf-8")

    assert len(read_rails()) == len(re.findall(r"^\| .*::test_", text, re.MULTILINE))
