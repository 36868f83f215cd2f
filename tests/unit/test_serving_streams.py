"""Kinds that stream: events as they come about, one answer of them all, and an end whenever nobody waits any more."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from launchyard.bundle.feedback import LabelFeedback
from launchyard.bundle.manifest import GateRecord
from launchyard.isolation import RowFault
from launchyard.prediction.streams import CollectedPredictor
from launchyard.privacy.pseudonyms import IdentitySigner
from launchyard.records.records import Records
from launchyard.rollout.rules import Release
from launchyard.settings import Settings
from launchyard_serving.ingress import ProductEndpoint
from launchyard_serving.replica.follow import Follower
from launchyard_serving.replica.model import ServedModel
from launchyard_serving.replica.streams import StreamQueue
from serving_samples import PRODUCT, make_spec
from stream_samples import SayingPredictor

RELEASE = Release(
    version=3, digest="d" * 64, bundle_uri="bundles/d", gate=GateRecord(evaluation_sha256="0" * 64, gates=())
)
EVENTS = {"accept": "text/event-stream"}


@pytest.fixture
def saying() -> SayingPredictor:
    return SayingPredictor()


@pytest.fixture
def collected(saying: SayingPredictor) -> Iterator[CollectedPredictor]:
    predictor = CollectedPredictor(saying, at_once=2)
    yield predictor
    predictor.close()


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    records = Records(Settings(home=tmp_path))
    yield records
    records.close()


def make_model(predictor: CollectedPredictor, *, max_streams: int = 2, **serve: Any) -> ServedModel:
    spec = make_spec(**serve)
    queue = StreamQueue(predictor, lambda rows: rows, max_streams=max_streams, timeout_s=spec.serve.timeout_s)
    return ServedModel(
        release=RELEASE,
        spec=spec,
        feedback=LabelFeedback(()),
        predictor=predictor,
        predictions=queue,
        explanations=None,
    )


def make_app(records: Records, model: ServedModel) -> ProductEndpoint:
    signer = IdentitySigner(b"k" * 32, namespace="default", product=PRODUCT)
    return ProductEndpoint(
        PRODUCT, Follower(lambda: RELEASE, lambda _: model), signer, records, lambda _: LabelFeedback(())
    )


def make_client(records: Records, model: ServedModel) -> TestClient:
    return TestClient(make_app(records, model).build_app(), raise_server_exceptions=False)


def read_events(text: str) -> list[tuple[str, Any]]:
    """Return name and content of each server-sent event."""
    events = []
    for block in text.split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        events.append((fields.get("event", "message"), json.loads(fields["data"])))
    return events


def wait_until(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_events_come_one_by_one_and_the_whole_answer_last(records: Records, collected: CollectedPredictor) -> None:
    with make_client(records, make_model(collected)) as client:
        response = client.post("/predict", json={"inputs": ["so it is"]}, headers=EVENTS)

    *words, (last, answer) = read_events(response.text)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert words == [("message", {"word": word}) for word in ("so", "it", "is")]
    assert last == "answer"
    assert answer["model"]["version"] == 3
    assert answer["outputs"][0].pop("id").startswith(f"default.{PRODUCT}.3.")
    assert answer["outputs"] == [{"text": "so it is", "num_words": 3}]


def test_without_asking_for_events_each_input_has_one_collected_answer(
    records: Records, collected: CollectedPredictor, saying: SayingPredictor
) -> None:
    texts = ["one two three", "four", "five six", "seven", "eight nine"]
    with make_client(records, make_model(collected)) as client:
        response = client.post("/predict", json={"inputs": texts})

    assert [output["text"] for output in response.json()["outputs"]] == texts
    assert 1 <= saying.most_running <= 2


def test_a_failure_in_the_midst_ends_the_stream_with_an_error(records: Records, collected: CollectedPredictor) -> None:
    with make_client(records, make_model(collected)) as client:
        response = client.post("/predict", json={"inputs": ["so fail it"]}, headers=EVENTS)

    first, (name, problem) = read_events(response.text)
    assert first == ("message", {"word": "so"})
    assert (name, problem["status"], problem["errors"][0]["pointer"]) == ("error", 500, "/inputs/0")


@pytest.mark.parametrize("headers", [EVENTS, {}], ids=["events", "json"])
def test_a_failure_before_the_first_event_is_a_problem_document(
    records: Records, collected: CollectedPredictor, headers: dict[str, str]
) -> None:
    with make_client(records, make_model(collected)) as client:
        response = client.post("/predict", json={"inputs": ["fail"]}, headers=headers)

    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("headers", [EVENTS, {}], ids=["events", "json"])
def test_what_gives_no_event_in_time_is_given_up(
    records: Records, collected: CollectedPredictor, saying: SayingPredictor, headers: dict[str, str]
) -> None:
    with make_client(records, make_model(collected, timeout_s=0.05)) as client:
        response = client.post("/predict", json={"inputs": ["wait"]}, headers=headers)
        wait_until(lambda: saying.ended == ["wait"])

    assert response.status_code == 504
    assert "the next event did not come within the 0.05 s" in response.json()["detail"]


def test_two_inputs_have_no_stream(records: Records, collected: CollectedPredictor) -> None:
    with make_client(records, make_model(collected)) as client:
        response = client.post("/predict", json={"inputs": ["one", "two"]}, headers=EVENTS)

    assert response.status_code == 422
    assert "a stream answers one input, got 2" in response.json()["detail"]


def test_no_more_streams_run_than_may(records: Records, collected: CollectedPredictor) -> None:
    async def run() -> tuple[int, int]:
        model = make_model(collected, max_streams=1)
        app = make_app(records, model).build_app()
        async with app.router.lifespan_context(app):
            held = Call("so wait", EVENTS)
            running = asyncio.ensure_future(app(held.scope, held.receive, held.send))
            await held.chunk.wait()
            refused = Call("two", {})
            await app(refused.scope, refused.receive, refused.send)
            held.leave.set()
            await running
            again = refused
            while again.status == 429:
                await asyncio.sleep(0.005)
                again = Call("two", {})
                await app(again.scope, again.receive, again.send)
        return refused.status, again.status

    assert asyncio.run(asyncio.wait_for(run(), 20)) == (429, 200)


@pytest.mark.parametrize("headers", [EVENTS, {}], ids=["events", "json"])
def test_who_leaves_ends_the_stream_at_the_model(
    records: Records, collected: CollectedPredictor, saying: SayingPredictor, headers: dict[str, str]
) -> None:
    async def run() -> None:
        app = make_app(records, make_model(collected)).build_app()
        async with app.router.lifespan_context(app):
            call = Call("so wait", headers)
            running = asyncio.ensure_future(app(call.scope, call.receive, call.send))
            while not saying.num_running:
                await asyncio.sleep(0.005)
            call.leave.set()
            await running
            while saying.num_running:
                await asyncio.sleep(0.005)

    asyncio.run(asyncio.wait_for(run(), 20))

    assert saying.ended == ["so wait"]


def test_a_model_is_closed_after_its_last_stream_and_streams_that_do_not_end_are_ended(
    records: Records, saying: SayingPredictor
) -> None:
    collected = CollectedPredictor(saying)

    async def run() -> tuple[bool, str]:
        model = make_model(collected)
        app = make_app(records, model).build_app()
        object.__setattr__(model, "close", collected.close)
        async with app.router.lifespan_context(app):
            call = Call("so wait", EVENTS)
            running = asyncio.ensure_future(app(call.scope, call.receive, call.send))
            await call.chunk.wait()
            unloading = asyncio.ensure_future(model.unload(patience_s=0.05))
            await asyncio.sleep(0)
            was_closed = saying.is_closed
            await unloading
            await running
        return was_closed, call.text

    was_closed, text = asyncio.run(asyncio.wait_for(run(), 20))

    assert (was_closed, saying.is_closed) == (False, True)
    (_, first), (name, problem) = read_events(text)
    assert (first, name, problem["status"]) == ({"word": "so"}, "error", 503)


def test_a_batch_is_answered_by_streams_at_the_same_time_and_a_failed_row_is_one_fault(
    collected: CollectedPredictor, saying: SayingPredictor
) -> None:
    rows = [collected.parse(text) for text in ("one two", "fail", "three", "four five")]

    answers = collected.predict_each(rows)

    assert [isinstance(answer, RowFault) for answer in answers] == [False, True, False, False]
    assert answers[3] == {"text": "four five", "num_words": 2}
    assert saying.most_running == 2
    with pytest.raises(ValueError, match="no such word"):
        collected.predict(rows)


def test_what_a_kind_cannot_do_is_in_no_description(records: Records, collected: CollectedPredictor) -> None:
    with make_client(records, make_model(collected)) as client:
        refused = client.post("/explain", json={"inputs": ["one"]})
        document = client.get("/openapi.json").json()
        schema = client.get("/schema").json()

    assert refused.status_code == 404
    assert "answers of text-classification are not explained" in refused.json()["detail"]
    assert "/explain" not in document["paths"]
    content = document["paths"]["/predict"]["post"]["responses"]["200"]["content"]
    assert set(content) == {"application/json", "text/event-stream"}
    assert schema["stream"]["properties"].keys() == {"word"}


class Call:
    """One POST predict as a server makes it, whose client leaves when ``leave`` is set."""

    def __init__(self, text: str, headers: dict[str, str]) -> None:
        self._body = json.dumps({"inputs": [text]}).encode()
        self._is_sent = False
        self.leave = asyncio.Event()
        self.chunk = asyncio.Event()
        self.status = 0
        self.text = ""
        named = {"content-type": "application/json", **headers}
        self.scope: dict[str, Any] = {
            "type": "http",
            "method": "POST",
            "path": "/predict",
            "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in named.items()],
        }

    async def receive(self) -> dict[str, Any]:
        if not self._is_sent:
            self._is_sent = True
            return {"type": "http.request", "body": self._body, "more_body": False}
        await self.leave.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            self.text += message["body"].decode()
            self.chunk.set()
