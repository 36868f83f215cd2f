from __future__ import annotations

import json
from pathlib import Path

import pytest

from launchyard.kinds.recommendation.data.catalogue import read_catalogue
from launchyard.kinds.recommendation.spec import Items
from launchyard.settings import Settings
from launchyard.sources.resolve import fetch


@pytest.mark.parametrize("categories", [["war", " love story ", ""], "war|love story"])
def test_categories_are_a_list_or_a_text_with_separators(tmp_path: Path, categories: object) -> None:
    (tmp_path / "items.jsonl").write_text(json.dumps({"item": "1", "tags": categories}) + "\n")
    fetched = fetch("items.jsonl", Settings(home=tmp_path / "home"), base_dir=tmp_path)

    catalogue = read_catalogue(fetched, Items(source="items.jsonl", id="item", categories="tags", separator="|"))

    assert catalogue.categories == [["war", "love story"]]
