"""From source files to a prepared data set: what is kept, what is refused, and that it is the same everywhere."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from launchyard.contract.rows import PrepareJob, Recipe
from launchyard.data.intake import map_in_process
from launchyard.data.manifest import SPLITS, DatasetManifest, load_manifest, read_split
from launchyard.data.prepare import MOST_LABELS, UNWATCHED, prepare_dataset, prepare_in_blocks
from launchyard.data.sizes import BlockSizes
from launchyard.errors import DataError, SourceError
from launchyard.kinds.text_classification.spec import TextClassification
from launchyard.settings import Settings

Rows = list[dict[str, Any]]

WORDS = [f"{first}{last}" for first in "bdfgklmnprst" for last in ("a", "e", "i", "o", "u", "an", "el", "ir")]


def make_rows(num_rows: int, labels: str = "ab", seed: int = 0) -> Rows:
    """Return rows of distinct random sentences."""
    draw = random.Random(seed)
    return [{"text": " ".join(draw.choices(WORDS, k=12)), "label": labels[i % len(labels)]} for i in range(num_rows)]


def write_jsonl(path: Path, rows: Rows) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def make_spec(source: Any = "rows.jsonl", slices: tuple[str, ...] = (), **data: Any) -> TextClassification:
    return TextClassification.model_validate(
        {
            "api": "launchyard/v1",
            "product": "reviews",
            "kind": "text-classification",
            "data": {"source": source, **data},
            "model": {"base": "unused"},
            "evaluate": {"slices": slices},
        }
    )


def prepare(folder: Path, spec: TextClassification, rows: Rows | None = None) -> DatasetManifest:
    if rows is not None:
        write_jsonl(folder / "rows.jsonl", rows)
    return prepare_dataset(spec, Settings(home=folder / "home"), base_dir=folder, output_dir=folder / "out")


def read_texts(folder: Path) -> dict[str, list[str]]:
    return {split: read_split(folder / "out", split)["text"].to_pylist() for split in SPLITS}


def test_a_gate_on_a_label_that_no_row_has_is_refused_before_training(tmp_path: Path) -> None:
    document = make_spec().model_dump(mode="json")
    document["evaluate"]["gates"] = {"f1[a]": "> 0", "f1[c]": "> 0"}
    document["train"]["class_weights"] = {"d": 2.0}

    with pytest.raises(DataError) as caught:
        prepare(tmp_path, TextClassification.model_validate(document), make_rows(60))

    assert str(caught.value) == (
        "train.class_weights.d: no row has the label 'd'; evaluate.gates.f1[c]: no row has the label 'c'. Labels: a, b."
    )


def test_a_data_set_is_written_with_its_manifest(tmp_path: Path) -> None:
    manifest = prepare(tmp_path, make_spec(), make_rows(200))

    assert load_manifest(tmp_path / "out") == manifest
    assert manifest.num_rows == {"train": 160, "validation": 20, "test": 20}
    assert manifest.labels == ("a", "b")
    assert manifest.label_counts["test"] == {"a": 10, "b": 10}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "dataset.json",
        "test.parquet",
        "train.parquet",
        "validation.parquet",
    ]
    for split in SPLITS:
        table = read_split(tmp_path / "out", split)
        assert table.column_names == ["text", "label", "row_id"]
        assert table.num_rows == manifest.num_rows[split]
        assert table["row_id"].to_pylist() == sorted(table["row_id"].to_pylist())


def test_every_row_is_in_one_split_only(tmp_path: Path) -> None:
    rows = make_rows(200)

    prepare(tmp_path, make_spec(), rows)

    texts = read_texts(tmp_path)
    assert sorted(chain.from_iterable(texts.values())) == sorted(row["text"] for row in rows)


def test_sorted_rows_are_shuffled(tmp_path: Path) -> None:
    prepare(tmp_path, make_spec(), sorted(make_rows(400), key=lambda row: str(row["label"])))

    labels = read_split(tmp_path / "out", "train")["label"].to_pylist()
    assert 0.35 < labels[:160].count("a") / 160 < 0.65


def _write_csv(folder: Path, table: pa.Table) -> str:
    pa_csv.write_csv(table, folder / "rows.csv")
    return "rows.csv"


def _write_parquet(folder: Path, table: pa.Table) -> str:
    pq.write_table(table, folder / "rows.parquet", compression="gzip", row_group_size=17)
    return "rows.parquet"


def _write_reversed(folder: Path, table: pa.Table) -> str:
    write_jsonl(folder / "reversed.jsonl", table.to_pylist()[::-1])
    return "reversed.jsonl"


@pytest.mark.parametrize("write", [_write_csv, _write_parquet, _write_reversed])
def test_the_same_rows_give_the_same_files_whatever_their_format_and_order(tmp_path: Path, write: Any) -> None:
    rows = [
        *make_rows(150),
        *make_rows(5),
        {"text": "twice labelled", "label": "a"},
        {"text": "twice labelled", "label": "b"},
    ]
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    first = prepare(tmp_path / "one", make_spec(), rows)

    second = prepare(tmp_path / "two", make_spec(write(tmp_path / "two", pa.Table.from_pylist(rows))))

    assert second.fingerprint == first.fingerprint
    assert second.split_hash == first.split_hash
    for split in SPLITS:
        name = f"{split}.parquet"
        assert (tmp_path / "two/out" / name).read_bytes() == (tmp_path / "one/out" / name).read_bytes()


@pytest.mark.parametrize(
    "sizes", [BlockSizes(table_rows=7), BlockSizes(block_bytes=2_000, bands_bytes=2_000, num_pairs=10)]
)
def test_how_many_rows_are_in_memory_at_once_makes_no_difference(tmp_path: Path, sizes: BlockSizes) -> None:
    rows = [*make_rows(400), *make_rows(20)]
    spec = make_spec(redact=["phone"])
    whole = prepare(tmp_path, spec, rows)
    read: list[int] = []

    def map_and_count(recipe: Recipe, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
        counted = list(tables)
        read.extend(table.num_rows for table in counted)
        return map_in_process(recipe, counted)

    job = PrepareJob(spec, Settings(home=tmp_path / "home"), tmp_path, tmp_path / "parts", map_and_count, UNWATCHED)

    assert prepare_in_blocks(job, sizes) == whole
    assert max(read) == min(sizes.table_rows, 420)
    for path in (tmp_path / "out").iterdir():
        assert (tmp_path / "parts" / path.name).read_bytes() == path.read_bytes()


def test_preparing_again_replaces_the_data_set_with_the_same_one(tmp_path: Path) -> None:
    first = prepare(tmp_path, make_spec(), make_rows(100))
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}

    assert prepare(tmp_path, make_spec()) == first
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_the_fingerprint_is_published_and_never_changes(tmp_path: Path) -> None:
    manifest = prepare(tmp_path, make_spec(), [{"text": f"row {i}", "label": "ab"[i % 2]} for i in range(40)])

    assert manifest.fingerprint == "5ec839df85564c13ce216d47b434b100a4334e69935a2fa1eedeb45f2f25ddf5"
    assert manifest.split_hash == "4709886089c38046b1a4fc3fc00b78dd0839ca56db3b33254f4ac69ee9a69b14"


def test_one_changed_letter_label_or_slice_changes_the_fingerprint(tmp_path: Path) -> None:
    rows = [{**row, "shop": "x"} for row in make_rows(60)]
    spec = make_spec(slices=("shop",))
    changed = [
        [{**rows[0], column: value}, *rows[1:]] for column, value in (("text", "new"), ("label", "b"), ("shop", None))
    ]

    prints = {prepare(tmp_path, spec, version).fingerprint for version in [rows, *changed]}

    assert len(prints) == 4


def test_another_seed_changes_the_split_and_not_the_fingerprint(tmp_path: Path) -> None:
    first = prepare(tmp_path, make_spec(split={"seed": 1}), make_rows(100))
    second = prepare(tmp_path, make_spec(split={"seed": 2}))

    assert first.fingerprint == second.fingerprint
    assert first.split_hash != second.split_hash


def test_exact_duplicates_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = make_rows(100)

    manifest = prepare(tmp_path, make_spec(), rows + rows[:30])

    assert manifest.dropped == {"exact_duplicate": 30}
    assert sum(manifest.num_rows.values()) == 100


def test_composed_and_decomposed_twins_are_duplicates(tmp_path: Path) -> None:
    rows = [*make_rows(50), {"text": "le café", "label": "a"}, {"text": "le cafe\u0301", "label": "a"}]

    assert prepare(tmp_path, make_spec(), rows).dropped == {"exact_duplicate": 1}


def test_a_text_with_two_labels_is_left_out_with_a_warning(tmp_path: Path) -> None:
    rows = make_rows(60)

    manifest = prepare(tmp_path, make_spec(), [*rows, {**rows[0], "label": "b"}])

    assert manifest.dropped == {"conflicting_label": 2}
    assert "2 rows were left out: their text appears with different labels" in manifest.warnings[0]
    assert rows[0]["text"] not in set(chain.from_iterable(read_texts(tmp_path).values()))


def test_no_near_copy_of_a_held_out_row_is_trained_on(tmp_path: Path) -> None:
    rows = make_rows(200)
    copies = [{**row, "text": row["text"].upper() + "!!"} for row in rows]

    manifest = prepare(tmp_path, make_spec(), rows + copies)

    texts = read_texts(tmp_path)
    held_out = {text.lower().strip("!") for split in ("validation", "test") for text in texts[split]}
    assert manifest.dropped["near_duplicate"] > 0
    assert not held_out & {text.lower().strip("!") for text in texts["train"]}


def test_near_copies_fail_the_checks_when_asked_to(tmp_path: Path) -> None:
    rows = make_rows(200)
    copies = [{**row, "text": row["text"] + "!"} for row in rows]

    with pytest.raises(DataError, match=r"near_duplicates: must be at most 0, found \d+ \(\d+ training rows"):
        prepare(tmp_path, make_spec(checks={"near_duplicates": "fail"}), rows + copies)


def test_near_copies_stay_when_allowed(tmp_path: Path) -> None:
    rows = make_rows(100)
    copies = [{**row, "text": row["text"] + "!"} for row in rows]

    manifest = prepare(tmp_path, make_spec(checks={"near_duplicates": "allow"}), rows + copies)

    assert sum(manifest.num_rows.values()) == 200


def test_dropping_near_copies_does_not_cost_training_rows_while_others_are_left(tmp_path: Path) -> None:
    rows = make_rows(300)
    copies = [{**row, "text": row["text"] + "!"} for row in rows[:100]]

    manifest = prepare(tmp_path, make_spec(split={"train": 200, "validation": 30, "test": 30}), rows + copies)

    assert manifest.num_rows == {"train": 200, "validation": 30, "test": 30}
    assert manifest.dropped["near_duplicate"] > 0


def test_fewer_training_rows_than_asked_after_dropping_near_copies_is_a_warning(tmp_path: Path) -> None:
    rows = make_rows(100)
    copies = [{**row, "text": row["text"] + "!"} for row in rows]

    manifest = prepare(tmp_path, make_spec(split={"train": 160, "validation": 20, "test": 20}), rows + copies)

    assert manifest.num_rows["train"] < 160
    assert any("data.split.train: asked for 160 rows, got" in warning for warning in manifest.warnings)


def test_given_sources_keep_their_rows_and_training_loses_the_rows_they_hold(tmp_path: Path) -> None:
    rows = make_rows(120)
    write_jsonl(tmp_path / "train.jsonl", rows)
    write_jsonl(tmp_path / "test.jsonl", rows[100:])

    manifest = prepare(tmp_path, make_spec({"train": "train.jsonl", "test": "test.jsonl"}))

    assert manifest.num_rows == {"train": 90, "validation": 10, "test": 20}
    assert manifest.dropped == {"held_out_duplicate": 20}
    assert set(read_texts(tmp_path)["test"]) == {row["text"] for row in rows[100:]}


def write_sources(folder: Path, rows: Rows, **parts: slice) -> dict[str, str]:
    """Write a source for each part of the rows; return what ``data.source`` says of them."""
    for name, part in parts.items():
        write_jsonl(folder / f"{name}.jsonl", rows[part])
    return {name: f"{name}.jsonl" for name in parts}


GIVEN = [
    {"train": slice(0, 200), "test": slice(200, 260)},
    {"train": slice(0, 200), "validation": slice(200, 260)},
    {"train": slice(0, 200), "validation": slice(200, 260), "test": slice(260, 320)},
]


@pytest.mark.parametrize("sizes", [{}, {"train": 100, "validation": 20, "test": 20}])
@pytest.mark.parametrize("parts", GIVEN, ids=lambda parts: "+".join(parts))
def test_no_group_is_in_two_splits_whatever_has_a_source_of_its_own(
    tmp_path: Path, parts: dict[str, slice], sizes: dict[str, int]
) -> None:
    draw = random.Random(1)
    rows = [{**row, "user": f"u{draw.randrange(150)}"} for row in make_rows(320)]

    manifest = prepare(tmp_path, make_spec(write_sources(tmp_path, rows, **parts), split={"group": "user", **sizes}))

    groups = [set(read_split(tmp_path / "out", split)["user"].to_pylist()) for split in SPLITS]
    assert all(groups)
    assert sum(map(len, groups)) == len(set.union(*groups))
    assert manifest.dropped["overlap"] > 0
    warning = f"data.split.group: {manifest.dropped['overlap']} train rows were left out"
    assert any(text.startswith(warning) for text in manifest.warnings)


@pytest.mark.parametrize("sizes", [{}, {"train": 100, "validation": 20, "test": 20}])
@pytest.mark.parametrize("parts", GIVEN, ids=lambda parts: "+".join(parts))
def test_every_split_is_newer_than_the_one_before_whatever_has_a_source_of_its_own(
    tmp_path: Path, parts: dict[str, slice], sizes: dict[str, int]
) -> None:
    # Three rows share each day, and each source reaches into the days of the next.
    days = [*range(67), *range(50, 70), *range(62, 82)]
    rows = [{**row, "day": days[(i + (i >= 200)) // 3]} for i, row in enumerate(make_rows(320))]

    manifest = prepare(tmp_path, make_spec(write_sources(tmp_path, rows, **parts), split={"time": "day", **sizes}))

    train, validation, test = (read_split(tmp_path / "out", split)["day"].to_pylist() for split in SPLITS)
    assert max(train) < min(validation) <= max(validation) < min(test)
    assert manifest.dropped["overlap"] > 0


def test_sources_that_the_time_does_not_divide_leave_a_warning_with_what_is_left(tmp_path: Path) -> None:
    rows = [{**row, "day": i if i < 340 else 20} for i, row in enumerate(make_rows(400))]
    source = write_sources(tmp_path, rows, train=slice(0, 340), validation=slice(340, 370), test=slice(370, 400))

    with pytest.raises(DataError, match=r"validation_rows: must be at least 1, found 0 \(30 overlap held-out rows in"):
        prepare(tmp_path, make_spec(source, split={"time": "day"}))
    del source["validation"]
    manifest = prepare(tmp_path, make_spec(source, split={"time": "day"}))

    assert manifest.num_rows == {"train": 18, "validation": 2, "test": 30}
    assert manifest.dropped == {"overlap": 320}
    assert "320 train rows were left out, 18 are left: they are not older than the oldest" in manifest.warnings[0]


def test_no_near_copy_of_a_test_row_validates_and_sizes_are_kept(tmp_path: Path) -> None:
    rows = make_rows(400)
    copies = [{**row, "text": row["text"].upper() + "!!"} for row in rows[:350]]
    sizes = {"train": 200, "validation": 100, "test": 100}

    manifest = prepare(tmp_path, make_spec(split=sizes), rows + copies)

    texts = {split: {text.lower().strip("!") for text in found} for split, found in read_texts(tmp_path).items()}
    assert manifest.dropped["near_duplicate_validation"] > 5
    assert manifest.num_rows == sizes
    assert not texts["test"] & texts["validation"]
    assert not texts["train"] & (texts["test"] | texts["validation"])


def test_given_validation_rows_lose_their_near_copies_of_test_rows(tmp_path: Path) -> None:
    rows = make_rows(290)
    rows[200:215] = [{**row, "text": row["text"] + "!"} for row in rows[-15:]]
    source = write_sources(tmp_path, rows, train=slice(0, 200), validation=slice(200, 245), test=slice(245, 290))

    manifest = prepare(tmp_path, make_spec(source))

    assert manifest.num_rows == {"train": 200, "validation": 30, "test": 45}
    assert manifest.dropped == {"near_duplicate_validation": 15}
    with pytest.raises(DataError, match=r"found 15 \(0 training rows .*, 15 validation rows a test row\)"):
        prepare(tmp_path, make_spec(source, checks={"near_duplicates": "fail"}))
    allowed = prepare(tmp_path, make_spec(source, checks={"near_duplicates": "allow"}))
    assert allowed.num_rows["validation"] == 45


def test_one_file_per_class(tmp_path: Path) -> None:
    for label in "ab":
        lines = [row["text"] for row in make_rows(50, seed=ord(label))]
        (tmp_path / f"{label}.txt").write_text("\n".join(lines), encoding="utf-8")

    manifest = prepare(tmp_path, make_spec({"classes": {"good": "a.txt", "bad": "b.txt"}}))

    assert manifest.labels == ("bad", "good")
    assert manifest.label_counts["train"] == {"bad": 40, "good": 40}
    assert len(manifest.sources) == 2


def test_a_group_stays_in_one_split(tmp_path: Path) -> None:
    rows = [{**row, "user": f"user{i % 40}@example.org"} for i, row in enumerate(make_rows(400))]

    prepare(tmp_path, make_spec(split={"group": "user"}, redact=["email"]), rows)

    groups = [set(read_split(tmp_path / "out", split)["user"].to_pylist()) for split in SPLITS]
    assert all(groups) and sum(map(len, groups)) == len(set.union(*groups)) == 40
    assert not any("user" in group for group in set.union(*groups))


def test_the_newest_rows_are_the_test_rows(tmp_path: Path) -> None:
    rows = [{**row, "at": f"2024-01-01T00:{i // 60:02}:{i % 60:02}"} for i, row in enumerate(make_rows(200))]

    prepare(tmp_path, make_spec(split={"time": "at"}), rows)

    train, validation, test = (read_split(tmp_path / "out", split)["at"].to_pylist() for split in SPLITS)
    assert max(train) < min(validation) <= max(validation) < min(test)


def test_rows_with_an_empty_field_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = [*make_rows(95), *[{"text": " ", "label": "a"}] * 3, *[{"text": "x", "label": None}] * 2]

    manifest = prepare(tmp_path, make_spec(), rows)

    assert manifest.dropped == {"null": 5}
    assert {column.name: column.num_nulls for column in manifest.profile} == {"text": 3, "label": 2}


def test_personal_data_is_written_nowhere(tmp_path: Path) -> None:
    rows = [
        {**row, "text": f"{row['text']} jo{i}@example.org", "shop": f"s{i}@example.org"}
        for i, row in enumerate(make_rows(90))
    ]

    manifest = prepare(tmp_path, make_spec(slices=("shop",), redact=["email", "phone"]), rows)

    assert manifest.redactions == {"email": 180, "phone": 0}
    for split in SPLITS:
        assert "example.org" not in str(read_split(tmp_path / "out", split).to_pylist())
    assert "example.org" not in (tmp_path / "out/dataset.json").read_text(encoding="utf-8")


def test_the_profile_says_what_the_columns_hold(tmp_path: Path) -> None:
    rows = [{"text": "x" * (i + 1), "label": "ab"[i % 2]} for i in range(100)]

    text, label = prepare(tmp_path, make_spec(), rows).profile

    assert (text.num_rows, text.num_distinct) == (100, 100)
    assert text.lengths == {"p0": 1.0, "p50": 50.0, "p95": 95.0, "p100": 100.0}
    assert label.histogram == {"a": 50, "b": 50}


def test_one_class_only_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"classes: must be at least 2, found 1 \(only 'a'\)"):
        prepare(tmp_path, make_spec(), make_rows(50, labels="a"))


def test_a_hundred_classes_of_which_one_has_one_row_is_an_error_that_names_it(tmp_path: Path) -> None:
    rows = [{**row, "label": f"intent {i % 99}"} for i, row in enumerate(make_rows(990))]

    with pytest.raises(DataError, match=r"rows_per_class: must be at least 3, found 1 \('rare' has 1\)"):
        prepare(tmp_path, make_spec(), [*rows, {"text": "the only one", "label": "rare"}])


def test_one_row_fails_every_check_it_can_at_once(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        prepare(tmp_path, make_spec(), make_rows(1))

    assert [line.split(": ")[1] for line in str(caught.value).splitlines()] == ["rows", "classes", "rows_per_class"]
    assert not (tmp_path / "out").exists()


def test_texts_that_are_all_null_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"null_fraction: must be at most 0\.1, found 1 \(50 of 50 rows"):
        prepare(tmp_path, make_spec(), [{"text": None, "label": "a"}] * 50)


def test_a_source_that_yields_nothing_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("text,label\n", encoding="utf-8")

    with pytest.raises(SourceError, match="holds no rows"):
        prepare(tmp_path, make_spec("rows.csv"))


def test_a_missing_column_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no column 'sentiment'"):
        prepare(tmp_path, make_spec(label={"column": "sentiment"}), make_rows(50))


def test_too_many_duplicates_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"duplicate_fraction: must be at most 0\.5, found 0\.6"):
        prepare(tmp_path, make_spec(), make_rows(20) * 3)


def test_a_text_column_taken_for_the_label_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.label: has more than 10,000 different values"):
        prepare(tmp_path, make_spec(label={"column": "text"}), make_rows(MOST_LABELS + 1))


def test_counts_that_the_rows_cannot_meet_are_an_error_with_the_numbers(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train 100, validation 10, test 10 rows, found 90 to divide"):
        prepare(tmp_path, make_spec(split={"train": 100, "validation": 10, "test": 10}), make_rows(90))


def test_one_group_that_holds_all_rows_is_an_error(tmp_path: Path) -> None:
    rows = [{**row, "user": "the only one"} for row in make_rows(50)]

    with pytest.raises(DataError, match=r"train_rows: must be at least 1, found 0\. Change data\.split or add rows"):
        prepare(tmp_path, make_spec(split={"group": "user"}), rows)


def test_a_given_split_without_a_usable_row_is_an_error(tmp_path: Path) -> None:
    rows = make_rows(50)
    write_jsonl(tmp_path / "rows.jsonl", rows)
    write_jsonl(tmp_path / "test.jsonl", [{"text": rows[0]["text"], "label": "b"}])

    with pytest.raises(DataError, match="test_rows: must be at least 1, found 0"):
        prepare(tmp_path, make_spec({"train": "rows.jsonl", "test": "test.jsonl"}))


def test_heavy_imbalance_and_labels_that_are_not_measured_give_warnings(tmp_path: Path) -> None:
    rows = make_rows(300, labels="a") + [{**row, "label": "b"} for row in make_rows(3, seed=9)]

    manifest = prepare(tmp_path, make_spec(split={"train": 200, "validation": 1, "test": 50}), rows)

    assert "heavy imbalance" in manifest.warnings[0]
    assert "no validation row of 'b'" in manifest.warnings[1]


def test_a_failure_leaves_the_older_data_set_alone(tmp_path: Path) -> None:
    manifest = prepare(tmp_path, make_spec(), make_rows(50))

    with pytest.raises(DataError):
        prepare(tmp_path, make_spec(), make_rows(1))

    assert load_manifest(tmp_path / "out") == manifest
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "rows.jsonl"]


@pytest.mark.parametrize("name", ["_id_high", "source_row", "row", "_given", "a.b", 'q"', "日本", "split"])
def test_a_column_may_have_any_name(tmp_path: Path, name: str) -> None:
    rows = [{"text": f"text number {n}", "label": "ab"[n % 2], name: "xy"[n % 3 == 0]} for n in range(60)]

    spec = TextClassification.model_validate(make_spec().model_dump(mode="json") | {"evaluate": {"slices": [name]}})

    prepare(tmp_path, spec, rows)

    assert set(read_split(tmp_path / "out", "train")[name].to_pylist()) == {"x", "y"}
