"""What is generated from the spec classes: complete, valid, and not stale."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from launchyard.cli.reference import REFERENCE_NAME as COMMANDS_NAME
from launchyard.cli.reference import render_commands
from launchyard.kind import Kind
from launchyard.kinds import iter_built_in_kinds
from launchyard.spec.document import read_document
from launchyard.spec.keys import ANY, iter_keys
from launchyard.spec.load import load_spec
from launchyard.spec.reference import (
    REFERENCE_NAME,
    SCHEMA_NAME,
    build_json_schema,
    render_json_schema,
    render_reference,
)
from spec_samples import MINIMAL

ROOT = Path(__file__).resolve().parents[2]
KINDS = iter_built_in_kinds()


@pytest.mark.parametrize(
    ("name", "render"),
    [
        (REFERENCE_NAME, render_reference),
        (SCHEMA_NAME, lambda: render_json_schema(KINDS)),
        (COMMANDS_NAME, render_commands),
    ],
)
def test_the_committed_reference_is_not_stale(name: str, render: Callable[[], str]) -> None:
    committed = (ROOT / "docs" / name).read_text(encoding="utf-8")

    assert committed == render(), (
        f"docs/{name} is not what the code says. Users' files and scripts depend on it: if the change is meant, "
        "run `make docs`, read the difference, and tell users in CHANGELOG.md."
    )


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_key_is_in_the_reference_and_says_what_it_does(kind: Kind) -> None:
    reference = render_reference()

    for key in iter_keys(kind.spec):
        assert key.description.endswith("."), key.path
        assert f"| `{'.'.join('<name>' if part == ANY else part for part in key.path)}` |" in reference


def errors_of(document: dict[str, Any]) -> list[str]:
    return [error.message for error in Draft202012Validator(build_json_schema(KINDS)).iter_errors(document)]


def test_the_schema_is_a_valid_schema() -> None:
    Draft202012Validator.check_schema(build_json_schema(KINDS))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_the_schema_accepts_the_example_of_every_kind(kind: Kind) -> None:
    assert errors_of(read_document(kind.folder / "example.yaml")) == []


@pytest.mark.parametrize("path", sorted(ROOT.glob("examples/*/product.yaml")), ids=lambda path: path.parent.name)
def test_the_demo_products_are_right_and_fit_the_schema_they_name(path: Path) -> None:
    first, *_ = path.read_text(encoding="utf-8").splitlines()
    schema = path.parent / first.removeprefix("# yaml-language-server: $schema=")

    assert schema.resolve() == ROOT / "docs" / SCHEMA_NAME
    assert errors_of(read_document(path)) == []
    assert load_spec(path).product == path.parent.name


@pytest.mark.parametrize(
    "change",
    [
        {"train": {"epoch": 1}},
        {"train": {"epochs": "1"}},
        {"kind": "text-clasification"},
        {"serve": {"replicas": {"min": 0}}},
        {"data": {}},
    ],
)
def test_the_schema_refuses_what_loading_refuses(change: dict[str, Any]) -> None:
    assert errors_of(MINIMAL) == []
    assert errors_of(MINIMAL | change) != []
