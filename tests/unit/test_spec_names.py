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
    ("blocks", "expected"),
    [
        (
            {"data": {"source": "l.csv", "interactions": {"context": ["weight"]}}},
            "data.interactions.context: 'weight' is",
        ),
        (
            {"data": {"source": "l.csv", "users": {"source": "u.csv", "attributes": ["user"]}}},
            "data.users.attributes: 'us",
        ),
        (
            {"data": {"source": "l.csv"}, "features": {"sets": {"user_profile": PRICES}}},
            "features.sets.user_profile: is",
        ),
        (
            {"data": {"source": "l.csv"}, "features": {"sets": {"launchyard_x": PRICES}}},
            "features.sets.launchyard_x: is",
        ),
    ],
)
def test_names_of_the_recommenders_own_are_refused(tmp_path: Path, blocks: dict[str, Any], expected: str) -> None:
    with pytest.raises(SpecError, match=expected):
        check(tmp_path, RECOMMENDER | blocks)


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
