"""Batch prediction in this process; tests/integration/test_batch.py compares it with Ray Data."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import BaseModel
from typer.testing import CliRunner, Result

from launchyard.bundle.manifest import write_manifest
from launchyard.cli.main import build_app
from launchyard.contract.predictor import Device, Predictor
from launchyard.errors import BundleError, DataError, RegistryError, SpecError
from launchyard.kind import Kind, load_part
from launchyard.kinds import get_kind, iter_kinds
from launchyard.kinds.recommendation.predict.schemas import RecommendationInput, RecommendationOutput
from launchyard.kinds.text_classification.schemas import TextInput, TextOutput
from launchyard.prediction.schemas import list_json_fields
from launchyard.privacy.pseudonyms import pseudonymise
from launchyard.records.events import EventLog
from launchyard.records.records import Records
from launchyard.rollout.rules import Release
from launchyard.settings import Settings
from launchyard_pipelines.batch.batch import choose_workers, find_release, iter_users
from launchyard_pipelines.batch.columns import describe_answers, make_column, match_columns, name_carried
from launchyard_pipelines.batch.model import BatchModel, BatchTask
from launchyard_pipelines.batch.output import open_output
from serving_samples import PRODUCT, deploy_bundle, make_spec, write_bundle
from tiny_interactions import make_spec as make_films

TEXTS = ("a warm and funny film", "the plot was dull", "", "awful", "a great story", "slow and bad")
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A home in which version 2 serves and version 1 answers otherwise."""
    folder = tmp_path_factory.mktemp("batch")
    settings = Settings(home=folder / "home")
    for seed in range(2):
        deploy_bundle(settings, folder / str(seed), write_bundle(folder / str(seed), make_spec(), seed=seed))
    return settings


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Six reviews with an id and a label of their own; one has no text."""
    path = tmp_path / "rows.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("id", "label", "text"), *((f"r{n}", "?", text) for n, text in enumerate(TEXTS))])
    return path


def run(settings: Settings, *arguments: object) -> Result:
    environment = {"LAUNCHYARD_HOME": str(settings.home), "COLUMNS": "200"}
    words = ["batch", *map(str, arguments)]
    return CliRunner().invoke(build_app(), words, env=environment, catch_exceptions=False)


def load_predictor(settings: Settings, version: int) -> Predictor:
    release = find_release(settings, PRODUCT, version)
    return get_kind("text-classification").load_predictor(settings.root / release.bundle_uri, Device(1))


@pytest.mark.parametrize(("arguments", "version"), [((), 2), (("--version", 1), 1)], ids=["champion", "named"])
def test_every_row_has_the_answer_of_the_version_beside_the_columns_that_were_not_asked_about(
    settings: Settings, rows: Path, tmp_path: Path, arguments: Sequence[object], version: int
) -> None:
    output = tmp_path / "answers.parquet"

    run(settings, PRODUCT, "--input", rows, "--output", output, "--max-errors", 0.2, *arguments)

    predictor = load_predictor(settings, version)
    found = pq.read_table(output).to_pylist(maps_as_pydicts="strict")
    assert list(found[0]) == ["id", "input_label", "label", "scores", "confidence", "abstained", "error"]
    assert [(row["id"], row["input_label"]) for row in found] == [(f"r{n}", "?") for n in range(len(TEXTS))]
    for row, text in zip(found, TEXTS, strict=True):
        if text:
            (expected,) = predictor.predict([predictor.parse(text)])
            assert row["label"] == expected["label"]
            assert row["scores"] == pytest.approx(expected["scores"], abs=TOLERANCE)
            assert row["error"] is None


def test_a_row_that_cannot_be_parsed_says_why_and_does_not_end_the_run(
    settings: Settings, rows: Path, tmp_path: Path
) -> None:
    output = tmp_path / "answers.jsonl"

    result = run(settings, PRODUCT, "--input", rows, "--output", output, "--max-errors", 0.2, "--json")

    lines = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    assert [bool(line["error"]) for line in lines] == [not text for text in TEXTS]
    assert lines[2]["error"].startswith("text: ")
    assert (lines[2]["label"], lines[2]["scores"]) == (None, None)
    assert set(lines[0]["scores"]) == {"negative", "positive"}
    summary = json.loads(result.stdout)
    assert (summary["status"], summary["rows"], summary["errors"], summary["version"]) == ("succeeded", 6, 1, 2)
    assert summary["rows_per_s"] == pytest.approx(6 / summary["seconds"], rel=0.1)


def test_a_row_that_the_model_fails_on_says_so_and_all_others_have_their_answers(tmp_path: Path) -> None:
    settings, folder = Settings(home=tmp_path / "home"), tmp_path / "bundle"
    write_bundle(folder, make_spec())
    # A word whose number the model's table lacks: the whole forward pass fails.
    tokenizer = json.loads((folder / "model" / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["broken"] = 999
    (folder / "model" / "tokenizer.json").write_text(json.dumps(tokenizer))
    manifest = write_manifest(
        folder, make_spec(), namespace="default", run_id="run", code_version="0.1.0", base_model=None
    )
    deploy_bundle(settings, folder, manifest)
    rows = tmp_path / "rows.csv"
    rows.write_text("text\na warm film\nbroken\nthe plot was dull\n")

    run(settings, PRODUCT, "--input", rows, "--output", tmp_path / "a.jsonl", "--max-errors", 0.4)

    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["label"] is None for line in lines] == [False, True, False]
    assert lines[1]["error"].startswith("the model failed on this row: IndexError: ")


def test_too_many_errors_fail_with_the_first_of_them_and_leave_the_older_output(
    settings: Settings, rows: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out" / "answers.parquet"
    output.parent.mkdir()
    output.write_text("older")

    with pytest.raises(DataError, match=r"1 of 6 rows cannot be answered.*share of 0\.1.*row 3: text: "):
        run(settings, PRODUCT, "--input", rows, "--output", output)

    assert [path.name for path in output.parent.iterdir()] == ["answers.parquet"]
    assert output.read_text() == "older"


def test_a_failure_as_json_is_one_document_too(settings: Settings, tmp_path: Path) -> None:
    environment = {"LAUNCHYARD_HOME": str(settings.home)}
    words = ["batch", "reviw-sentiment", "--input", "rows.csv", "--output", str(tmp_path / "a.jsonl"), "--json"]

    result = CliRunner().invoke(build_app(), words, env=environment)

    document = json.loads(result.stdout)
    assert isinstance(result.exception, RegistryError)
    assert document["status"] == "failed"
    assert "Did you mean 'review-sentiment'?" in document["error"]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--input", "a.csv", "--output", "b.txt"), "must end in .parquet or .jsonl"),
        (("--output", "b.jsonl"), "give either --input or --all-users"),
        (("--input", "a.csv", "--all-users", "--output", "b.jsonl"), "give either --input or --all-users"),
        (("--input", "a.csv", "--output", "b.jsonl", "--column", "text"), "FIELD=COLUMN"),
        (("--input", "a.csv", "--output", "b.jsonl", "--max-errors", "2"), "max-errors"),
    ],
)
def test_wrong_usage_is_named(settings: Settings, arguments: Sequence[str], problem: str) -> None:
    result = run(settings, PRODUCT, *arguments)

    assert result.exit_code == 2
    assert problem in result.stderr


def test_all_users_of_a_product_without_users_are_refused(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="is no product that knows users"):
        run(settings, PRODUCT, "--all-users", "--output", tmp_path / "a.parquet")


def test_a_product_that_nothing_serves_names_its_versions(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    manifest = write_bundle(tmp_path / "bundle", make_spec())
    Records(settings).add_version(manifest, "bundles/none")

    with pytest.raises(RegistryError, match=r"nothing serves\. Name a version with --version \(1\)"):
        find_release(settings, PRODUCT, None)


@pytest.mark.parametrize(
    ("schema", "columns", "given", "expected"),
    [
        (TextInput, ["id", "text"], {}, {"text": "text"}),
        (TextInput, ["id", "text", "review"], {"text": "review"}, {"text": "review"}),
        (RecommendationInput, ["user", "k", "age"], {}, {"user": "user", "k": "k"}),
        (RecommendationInput, ["who", "k", "events"], {"user": "who", "events": ""}, {"user": "who", "k": "k"}),
    ],
)
def test_columns_are_matched_by_name_unless_another_is_given(
    schema: Any, columns: list[str], given: dict[str, str], expected: dict[str, str]
) -> None:
    assert match_columns(schema, columns, given) == expected


@pytest.mark.parametrize(
    ("schema", "columns", "given", "problem"),
    [
        (TextInput, ["id", "review"], {}, "no column is named 'text', found id, review.*--column text=COLUMN"),
        (RecommendationInput, ["who"], {}, "no column is named 'user', found who"),
        (TextInput, ["text"], {"txet": "text"}, "no field 'txet'. Did you mean 'text'"),
        (TextInput, ["review"], {"text": "revew"}, "no column 'revew'. Did you mean 'review'"),
    ],
)
def test_columns_that_do_not_fit_are_named_with_the_nearest(
    schema: Any, columns: list[str], given: dict[str, str], problem: str
) -> None:
    with pytest.raises(SpecError, match=problem):
        match_columns(schema, columns, given)


def test_two_columns_that_would_become_one_are_refused() -> None:
    with pytest.raises(SpecError, match="'label' and 'input_label' would both be 'input_label'"):
        name_carried(["label", "input_label"], {"label"})


@pytest.mark.parametrize("kind", iter_kinds(), ids=lambda kind: kind.name)
def test_the_answers_of_every_kind_have_columns(kind: Kind) -> None:
    predictor: type[Predictor] = load_part(kind.predictor)

    fields = set(predictor.output_schema.model_fields) - {"explanation"}

    assert set(describe_answers(predictor.output_schema).names) == fields


def test_nested_answers_keep_their_form() -> None:
    item = pa.struct({"item": pa.string(), "title": pa.string(), "score": pa.float64(), "reason": pa.string()})

    assert describe_answers(RecommendationOutput).field("items").type == pa.list_(item)
    assert describe_answers(TextOutput).field("scores").type == pa.map_(pa.string(), pa.float64())


def test_fields_that_take_no_text_are_read_as_json() -> None:
    assert list_json_fields(RecommendationInput) == {"events", "k", "context", "filters", "exclude_seen"}
    assert list_json_fields(TextInput) == set()


@pytest.mark.parametrize(
    ("asked", "cores", "num_rows", "expected"),
    [
        (None, 8, 100, 1),
        (None, 8, 101, 7),
        (None, 64, 101, 8),
        (None, 2, 1000, 1),
        (3, 2, 10, 3),
        (1, 64, 1000, 1),
    ],
)
def test_several_processes_are_started_for_many_rows_on_enough_cores_or_when_asked(
    asked: int | None, cores: int, num_rows: int, expected: int
) -> None:
    tables = pa.table({"n": range(num_rows)}).to_batches(max_chunksize=10)

    workers, ahead = choose_workers(
        asked, (pa.Table.from_batches([batch]) for batch in tables), large_rows=100, cores=cores
    )

    assert workers == expected
    assert pa.concat_tables(ahead)["n"].to_pylist() == list(range(num_rows))


def test_tables_of_any_length_become_one_parquet_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "out.parquet"

    with open_output(path, group_bytes=100) as write:
        for start in range(0, 50, 5):
            write(pa.table({"n": range(start, start + 5)}))

    assert pq.read_table(path)["n"].to_pylist() == list(range(50))
    assert pq.ParquetFile(path).num_row_groups == 4


def test_an_interrupted_output_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), open_output(tmp_path / "out.jsonl") as write:
        write(pa.table({"n": [1]}))
        raise KeyboardInterrupt

    assert list(tmp_path.iterdir()) == []


def test_numbers_that_json_lacks_become_null(tmp_path: Path) -> None:
    with open_output(tmp_path / "out.jsonl") as write:
        write(pa.table({"n": [float("nan"), 1.0]}))

    assert [json.loads(line)["n"] for line in (tmp_path / "out.jsonl").read_text().splitlines()] == [None, 1.0]


def test_all_users_are_named_once_and_without_those_to_be_forgotten(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    spec = make_films()
    events = [(user, "d1", 1_600_000_000, "view", 1, "tv") for user in (3, 1, 3, " 2 ", "", 1)]
    with (tmp_path / "events.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("who", "what", "when", "did", "stars", "device"), *events])
    key = Records(settings).get_signing_key()
    EventLog(settings, spec.product).forget(pseudonymise(key, spec.product, "1"))

    tables = list(iter_users(settings, spec, str(tmp_path / "events.csv"), "user"))

    assert pa.concat_tables(tables)["user"].to_pylist() == ["3", "2"]


def test_a_bundle_is_verified_before_it_answers(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    deploy_bundle(settings, tmp_path / "bundle", write_bundle(tmp_path / "bundle", make_spec()))
    release = find_release(settings, PRODUCT, None)
    weights = settings.root / release.bundle_uri / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])

    with pytest.raises(BundleError, match=r"model\.safetensors has \d+ bytes"):
        BatchModel(_make_task(settings, release))


def _make_task(settings: Settings, release: Release) -> BatchTask:
    return BatchTask(settings=settings, product=PRODUCT, release=release, columns={}, device=Device(1))


class Named(BaseModel):
    name: str
    score: float


class Counted(BaseModel):
    count: int
    score: int
    parts: list[str | int]


def test_answers_of_several_shapes_have_the_columns_of_all() -> None:
    schema = describe_answers(Named | Counted)

    answered = [{"name": "a", "score": 0.5}, {"count": 2, "score": 1, "parts": ["x", 3]}]
    table = pa.table([make_column(answered, field) for field in schema], schema=schema)

    assert table.to_pylist() == [
        {"name": "a", "score": 0.5, "count": None, "parts": None},
        {"name": None, "score": 1.0, "count": 2, "parts": ["x", "3"]},
    ]


def test_of_inputs_of_several_shapes_only_what_all_must_have_must_have_a_column() -> None:
    assert match_columns(Named | Counted, ["score", "other"], {}) == {"score": "score"}
    assert list_json_fields(Named | Counted) == {"count", "score", "parts"}
    with pytest.raises(SpecError, match="no column is named 'score'"):
        match_columns(Named | Counted, ["other"], {})


class Tree(BaseModel):
    children: list[Tree]


def test_answers_that_hold_themselves_are_text_where_they_begin_again() -> None:
    (field,) = describe_answers(Tree)

    column = make_column([{"children": [{"children": []}]}], field)

    assert column.to_pylist() == [['{"children":[]}']]
