"""Rows that are files, and rows of kinds that nobody here wrote: through the preparation that all kinds share."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from acme_rows import installed, make_png
from launchyard.data.files import FileLoader
from launchyard.data.manifest import SPLITS, DatasetManifest, SourceRecord, read_split
from launchyard.data.prepare import prepare_dataset
from launchyard.data.split_files import SplitWriter
from launchyard.data.values.columns import ROW_NUMBER
from launchyard.errors import DataError, SourceError
from launchyard.kinds import get_kind
from launchyard.kinds.text_classification.spec import TextClassification
from launchyard.settings import Settings
from launchyard.sources.forms.tables import iter_tables
from launchyard.sources.resolve import Fetched, fetch
from launchyard.spec.blocks import Product
from launchyard_pipelines.reuse import describe_sources


@pytest.fixture
def _acme(tmp_path: Path) -> Iterator[None]:
    with installed(tmp_path / "site"):
        yield


def write_pictures(folder: Path, shades: range = range(60)) -> Path:
    """Write a picture of each shade, the dark ones into one folder, the light ones into another."""
    for shade in shades:
        path = folder / ("dark" if shade < len(shades) / 2 else "light") / f"_DSC{shade:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(make_png(shade))
    (folder / "dark" / ".thumbs.db").write_bytes(b"x")
    return folder


def read_all(folder: Path, uri: str, *columns: str) -> list[dict[str, Any]]:
    fetched = fetch(uri, Settings(home=folder / "home"), base_dir=folder)
    rows: list[dict[str, Any]] = pa.concat_tables(list(iter_tables(fetched, columns or None))).to_pylist()
    return rows


def prepare(folder: Path, document: dict[str, Any]) -> tuple[DatasetManifest, pa.Table]:
    """Return the manifest and all rows that were prepared."""
    head = {"api": "launchyard/v1", "product": "acme", "model": {"base": "unused"}}
    spec: Product = get_kind(document["kind"]).spec.from_document(head | document)
    manifest = prepare_dataset(spec, Settings(home=folder / "home"), base_dir=folder, output_dir=folder / "out")
    return manifest, pa.concat_tables([read_split(folder / "out", split) for split in SPLITS])


@pytest.mark.parametrize("form", ["folder", "zip", "tar", "gztar"])
def test_each_file_of_a_folder_or_archive_is_a_row(tmp_path: Path, form: str) -> None:
    folder = write_pictures(tmp_path / "pictures", range(4))
    source = "pictures" if form == "folder" else Path(shutil.make_archive(str(tmp_path / "all"), form, folder)).name

    rows = read_all(tmp_path, f"{source}#format=files")

    assert sorted(row["path"] for row in rows) == [
        "dark/_DSC000.png",
        "dark/_DSC001.png",
        "light/_DSC002.png",
        "light/_DSC003.png",
    ]
    assert {row["path"]: (row["folder"], row["content"]) for row in rows}["light/_DSC003.png"] == ("light", make_png(3))


@pytest.mark.parametrize(
    ("name", "content", "options", "problem"),
    [
        ("a.bin", b"no archive", "#format=files", "neither a folder nor a zip or tar archive"),
        ("pictures/a.txt", b"\xff\xfe", "#format=files", "'a.txt' is no text in utf-8: byte 1 is 0xff"),
        ("pictures/a.png", b"\x89PNG", "", "If each file is a row, add #format=files"),
    ],
)
def test_what_is_no_collection_of_files_is_refused(
    tmp_path: Path, name: str, content: bytes, options: str, problem: str
) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)

    with pytest.raises(SourceError) as caught:
        read_all(tmp_path, f"{name.partition('/')[0]}{options}", "text")

    assert problem in str(caught.value)


def test_a_folder_of_texts_for_each_label_is_learned_from(tmp_path: Path) -> None:
    draw = random.Random(0)
    for place in range(40):
        path = tmp_path / "reviews" / ("good" if place % 2 else "bad") / f"{place}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"Zeile {draw.random()}\nschön {draw.random()}".encode("latin-1"))
    spec = TextClassification.from_document(
        {
            "api": "launchyard/v1",
            "product": "reviews",
            "kind": "text-classification",
            "data": {"source": "reviews/#format=files&encoding=latin-1", "label": {"column": "folder"}},
            "model": {"base": "unused"},
        }
    )

    manifest = prepare_dataset(spec, Settings(home=tmp_path / "home"), base_dir=tmp_path, output_dir=tmp_path / "out")

    assert manifest.labels == ("bad", "good")
    assert sum(manifest.num_rows.values()) == 40
    assert all("schön" in text for text in read_split(tmp_path / "out", "train")["text"].to_pylist())


@pytest.mark.usefixtures("_acme")
def test_pictures_are_told_apart_by_their_bytes_and_not_by_words(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "pictures")
    (folder / "dark" / "again.png").write_bytes(make_png(0))
    (folder / "light" / "contradicts.png").write_bytes(make_png(1))

    data = {"source": "pictures/#format=files", "image": "content"}
    manifest, rows = prepare(tmp_path, {"kind": "acme-notes", "data": data})

    assert manifest.dropped == {"conflicting_label": 2, "exact_duplicate": 1}
    assert sorted(rows["image"].to_pylist()) == sorted(make_png(shade) for shade in range(60) if shade != 1)
    assert {label: sum(counts[label] for counts in manifest.label_counts.values()) for label in manifest.labels} == {
        "dark": 29,
        "light": 30,
    }
    profile = {column.name: column for column in manifest.profile}
    assert (profile["image"].type, profile["image"].num_distinct) == ("binary", 59)


@pytest.mark.usefixtures("_acme")
def test_equal_measurements_are_signal_and_a_number_is_no_label(tmp_path: Path) -> None:
    rows = [{"size": float(n % 7), "target": float(n % 5)} for n in range(100)]
    rows += [{"size": 1.0, "target": float("nan")}, {"size": 1.0, "target": float("inf")}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")

    data = {"source": "rows.parquet", "sizes": ["size"], "target": "target"}
    manifest, prepared = prepare(tmp_path, {"kind": "acme-notes", "data": data})

    assert (manifest.num_rows, manifest.dropped) == ({"train": 80, "validation": 10, "test": 10}, {"null": 2})
    assert (manifest.labels, manifest.label_counts) == ((), {})
    assert {check.name for check in manifest.checks}.isdisjoint({"classes", "rows_per_class"})
    assert sorted(prepared["target"].to_pylist()) == sorted(float(n % 5) for n in range(100))
    assert len(set(prepared["row_id"].to_pylist())) == 100


@pytest.mark.usefixtures("_acme")
def test_one_number_for_all_rows_is_nothing_to_learn(tmp_path: Path) -> None:
    pq.write_table(pa.table({"size": range(50), "target": [3.0] * 50}), tmp_path / "rows.parquet")

    data = {"source": "rows.parquet", "sizes": ["size"], "target": "target"}
    with pytest.raises(DataError, match=r"target_values: must be at least 2, found 1 \(all rows have one number\)"):
        prepare(tmp_path, {"kind": "acme-notes", "data": data})


def test_files_in_rows_make_few_rows_a_group_however_they_are_added(tmp_path: Path) -> None:
    table = pa.table({"content": [bytes([n]) * 150 for n in range(30)], "n": list(range(30))})
    for size in (1, 4, 30):
        writer = SplitWriter(tmp_path / f"{size}.parquet", group_bytes=1_000)
        for start in range(0, 30, size):
            writer.add(table.slice(start, size))
        writer.close()

    groups = [pq.ParquetFile(tmp_path / f"{size}.parquet").metadata for size in (1, 4, 30)]

    assert [[found.row_group(n).num_rows for n in range(found.num_row_groups)] for found in groups] == [
        [7, 7, 7, 7, 2]
    ] * 3
    assert pq.read_table(tmp_path / "4.parquet").equals(table)


def write_table(folder: Path, names: list[Any]) -> None:
    rows = {"image": names, "folder": [f"{'ab'[place % 2]}" for place in range(len(names))]}
    pq.write_table(pa.table(rows), folder / "rows.parquet")


TABLE = {"kind": "acme-notes", "data": {"source": "rows.parquet", "image": "image"}}


@pytest.mark.usefixtures("_acme")
@pytest.mark.parametrize("form", ["path", "absolute", "bytes", "struct"])
def test_a_table_names_its_files_in_many_ways(tmp_path: Path, form: str) -> None:
    write_pictures(tmp_path / "pictures")
    paths = sorted(path.relative_to(tmp_path).as_posix() for path in (tmp_path / "pictures").rglob("_*.png"))
    spelled: dict[str, list[Any]] = {
        "path": paths,
        "absolute": [str(tmp_path / path) for path in paths],
        "bytes": [(tmp_path / path).read_bytes() for path in paths],
        "struct": [{"bytes": (tmp_path / path).read_bytes(), "path": "lost.png"} for path in paths],
    }
    write_table(tmp_path, spelled[form])

    manifest, rows = prepare(tmp_path, TABLE)

    assert sorted(rows["image"].to_pylist()) == sorted(make_png(shade) for shade in range(60))
    assert manifest.warnings == ()


@pytest.mark.usefixtures("_acme")
def test_files_that_are_missing_or_of_another_type_are_counted_and_told(tmp_path: Path) -> None:
    write_pictures(tmp_path / "pictures")
    (tmp_path / "page.png").write_bytes(b"<html>")
    paths = sorted(path.relative_to(tmp_path).as_posix() for path in (tmp_path / "pictures").rglob("_*.png"))
    write_table(tmp_path, [*paths, "nowhere.png", "page.png", None])

    manifest, rows = prepare(tmp_path, TABLE)

    assert (rows.num_rows, manifest.dropped) == (60, {"null": 3})
    assert manifest.warnings == (
        "data.source: 1 files cannot be had and 1 files are of another type, such as 'nowhere.png' in row 61 of column "
        "'image'. Their rows were left out.",
    )

    write_table(tmp_path, [*paths[:40], *(f"{place}.png" for place in range(20))])
    with pytest.raises(
        DataError, match=r"null_fraction: must be at most 0\.1, .* 20 files cannot be had, such as '0\.png'"
    ):
        prepare(tmp_path, TABLE)


def test_a_table_from_elsewhere_reads_no_file_of_this_machine(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(make_png(1))
    (tmp_path / "table").mkdir()
    record = SourceRecord(uri="https://example.org/rows.parquet", sha256="0" * 64, size_bytes=1)
    fetched = Fetched(tmp_path / "table" / "rows.parquet", record)
    for name in ("../secret.png", str(tmp_path / "secret.png"), f"file://{tmp_path}/secret.png"):
        table = pa.table({"image": [name], ROW_NUMBER: [1]})

        with pytest.raises(SourceError, match=r"is outside the table's folder|cannot be fetched"):
            list(FileLoader(Settings(home=tmp_path / "home"), {"image": ()}).load([table], fetched))


def test_files_are_loaded_a_few_rows_at_a_time(tmp_path: Path) -> None:
    record = SourceRecord(uri="rows.parquet", sha256="0" * 64, size_bytes=1)
    table = pa.table({"image": [bytes([n]) * 40 for n in range(7)], ROW_NUMBER: list(range(1, 8))})

    loader = FileLoader(Settings(home=tmp_path / "home"), {"image": ()}, batch_bytes=100)
    parts = list(loader.load([table], Fetched(tmp_path / "rows.parquet", record)))

    assert [part.num_rows for part in parts] == [3, 3, 1]
    assert pa.concat_tables(parts).equals(table)


@pytest.mark.usefixtures("_acme")
def test_a_step_that_read_files_a_table_names_is_never_taken_for_a_new_one(tmp_path: Path) -> None:
    write_pictures(tmp_path / "pictures")
    write_table(tmp_path, ["pictures/dark/_DSC000.png"])
    head = {"api": "launchyard/v1", "product": "acme", "kind": "acme-notes", "model": {"base": "rows.parquet"}}
    listed, whole = (
        get_kind("acme-notes").spec.from_document(head | {"data": {"source": source, "image": image}})
        for source, image in (("rows.parquet", "image"), ("pictures/#format=files", "content"))
    )

    assert describe_sources(listed, tmp_path) != describe_sources(listed, tmp_path)
    assert describe_sources(whole, tmp_path) == describe_sources(whole, tmp_path)
