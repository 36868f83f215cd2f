"""Inputs of strangers on which preparation failed or was silently wrong: ``cases/`` of the shared folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from launchyard.data.manifest import SPLITS, DatasetManifest
from launchyard.data.prepare import prepare_dataset
from launchyard.errors import LaunchyardError
from launchyard.settings import Settings
from launchyard.spec.load import load_spec
from launchyard_pipelines.snapshot import resolve_paths

pytestmark = pytest.mark.integration

SENTIMENT = ("negative", "positive")
READ = {
    "csv-semicolon": (60, SENTIMENT),
    "csv-sep-line": (60, SENTIMENT),
    "gz-padded": (60, SENTIMENT),
    "hidden-ipynb-checkpoints": (60, SENTIMENT),
    "jsonl-lone-surrogate": (60, SENTIMENT),
    "label-map-booleans": (60, ("bad", "good")),
    "labels-decimal-parquet": (60, ("0", "1")),
    "labels-url": (120, ("https://help.example/login", "https://help.example/refund")),
    "parquet-folder-categorical": (60, SENTIMENT),
    "path-sqlite-relative": (60, SENTIMENT),
    "texts-without-words": (160, ("glad", "sad")),
    "tsv-stray-quotes": (60, SENTIMENT),
}
"""Case -> how many rows are prepared, and their labels."""
REFUSED = {
    "jsonl-duplicate-key": "line 1: the key 'text' stands twice in one object",
    "no-header": r"no column 'text': the first line of news\.tsv reads like a row .* #header=",
    "parquet-duplicate-column": "names column 'label' twice",
}
"""Case -> what the error says."""
USERS = {
    "ids-decimal-parquet": 30,
    "ids-float-csv": 40,
    "ids-hash64-jsonl": 40,
    "ids-nfd-nfc": 30,
    "ids-uuid-parquet": 30,
    "timestamps-yyyymmdd": 30,
}
"""Case -> how many different users its log has."""


def prepare_case(shared_dir: Path, tmp_path: Path, name: str) -> DatasetManifest:
    folder = shared_dir / "cases" / name
    spec = resolve_paths(load_spec(folder / "product.yaml"), folder)
    # Nothing may depend on the working folder of a step.
    return prepare_dataset(spec, Settings(home=tmp_path / "home"), base_dir=tmp_path, output_dir=tmp_path / "out")


@pytest.mark.parametrize("name", READ)
def test_every_row_is_read_with_its_label(shared_dir: Path, tmp_path: Path, name: str) -> None:
    manifest = prepare_case(shared_dir, tmp_path, name)

    labels = {
        label for split in SPLITS for label in pc.unique(pq.read_table(tmp_path / "out" / f"{split}.parquet")["label"])
    }
    assert (sum(manifest.num_rows.values()), tuple(sorted(label.as_py() for label in labels))) == READ[name]


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_refused_in_words(shared_dir: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(LaunchyardError, match=REFUSED[name]):
        prepare_case(shared_dir, tmp_path, name)


@pytest.mark.parametrize("name", USERS)
def test_each_user_is_one_user(shared_dir: Path, tmp_path: Path, name: str) -> None:
    manifest = prepare_case(shared_dir, tmp_path, name)

    # Each user has one event in the test split, and one before it in the validation split.
    assert (manifest.num_rows["validation"], manifest.num_rows["test"]) == (USERS[name],) * 2


def test_days_without_separators_are_days(shared_dir: Path, tmp_path: Path) -> None:
    manifest = prepare_case(shared_dir, tmp_path, "timestamps-yyyymmdd")

    assert any("the newest event is of 2023-11-22" in warning for warning in manifest.warnings)


def test_labels_that_end_in_what_nobody_sees_are_named(shared_dir: Path, tmp_path: Path) -> None:
    manifest = prepare_case(shared_dir, tmp_path, "labels-zero-width")

    assert any(r"'positive' (15 rows) and 'positive\u200b' (15 rows)" in warning for warning in manifest.warnings)


def test_a_file_in_the_users_folder_is_found(shared_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(shared_dir / "cases" / "path-tilde" / "bugs-reviews.csv", tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))

    assert sum(prepare_case(shared_dir, tmp_path, "path-tilde").num_rows.values()) == 60
