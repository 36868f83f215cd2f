"""A home that the commands of commit 3fc2d5f wrote, used with the code of today: see ``earlier_home``."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient
from starlette.testclient import TestClient
from typer.testing import CliRunner

from earlier_home import (
    FILMS,
    PRODUCTS,
    REVIEWS,
    SERVES,
    VERSIONS,
    find_change,
    list_inputs,
    read_document,
    unpack_home,
)
from event_log_contract import wait_until
from launchyard.bundle.manifest import open_bundle, read_spec
from launchyard.bundle.self_test import self_test
from launchyard.bundle.store import BundleStore
from launchyard.cli.main import build_app
from launchyard.contract.predictor import Device
from launchyard.data.prepare import prepare_dataset
from launchyard.evaluation.results import Evaluation
from launchyard.evaluation.run import EvaluateJob, evaluate_candidate
from launchyard.kinds import get_kind
from launchyard.privacy.forget import find_user
from launchyard.privacy.scan import iter_traces
from launchyard.records.records import opening_records
from launchyard.settings import Settings
from launchyard.spec.uris import map_uris
from launchyard_pipelines.steps.evaluate import find_champion
from launchyard_serving.replica.build import build_replica
from tiny_candidate import train_candidate
from tiny_interactions import START_S, TASTES, write_sources

STRANGER = "nobody-ever"
FIRST_SENT = {"user": "ana", "item": "n0", "timestamp": START_S + 100 * 86_400, "event": "view"}
"""An event that the home holds."""


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings of a copy of the home, which commands find too."""
    settings = unpack_home(tmp_path)
    monkeypatch.setenv("LAUNCHYARD_HOME", str(settings.home))
    return settings


def run(*words: str) -> str:
    """Return what a command prints, which warns of nothing."""
    result = CliRunner().invoke(build_app(), words, env={"COLUMNS": "200"}, catch_exceptions=False)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def read_json(*words: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(run(*words, "--json"))
    return document


def find_bundle(settings: Settings, product: str, version: int) -> Path:
    with opening_records(settings) as records:
        return BundleStore(settings).find_path(records.get_version(product, version).bundle_uri)


def post(client: TestClient, route: str, **body: Any) -> dict[str, Any]:
    response = client.post(f"/{route}", json=body)
    assert response.is_success, response.text
    document: dict[str, Any] = response.json()
    return document


def wait_for_version(client: TestClient, product: str, version: int) -> None:
    """Wait until a replica answers with a version, and knows what the store says of its items."""
    wait_until(lambda: client.get("/ready").json()["model"]["version"] == version)
    last = list_inputs(product)[-1:]
    wait_until(lambda: not post(client, "predict", inputs=last)["outputs"][0].get("notes"))


def recommend(client: TestClient, user: str) -> list[str]:
    (output,) = post(client, "predict", inputs=[{"user": user, "k": 10}])["outputs"]
    return [found["item"] for found in output["items"]]


@pytest.mark.parametrize("product", PRODUCTS)
def test_status_history_and_feedback_tell_what_happened_then(settings: Settings, product: str) -> None:
    status, history, feedback = (read_json(command, product) for command in ("status", "history", "feedback"))

    assert (status["serves"]["version"], tuple(status["versions"])) == (SERVES, VERSIONS)
    assert status["serves"]["metrics"]["ndcg@10" if product == FILMS else "accuracy"]["n"] > 40
    changes = [(decision["action"], decision["actor"], decision["reason"]) for decision in history["decisions"]]
    assert changes[-2:] == [("rollback", "ann", "a complaint"), ("promote", "ann", "solved")]
    assert len(changes) == 4
    # Of four users who said something of a film, one was forgotten.
    assert status["num_feedback"] == len(feedback["feedback"]) == (3 if product == FILMS else 1)
    assert f"version {SERVES} serves since 20" in run("status", product)
    assert "a complaint" in run("history", product)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("product", PRODUCTS)
def test_every_bundle_verifies_and_answers_its_own_examples(settings: Settings, product: str, version: int) -> None:
    folder = find_bundle(settings, product, version)

    manifest = open_bundle(folder)
    kind = get_kind(manifest.kind)
    self_test(kind.load_predictor(folder, Device(1)), folder, kind.load_compare_function())

    assert (manifest.product, manifest.digest) == (product, folder.name)
    assert read_spec(folder).product == product


@pytest.mark.parametrize("product", PRODUCTS)
def test_a_replica_answers_as_then_and_follows_back_and_forth(settings: Settings, product: str) -> None:
    inputs, changes = list_inputs(product), []
    with TestClient(build_replica(settings, product, Device(1))) as client:
        for words, version in ((("status",), 2), (("rollback",), 1), (("promote",), 2)):
            run(*words, product)
            wait_for_version(client, product, version)
            changes.append(find_change(product, version, post(client, "explain", inputs=inputs)["outputs"]))

    assert changes == [None, None, None]
    actions = [decision["action"] for decision in read_json("history", product)["decisions"]]
    assert actions == ["promote", "promote", "rollback", "promote", "rollback", "promote"]


def test_mlflow_of_then_is_told_what_serves_now(settings: Settings) -> None:
    mlflow = MlflowClient(settings.mlflow_url, settings.mlflow_url)

    run("rollback", REVIEWS)

    tagged = mlflow.get_model_version_by_alias(f"{settings.namespace}.{REVIEWS}", "champion")
    assert tagged.tags["launchyard.version"] == "1"
    assert len(mlflow.search_model_versions(f"name = '{settings.namespace}.{REVIEWS}'")) == len(VERSIONS)


@pytest.mark.parametrize(
    ("product", "answer", "said"),
    [(REVIEWS, "review_id", {"label": "negative"}), (FILMS, "film_id", {"comment": "seen it since"})],
)
def test_feedback_on_an_answer_that_was_given_then_is_kept(
    settings: Settings, product: str, answer: str, said: dict[str, str]
) -> None:
    output_id = read_document()[answer]

    with TestClient(build_replica(settings, product, Device(1))) as client:
        post(client, "feedback", id=output_id, **said)

    kept = [piece for piece in read_json("feedback", product)["feedback"] if piece["output_id"] == output_id]
    assert len(kept) == 1
    assert kept[0].items() >= {"version": 1, **said}.items()


def test_an_event_counts_with_those_that_were_sent_then(settings: Settings) -> None:
    then = read_json("forget", FILMS, "--user", "ana", "--dry-run")
    with TestClient(build_replica(settings, FILMS, Device(1))) as client:
        wait_for_version(client, FILMS, SERVES)
        before = recommend(client, "ana")

        again = post(client, "events", events=[FIRST_SENT])
        sent = post(client, "events", events=[{"user": "ana", "item": before[0]}])
        after = recommend(client, "ana")

    assert (again["stored"], again["duplicates"], sent["stored"]) == (0, 1, 1)
    assert before[0] not in after
    assert not set(TASTES["noir"][:4]) & {*before, *after}
    assert read_json("forget", FILMS, "--user", "ana", "--dry-run")["now"]["events"] == then["now"]["events"] + 1


def test_what_was_published_then_is_shown_with_its_units(settings: Settings) -> None:
    sets = {found["name"]: found for found in read_json("features", "list", FILMS)["sets"]}
    stock = read_json("features", "get", FILMS, "stock", "n3")

    assert sets.keys() == {"user_profile", "item_statistics", "stock"}
    assert all(found["is_online"] for found in sets.values())
    assert (stock["values"], stock["units"]) == ({"left": 3}, {"left": "pieces"})


def test_of_a_forgotten_person_nothing_is_left_but_the_note_and_what_the_next_training_replaces(
    settings: Settings,
) -> None:
    user = "17"
    with TestClient(build_replica(settings, FILMS, Device(1))) as client:
        wait_for_version(client, FILMS, SERVES)
        assert recommend(client, user) != recommend(client, STRANGER)

        removed = read_json("forget", FILMS, "--user", user, "--yes")

        wait_until(lambda: recommend(client, user) == recommend(client, STRANGER))
    run("rollback", FILMS)
    left = read_json("forget", FILMS, "--user", user, "--dry-run")

    assert all(removed["now"][name] > 0 for name in ("events", "feedback", "features", "training_rows"))
    assert left["now"] == {"events": 0, "feedback": 0, "features": 0}
    assert read_json("features", "get", FILMS, "user_profile", user)["values"] is None
    places = {trace.path.relative_to(settings.root).parts[0] for trace in iter_traces(settings.root, removed["user"])}
    assert places == {"runs", "records.db"}
    with closing(sqlite3.connect(settings.root / "records.db")) as database:
        (note,) = [row for row in database.iterdump() if removed["user"] in row]
    assert note.startswith('INSERT INTO "launchyard_forgotten"')


def test_who_was_forgotten_then_is_a_stranger_still(settings: Settings) -> None:
    with TestClient(build_replica(settings, FILMS, Device(1))) as client:
        assert recommend(client, "eve") == recommend(client, STRANGER)

    assert find_user(settings, FILMS, "eve").now.total == 0


def test_the_next_recommender_learns_what_was_sent_then_and_meets_the_one_that_serves(
    settings: Settings, tmp_path: Path
) -> None:
    sources = write_sources(tmp_path / "sources")
    (sources / "stock.csv").write_text(f"item,counted,left\nn3,{START_S},3\n")
    # The paths of the sources lead nowhere any more, as on another machine.
    spec = map_uris(read_spec(find_bundle(settings, FILMS, 1)), lambda uri: str(sources / Path(uri).name))
    people = {user: find_user(settings, FILMS, user).user for user in ("ana", "bob", "eve")}

    prepare_dataset(spec, settings, base_dir=sources, output_dir=tmp_path / "dataset")
    candidate = train_candidate(tmp_path, spec, tmp_path / "dataset", lambda _: None)
    evaluation = evaluate_candidate(
        EvaluateJob(
            spec,
            tmp_path / "dataset",
            candidate,
            tmp_path / "bundle",
            threads=1,
            batch_threads=1,
            champion=find_champion(settings, FILMS),
        ),
        lambda *_: None,
    )

    known = set(pq.read_table(tmp_path / "dataset" / "train.parquet")["user"].to_pylist())
    assert {name for name, user in people.items() if user in known} == {"ana", "bob"}
    assert_meets_champion(evaluation)


def test_the_next_classifier_meets_the_one_that_serves(
    settings: Settings, tmp_path: Path, tiny_dataset: Path, tiny_candidate: Path
) -> None:
    spec = read_spec(find_bundle(settings, REVIEWS, 1))
    job = EvaluateJob(
        spec,
        tiny_dataset,
        tiny_candidate,
        tmp_path / "bundle",
        threads=1,
        batch_threads=1,
        champion=find_champion(settings, REVIEWS),
    )

    assert_meets_champion(evaluate_candidate(job, lambda *_: None))


def assert_meets_champion(evaluation: Evaluation) -> None:
    """Assert that the model was compared with the one that serves, on rows that this was not trained on."""
    assert evaluation.champion_version == SERVES
    assert any(f"champion v{SERVES}" in gate.rule and gate.passed for gate in evaluation.gates), evaluation.gates
