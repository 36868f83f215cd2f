"""Names that a kind keeps for itself are refused before anything is run; names that only look odd work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from launchyard.errors import SpecError
from launchyard.spec.load import load_spec

PRICES = {"entity": "item", "source": "p.csv", "key": "sku", "timestamp": "at", "columns": {"p": {"column": "price"}}}
RECOMMENDER = {"kind": "recommendation", "model": {"architecture": "ease"}}
CLASSIFIER = {"kind": "text-classification", "model": {"base": "b"}}


def check(folder: Path, blocks: dict[str, Any]) -> None:
    spec = {"api": "launchyard/v1", "product": "p", **blocks}
    (folder / "product.yaml").write_text(yaml.safe_dump(spec))
    load_spec(folder / "product.yaml")


@pytest.mark.parametrize(
    ("data", "sets", "expected"),
    [
        ({"interactions": {"context": ["weight"]}}, {}, r"data\.interactions\.context: 'weight' is"),
        ({"users": {"source": "u.csv", "attributes": ["user"]}}, {}, r"data\.users\.attributes: 'user' is"),
        ({}, {"user_profile": PRICES}, r"features\.sets\.user_profile: is"),
        ({}, {"launchyard_x": PRICES}, r"features\.sets\.launchyard_x: is"),
    ],
)
def test_names_of_the_recommenders_own_are_refused(
    tmp_path: Path, data: dict[str, Any], sets: dict[str, Any], expected: str
) -> None:
    with pytest.raises(SpecError, match=expected):
        check(tmp_path, RECOMMENDER | {"data": {"source": "l.csv", **data}, "features": {"sets": sets}})


@pytest.mark.parametrize(
    ("blocks", "expected"),
    [
        ({"data": {"source": "r.csv"}, "evaluate": {"slices": ["label"]}}, "evaluate.slices: 'label' is"),
        ({"data": {"source": "r.csv", "split": {"group": "text"}}}, "data.split.group: 'text' is"),
        ({"data": {"source": "r.csv", "split": {"time": "row_id"}}}, "data.split.time: 'row_id' is"),
    ],
)
def test_columns_that_every_text_has_are_refused(tmp_path: Path, blocks: dict[str, Any], expected: str) -> None:
    with pytest.raises(SpecError, match=expected):
        check(tmp_path, CLASSIFIER | blocks)
