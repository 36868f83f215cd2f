"""Which test rows the serving model was trained on: told by keyed digests, whatever way the rows were divided."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from launchyard.data.manifest import read_split
from launchyard.data.prepare import prepare_dataset
from launchyard.evaluation.champion import FEWEST_ROWS, Champion, find_common_rows
from launchyard.evaluation.training_rows import TrainingRows
from launchyard.kinds.recommendation.spec import Recommendation
from launchyard.kinds.text_classification.spec import TextClassification
from launchyard.settings import Settings
from launchyard.spec.blocks import Product
from tiny_interactions import list_events, write_sources
from tiny_interactions import make_spec as make_recommender

NUM_ROWS = 2_000
WORDS = [f"{first}{last}" for first in "bdfgklmnprst" for last in ("a", "e", "i", "o", "u", "an", "el", "ir")]


def make_spec(**data: Any) -> TextClassification:
    return TextClassification.model_validate(
        {
            "api": "launchyard/v1",
            "product": "reviews",
            "kind": "text-classification",
            "data": {"source": "rows.parquet", **data},
            "model": {"base": "unused"},
        }
    )


def write_rows(folder: Path) -> list[str]:
    """Write rows of distinct random sentences, one a day; return their texts."""
    draw = random.Random(0)
    texts = [" ".join(draw.choices(WORDS, k=12)) for _ in range(NUM_ROWS)]
    columns = {"text": texts, "label": ["a", "b"] * (NUM_ROWS // 2), "day": list(range(NUM_ROWS))}
    pq.write_table(pa.table(columns), folder / "rows.parquet")
    return texts


def prepare(folder: Path, name: str, spec: TextClassification) -> Path:
    prepare_dataset(spec, Settings(home=folder / "home"), base_dir=folder, output_dir=folder / name)
    return folder / name


def keep(folder: Path, spec: Product, dataset_dir: Path) -> TrainingRows:
    rows = TrainingRows(Settings(home=folder / "home"), spec.product)
    rows.keep(spec, dataset_dir, "d1")
    return rows


@pytest.mark.parametrize(
    "split", [{"seed": 8}, {"time": "day"}, {"seed": 8, "train": 1000, "validation": 1, "test": 500}]
)
def test_rows_that_the_champion_learned_are_known_however_rows_are_divided(
    tmp_path: Path, split: dict[str, Any]
) -> None:
    write_rows(tmp_path)
    before, after = make_spec(), make_spec(split=split)
    old, new = prepare(tmp_path, "old", before), prepare(tmp_path, "new", after)
    champion = Champion(1, old, keep(tmp_path, before, old).find("d1"))

    test = read_split(new, "test")
    common = find_common_rows(champion, after, new, test)

    learned = set(read_split(old, "train")["text"].to_pylist())
    is_new = [text not in learned for text in test["text"].to_pylist()]
    assert FEWEST_ROWS <= sum(is_new) <= 0.55 * test.num_rows
    assert common.places.tolist() == np.flatnonzero(is_new).tolist()
    assert not common.problem


def test_the_same_division_is_compared_on_all_rows_even_of_a_version_without_digests(tmp_path: Path) -> None:
    write_rows(tmp_path)
    dataset_dir = prepare(tmp_path, "old", make_spec())

    common = find_common_rows(Champion(1, dataset_dir), make_spec(), dataset_dir, read_split(dataset_dir, "test"))

    assert len(common.places) == NUM_ROWS // 10


@pytest.mark.parametrize(
    ("after", "problem"),
    [
        ({"split": {"seed": 8, "test": 0.01}}, "only . of 20 test rows are new to it"),
        ({"split": {"seed": 8}, "redact": ["email"]}, "masked or cleaned in another way"),
    ],
)
def test_what_cannot_be_compared_is_told(tmp_path: Path, after: dict[str, Any], problem: str) -> None:
    write_rows(tmp_path)
    old, new = prepare(tmp_path, "old", make_spec()), prepare(tmp_path, "new", make_spec(**after))
    champion = Champion(1, old, keep(tmp_path, make_spec(), old).find("d1"))

    found = find_common_rows(champion, make_spec(**after), new, read_split(new, "test"))
    unknown = find_common_rows(Champion(1, old), make_spec(**after), new, read_split(new, "test"))

    assert not len(found.places)
    assert re.search(problem, found.problem)
    assert unknown.problem == "which rows it was trained on is not known"


def test_a_copy_with_other_case_and_punctuation_counts_as_learned(tmp_path: Path) -> None:
    texts = write_rows(tmp_path)
    dataset_dir = prepare(tmp_path, "old", make_spec())
    trained_on = keep(tmp_path, make_spec(), dataset_dir).find("d1")
    assert trained_on is not None
    learned = read_split(dataset_dir, "train")["text"][0].as_py()
    rows = pa.table({"text": [learned.upper() + " !", "new " + texts[0], "!", "?"], "row_id": ["1", "2", "3", "4"]})

    is_unseen = trained_on.find_unseen(make_spec(), rows)

    assert is_unseen is not None
    assert is_unseen.tolist() == [False, True, True, True]


def test_without_the_key_the_kept_digests_say_nothing(tmp_path: Path) -> None:
    write_rows(tmp_path)
    dataset_dir = prepare(tmp_path, "old", make_spec())
    ours = keep(tmp_path, make_spec(), dataset_dir).find("d1")
    theirs = keep(tmp_path / "elsewhere", make_spec(), dataset_dir).find("d1")

    assert ours is not None
    assert theirs is not None
    assert len(ours.rows) == len(theirs.rows) == 1_600
    assert not set(ours.rows.tolist()) & set(theirs.rows.tolist())


def prepare_events(folder: Path, name: str, spec: Recommendation, events: list[dict[str, Any]]) -> Path:
    write_sources(folder, events)
    prepare_dataset(spec, Settings(home=folder / "home"), base_dir=folder, output_dir=folder / name)
    return folder / name


def with_split(**split: Any) -> Recommendation:
    spec = make_recommender().model_dump(mode="json")
    spec["data"]["split"] = split
    return Recommendation.model_validate(spec)


def list_learned(dataset_dir: Path) -> set[tuple[str, str, float]]:
    return {(row["user"], row["item"], row["timestamp"]) for row in read_split(dataset_dir, "train").to_pylist()}


def test_a_held_out_user_whose_event_was_learned_is_left_out(tmp_path: Path) -> None:
    before, after, events = make_recommender(), with_split(strategy="time", test=0.2), list_events(num_users=500)
    old, new = (prepare_events(tmp_path, name, spec, events) for name, spec in (("old", before), ("new", after)))
    champion = Champion(1, old, keep(tmp_path, before, old).find("d1"))

    test = read_split(new, "test")
    common = find_common_rows(champion, after, new, test)

    learned = list_learned(old)
    is_new = [
        not any((row["user"], *taken) in learned for taken in zip(row["items"], row["times"], strict=True))
        for row in test.to_pylist()
    ]
    assert common.places.tolist() == np.flatnonzero(is_new).tolist()
    assert FEWEST_ROWS <= sum(is_new) < 0.9 * test.num_rows


def test_later_events_of_the_same_users_are_all_new_to_a_champion_of_before(tmp_path: Path) -> None:
    spec, events = make_recommender(), sorted(list_events(), key=lambda event: float(event["when"]))
    old = prepare_events(tmp_path, "old", spec, events[:-100])
    new = prepare_events(tmp_path, "new", spec, events)
    champion = Champion(1, old, keep(tmp_path, spec, old).find("d1"))
    test = read_split(new, "test")

    assert len(find_common_rows(champion, spec, new, test).places) == test.num_rows


def test_forgetting_takes_a_users_digests_out_of_every_version(tmp_path: Path) -> None:
    spec = make_recommender()
    dataset_dir = prepare_events(tmp_path, "old", spec, list_events())
    rows = keep(tmp_path, spec, dataset_dir)
    rows.keep(spec, dataset_dir, "d2")
    train = read_split(dataset_dir, "train")
    user = train["user"][0].as_py()
    of_user = train.filter(pc.equal(train["user"], user))

    before = rows.count_of(user)
    rows.forget(user)

    known = rows.find("d2")
    assert known is not None
    is_unseen = known.find_unseen(spec, train)
    assert is_unseen is not None
    assert before == 2 * of_user.num_rows > 0
    assert rows.count_of(user) == 0
    assert train.filter(pa.array(is_unseen)).equals(of_user)
