"""A recommender on the real server with two replicas: what users do counts in the next answers of both."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest

from launchyard.bundle.manifest import write_manifest
from launchyard.data.prepare import prepare_dataset
from launchyard.errors import RequestError
from launchyard.evaluation.run import EvaluateJob, evaluate_candidate
from launchyard.features.publishing import publish_features
from launchyard.records.events import EventLog
from launchyard.settings import Settings
from launchyard_serving.session.session import find_free_port
from server_process import COMMAND, Server, running_server, wait_until
from serving_samples import deploy_bundle
from tiny_candidate import train_candidate
from tiny_interactions import make_spec, write_sources

pytestmark = [pytest.mark.integration, pytest.mark.alone]

PRODUCT = "tiny-films"
VISIBLE_S = 1.0
"""Promised time until every replica knows."""
ASKS = 20
"""Questions in a row, as which replica answers cannot be chosen: that all go to one of two is less likely than one in
500,000."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("serve-events")
    settings = Settings(home=folder / "home", port=find_free_port())
    deploy(settings, folder)
    with running_server(settings, folder / "output.txt") as server:
        wait_until(lambda: len(server.find_replicas(PRODUCT)) == 2, timeout_s=60, what="the second replica")
        yield server


def deploy(settings: Settings, folder: Path) -> None:
    """Train, release and publish a recommender, without the pipeline around it."""
    spec = make_spec(
        model={"architecture": "ease"},
        train={},
        evaluate={"bootstrap": 100, "beat_baseline": {"metric": "ndcg@10", "tolerance": 1.0}},
        serve={"replicas": {"min": 2, "max": 2}},
    )
    dataset_dir = folder / "dataset"
    prepare_dataset(spec, settings, base_dir=write_sources(folder / "sources"), output_dir=dataset_dir)
    candidate_dir = train_candidate(folder, spec, dataset_dir, lambda _: None)
    job = EvaluateJob(spec, dataset_dir, candidate_dir, folder / "bundle", threads=1, batch_threads=1)
    evaluate_candidate(job, lambda *_: None)
    manifest = write_manifest(
        folder / "bundle", spec, namespace="default", run_id="run-1", code_version="0.1.0", base_model=None
    )
    publish_features(settings, spec, dataset_dir)
    deploy_bundle(settings, folder / "bundle", manifest)


def recommend(server: Server, user: str) -> list[str]:
    """Return the items that a user is recommended."""
    (output,) = server.client(PRODUCT).predict([{"user": user, "k": 10}]).outputs
    return [found["item"] for found in output["items"]]


def wait_for_all(server: Server, user: str, holds: Callable[[list[str]], bool], what: str) -> None:
    """Wait until every replica recommends as ``holds`` says, no longer than was promised."""
    wait_until(
        lambda: all(holds(recommend(server, user)) for _ in range(ASKS)),
        timeout_s=VISIBLE_S,
        what=f"everywhere: {what}",
    )


def test_an_event_counts_in_the_next_answers_of_every_replica_within_a_second(server: Server) -> None:
    user = uuid4().hex
    taken = recommend(server, user)[0]

    counts = server.client(PRODUCT).send_events([{"user": user, "item": taken, "timestamp": time.time()}])

    assert counts == {"stored": 1, "duplicates": 0}
    # What a user took already is not recommended.
    wait_for_all(server, user, lambda items: taken not in items and len(items) == 10, "what was taken is known")


def test_events_survive_replicas_that_are_killed_after_the_answer(server: Server) -> None:
    user = uuid4().hex
    event = {"user": user, "item": "d1", "timestamp": time.time()}
    replicas = server.find_replicas(PRODUCT)

    server.client(PRODUCT).send_events([event])
    for number in replicas:
        os.kill(number, signal.SIGKILL)

    assert len(replicas) == 2
    with closing(EventLog(server.settings, PRODUCT)) as log:
        assert "d1" in {received.event.item for received in log.iter_all()}
    wait_until(
        lambda: server.is_ready(PRODUCT) and len(set(server.find_replicas(PRODUCT)) - set(replicas)) == 2,
        timeout_s=120,
        what="the next replicas",
    )
    assert server.client(PRODUCT).send_events([event]) == {"stored": 0, "duplicates": 1}


def test_wrong_events_are_refused_with_their_positions(server: Server) -> None:
    good = {"user": "7", "item": "d1", "timestamp": 1.0}

    with pytest.raises(RequestError, match=r"events/1: .* And 1 more\."):
        server.client(PRODUCT).send_events([good, {"user": "7"}, {**good, "weight": "heavy"}])


def test_a_user_who_is_forgotten_is_a_stranger_to_every_replica_within_about_a_second(server: Server) -> None:
    user = uuid4().hex
    strangers_items = recommend(server, uuid4().hex)
    server.client(PRODUCT).send_events(
        [{"user": user, "item": item, "timestamp": time.time()} for item in strangers_items[:3]]
    )
    wait_for_all(server, user, lambda items: not set(strangers_items[:3]) & set(items), "the events are known")
    environment = os.environ | {"LAUNCHYARD_HOME": str(server.settings.home)}

    done = subprocess.run(
        [COMMAND, "forget", PRODUCT, "--user", user, "--yes", "--json"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )

    assert json.loads(done.stdout)["now"] == {"events": 3, "feedback": 0, "features": 0}
    wait_for_all(server, user, lambda items: items == strangers_items, "the user is a stranger")
