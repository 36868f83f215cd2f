"""Rows about people: a pseudonym from the first file on, found and forgotten by the own id, whatever the kind is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from launchyard.data.manifest import DatasetManifest
from launchyard.data.prepare import prepare_dataset
from launchyard.evaluation.training_rows import TrainingRows
from launchyard.kinds.text_classification.spec import TextClassification
from launchyard.privacy.forget import find_user, forget_user
from launchyard.privacy.pseudonyms import pseudonymise
from launchyard.records.records import opening_records
from launchyard.settings import Settings
from launchyard_pipelines.reuse import describe_events

PRODUCT = "reviews"
ANN, BOB = "7", "b@example.org"


def make_spec(slices: tuple[str, ...] = (), **data: Any) -> TextClassification:
    return TextClassification.model_validate(
        {
            "api": "launchyard/v1",
            "product": PRODUCT,
            "kind": "text-classification",
            "data": {"source": "rows.jsonl", "subject": "customer", **data},
            "model": {"base": "unused"},
            "evaluate": {"slices": slices},
        }
    )


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A home beside 90 rows, 30 of Ann, 30 of Bob and 30 of nobody."""
    lines = [
        {"text": f"word{row} is {row * row}", "label": "ab"[row // 3 % 2], "customer": ["7.0", BOB, None][row % 3]}
        for row in range(90)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return Settings(home=tmp_path / "home")


def prepare(settings: Settings, spec: TextClassification) -> tuple[DatasetManifest, Path]:
    folder = settings.runs_dir(PRODUCT) / "20261127-120000" / "artifacts" / "dataset"
    manifest = prepare_dataset(spec, settings, base_dir=settings.home.parent, output_dir=folder)
    return manifest, folder


def read_subjects(folder: Path) -> list[str | None]:
    names: list[str | None] = []
    for path in sorted(folder.glob("*.parquet")):
        names += pq.read_table(path)["customer"].to_pylist()
    return names


def find_pseudonym(settings: Settings, user: str) -> str:
    with opening_records(settings) as records:
        return pseudonymise(records.get_signing_key(), PRODUCT, user)


def test_rows_name_whom_they_are_about_by_a_pseudonym_alone(settings: Settings) -> None:
    manifest, folder = prepare(settings, make_spec())

    found = read_subjects(folder)
    content = b"".join(path.read_bytes() for path in folder.iterdir())
    assert {name: found.count(name) for name in set(found)} == {
        find_pseudonym(settings, ANN): 30,
        find_pseudonym(settings, BOB): 30,
        None: 30,
    }
    assert BOB.encode() not in content
    assert find_pseudonym(settings, ANN) not in manifest.model_dump_json()


def test_a_group_of_people_is_told_apart_by_the_same_pseudonym(settings: Settings) -> None:
    path = settings.home.parent / "rows.jsonl"
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    rows = [line | {"customer": f"c{place}"} for place, line in enumerate(lines)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    _, folder = prepare(settings, make_spec(split={"group": "customer"}))

    assert set(read_subjects(folder)) == {find_pseudonym(settings, f"c{place}") for place in range(90)}


def test_forgetting_finds_the_rows_of_a_person_and_the_next_data_set_lacks_them(settings: Settings) -> None:
    spec = make_spec()
    _, folder = prepare(settings, spec)
    rows = TrainingRows(settings, PRODUCT)
    rows.keep(spec, folder, "digest-of-a-version")
    learned = sum(name is not None for name in pq.read_table(folder / "train.parquet")["customer"].to_pylist())
    reused = describe_events(spec, settings)

    found = forget_user(settings, PRODUCT, " 7.0 ")
    manifest, folder = prepare(settings, spec)

    assert sum(remains.count for remains in found.later) == 30
    assert 0 < found.now.training_rows < learned
    assert find_user(settings, PRODUCT, ANN).is_empty
    assert manifest.dropped == {"forgotten_user": 30}
    assert set(read_subjects(folder)) == {find_pseudonym(settings, BOB), None}
    # A data set from before is no longer what this run would prepare.
    assert describe_events(spec, settings) != reused


def test_a_text_was_learned_whoever_wrote_it(settings: Settings) -> None:
    spec = make_spec()
    _, folder = prepare(settings, spec)
    rows = TrainingRows(settings, PRODUCT)
    rows.keep(spec, folder, "digest")
    trained = pq.read_table(folder / "train.parquet")
    place = trained.column_names.index("customer")
    turned = trained.set_column(place, "customer", [trained["customer"].to_pylist()[::-1]])

    known = rows.find("digest")

    assert known is not None
    is_unseen = known.find_unseen(spec, turned)
    assert is_unseen is not None
    assert not is_unseen.any()


@pytest.mark.parametrize(
    ("slices", "data", "problem"),
    [
        (("customer",), {}, "'customer' says whom a row is about, and a report names nobody"),
        ((), {"subject": "label"}, "'label' is a column that every example has"),
        ((), {"source": {"classes": {"a": "a.txt", "b": "b.txt"}}}, "the files of source.classes have none"),
    ],
)
def test_a_subject_that_cannot_be_is_refused(slices: tuple[str, ...], data: dict[str, Any], problem: str) -> None:
    conflicts = [text for _, text in make_spec(slices, **data).iter_conflicts()]

    assert any(problem in text for text in conflicts), conflicts
