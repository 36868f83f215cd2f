"""Ray Data answers what this process answers: the same rows, in the same order, with the same words about errors."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import ray

from contract_recommendation import SPEC as FILMS
from launchyard.bundle.manifest import write_manifest
from launchyard.bundle.self_test import find_difference
from launchyard.data.prepare import prepare_dataset
from launchyard.errors import BundleError, SourceError
from launchyard.evaluation.run import EvaluateJob, evaluate_candidate
from launchyard.features.publishing import publish_features
from launchyard.settings import Settings
from launchyard_pipelines.batch.batch import BatchRequest, BatchSummary, find_release, run_batch
from launchyard_pipelines.snapshot import resolve_paths
from serving_samples import PRODUCT, WORDS, deploy_bundle, make_spec, write_bundle
from tiny_candidate import train_candidate
from tiny_interactions import NUM_USERS, list_events, write_sources

pytestmark = pytest.mark.integration

TOLERANCE = 1e-4
WORKERS = 2
BATCH_ROWS = 50
"""Makes many batches out of few rows."""


class BatchProgress:
    """Remembers what a person would be shown."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, int]] = []

    def show_download(self, done_bytes: int, total_bytes: int | None) -> None:
        """Take what is fetched."""

    def show_rows(self, num_rows: int, num_errors: int) -> None:
        self.rows.append((num_rows, num_errors))

    def show_note(self, message: str) -> None:
        """Take a note."""


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A home in which a text classifier serves."""
    folder = tmp_path_factory.mktemp("reviews")
    settings = Settings(home=folder / "home")
    deploy_bundle(settings, folder / "bundle", write_bundle(folder / "bundle", make_spec()))
    return settings


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A home in which a recommender serves, its features online."""
    folder = tmp_path_factory.mktemp("films")
    settings = Settings(home=folder / "home")
    spec = resolve_paths(FILMS, write_sources(folder / "sources"))
    dataset_dir = folder / "dataset"
    prepare_dataset(spec, settings, base_dir=folder, output_dir=dataset_dir)
    candidate_dir = train_candidate(folder, spec, dataset_dir, lambda _folder: None)
    job = EvaluateJob(spec, dataset_dir, candidate_dir, folder / "bundle", threads=1, batch_threads=1)
    evaluate_candidate(job, lambda *_: None)
    manifest = write_manifest(
        folder / "bundle", spec, namespace="default", run_id="r", code_version="0", base_model=None
    )
    publish_features(settings, spec, dataset_dir)
    deploy_bundle(settings, folder / "bundle", manifest)
    return settings


def answer(
    settings: Settings, output: Path, **request: Any
) -> tuple[BatchSummary, list[dict[str, Any]], BatchProgress]:
    watch = BatchProgress()
    summary = run_batch(BatchRequest(output=output, batch_rows=BATCH_ROWS, **request), settings, watch)
    return summary, pq.read_table(output).to_pylist(maps_as_pydicts="strict"), watch


def write_reviews(path: Path, num_rows: int) -> str:
    words = WORDS.split()
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "review"])
        for n in range(num_rows):
            writer.writerow([f"r{n}", "" if n % 20 == 7 else " ".join(words[n % 9 : n % 9 + n % 11 + 1])])
    return str(path)


def assert_same(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    assert len(found) == len(expected)
    for number, (one, other) in enumerate(zip(found, expected, strict=True)):
        assert find_difference(other, one, TOLERANCE, f"row {number}") is None


def test_ray_gives_the_rows_of_this_process_in_their_order(reviews: Settings, tmp_path: Path) -> None:
    request = {"product": PRODUCT, "input": write_reviews(tmp_path / "rows.csv", 1030), "columns": {"text": "review"}}

    alone, expected, _ = answer(reviews, tmp_path / "alone.parquet", workers=1, **request)
    shared, found, watch = answer(reviews, tmp_path / "shared.parquet", workers=WORKERS, **request)

    assert [row["id"] for row in found] == [f"r{n}" for n in range(1030)]
    assert_same(found, expected)
    assert pq.read_schema(tmp_path / "shared.parquet") == pq.read_schema(tmp_path / "alone.parquet")
    assert (shared.rows, shared.errors, shared.workers) == (1030, 52, WORKERS)
    assert (alone.rows, alone.errors, alone.workers) == (1030, 52, 1)
    assert watch.rows[-1] == (1030, 52)
    assert len(watch.rows) > WORKERS
    assert not ray.is_initialized()


def test_an_error_of_the_task_that_reads_arrives_as_itself(reviews: Settings, tmp_path: Path) -> None:
    source = write_reviews(tmp_path / "rows.csv", 600)
    with Path(source).open("a", encoding="utf-8") as file:
        file.write("too,many,fields\n" + "r,fine\n" * 300)

    with pytest.raises(SourceError, match=r"rows\.csv: row \d+ has 3 fields, the header 2"):
        answer(
            reviews,
            tmp_path / "answers.parquet",
            product=PRODUCT,
            input=source,
            columns={"text": "review"},
            workers=WORKERS,
        )

    assert not (tmp_path / "answers.parquet").exists()


def test_an_error_of_a_worker_arrives_as_itself(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    deploy_bundle(settings, tmp_path / "bundle", write_bundle(tmp_path / "bundle", make_spec()))
    examples = settings.root / find_release(settings, PRODUCT, None).bundle_uri / "examples.json"

    class DamagingWatch(BatchProgress):
        """Damages the bundle after this process has verified it, when it is told of a renamed column."""

        def show_note(self, message: str) -> None:
            examples.write_text("[]")

    (tmp_path / "rows.csv").write_text("text,label\n" + "a warm film,?\n" * 200)
    output = tmp_path / "answers.parquet"
    request = BatchRequest(PRODUCT, str(tmp_path / "rows.csv"), output, workers=WORKERS, batch_rows=BATCH_ROWS)

    with pytest.raises(BundleError, match=r"examples\.json has 2 bytes"):
        run_batch(request, settings, DamagingWatch())


def test_all_users_are_recommended_to_by_their_own_ids_here_and_by_ray(films: Settings, tmp_path: Path) -> None:
    users = {str(event["who"]) for event in list_events()}
    # One moment for all rows: profiles are aged to it.
    (tmp_path / "users.csv").write_text("who,moment\n" + "".join(f"{n},1700000000\n" for n in range(NUM_USERS)))
    request = {
        "product": FILMS.product,
        "input": str(tmp_path / "users.csv"),
        "columns": {"user": "who", "time": "moment"},
    }

    _, everyone, _ = answer(films, tmp_path / "all.parquet", product=FILMS.product, input=None, workers=WORKERS)
    _, expected, _ = answer(films, tmp_path / "alone.parquet", workers=1, **request)
    _, found, _ = answer(films, tmp_path / "shared.parquet", workers=WORKERS, **request)

    assert {row["user"] for row in everyone} == users
    assert {row["strategy"] for row in everyone} == {"personal"}
    assert [row["who"] for row in found] == [str(n) for n in range(NUM_USERS)]
    assert_same([_without_notes(row) for row in found], [_without_notes(row) for row in expected])
    assert {item["item"] for row in found for item in row["items"]} > {item["item"] for item in found[0]["items"]}


def _without_notes(row: dict[str, Any]) -> dict[str, Any]:
    """Return the row without what depends on how soon the store was read."""
    return {name: value for name, value in row.items() if name != "notes"}
