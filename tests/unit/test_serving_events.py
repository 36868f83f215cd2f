"""Events over HTTP, and answers from what is known of a user at that moment: with a real event log beneath."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import pytest
from pydantic import BaseModel, ValidationError
from starlette.testclient import TestClient

from launchyard.bundle.feedback import LabelFeedback
from launchyard.bundle.manifest import GateRecord
from launchyard.contract.predictor import Output, Predictor
from launchyard.contract.rows import Row
from launchyard.errors import RequestError
from launchyard.privacy.pseudonyms import IdentitySigner, pseudonymise
from launchyard.records.events import AddedEvents, Event, EventLog
from launchyard.records.recent_events import RecentEvents
from launchyard.records.records import Records
from launchyard.rollout.rules import Release
from launchyard.settings import Settings
from launchyard.spec.blocks import Product
from launchyard.spec.events import EventLimits
from launchyard_serving.ingress import ProductEndpoint
from launchyard_serving.replica.batching import MicroBatcher
from launchyard_serving.replica.follow import Follower
from launchyard_serving.replica.model import ServedModel, enrich_first
from serving_samples import PRODUCT, make_spec

KEY = b"k" * 32
ANN = pseudonymise(KEY, PRODUCT, "ann")


class SeenInput(BaseModel):
    user: str | None = None


class SeenOutput(BaseModel):
    seen: list[str]


class SeenPredictor:
    """Answers each user with the items of the events that the row says are known."""

    input_schema: type[BaseModel] = SeenInput
    output_schema: type[BaseModel] = SeenOutput

    @classmethod
    def load(cls, bundle_dir: Path, *, threads: int) -> Self:
        raise NotImplementedError

    def parse(self, raw: object) -> Row:
        return SeenInput.model_validate(raw).model_dump()

    def predict(self, rows: Sequence[Row]) -> list[Output]:
        return [{"seen": row["seen"]} for row in rows]

    def explain(self, rows: Sequence[Row]) -> list[Output]:
        return [{**output, "why": "seen before"} for output in self.predict(rows)]

    def describe(self, row: Row) -> dict[str, float | str]:
        raise NotImplementedError


class SeenEvent(BaseModel):
    user: str
    item: str
    time_s: float


class SeenResources:
    """The events of users, as a kind would read them; waits for ``gate`` before it answers."""

    event_schema: type[BaseModel] = SeenEvent
    event_limits = EventLimits()

    def __init__(self, settings: Settings) -> None:
        self.log = EventLog(settings, PRODUCT)
        self.recent = RecentEvents(self.log, max_events=10)
        self.gate = threading.Event()
        self.gate.set()
        self.started = threading.Event()
        self.closed = threading.Event()

    @classmethod
    def open(cls, settings: Settings, spec: Product, bundle_dir: Path) -> Self:
        return cls(settings)

    def enrich(self, rows: Sequence[Row]) -> list[Row]:
        assert not self.closed.is_set()
        self.started.set()
        assert self.gate.wait(timeout=10)
        return [{**row, "seen": self._find_items(row["user"])} for row in rows]

    def recall(self, predictor: Predictor, rows: Sequence[Row]) -> list[Output] | None:
        return None

    def _find_items(self, user: str | None) -> list[str]:
        return [] if user is None else [stored.event.item for stored in self.recent.history(user)]

    def parse_event(self, raw: object) -> Event:
        try:
            event = SeenEvent.model_validate(raw)
        except ValidationError as err:
            raise RequestError(str(err.errors()[0]["msg"])) from err
        at = datetime.fromtimestamp(event.time_s, UTC)
        return Event(pseudonymise(KEY, PRODUCT, event.user), event.item, at)

    def add_events(self, events: Sequence[Event], *, sender: str | None = None) -> AddedEvents:
        assert self.gate.wait(timeout=10)
        return self.recent.add(events, sender=sender)

    def close(self) -> None:
        self.recent.close()
        self.log.close()
        self.closed.set()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


@pytest.fixture
def records(settings: Settings) -> Iterator[Records]:
    with closing(Records(settings)) as records:
        yield records


@pytest.fixture
def serving_state(settings: Settings) -> Iterator[SeenResources]:
    serving_state = SeenResources(settings)
    yield serving_state
    assert serving_state.closed.wait(timeout=10), "a replica that stopped left its serving state open"


def make_release(version: int) -> Release:
    gate = GateRecord(evaluation_sha256="0" * 64, gates=())
    return Release(version=version, digest=f"{version:064d}", bundle_uri=f"bundles/{version}", gate=gate)


def make_model(serving_state: SeenResources | None, *, version: int = 1, **serve: Any) -> ServedModel:
    predictor, executor = SeenPredictor(), ThreadPoolExecutor(2)
    spec = make_spec(**serve)
    about_users = spec.model_copy(update={"data": spec.data.model_copy(update={"subject": "user"})})
    return ServedModel(
        release=make_release(version),
        spec=about_users,
        feedback=LabelFeedback(()),
        predictor=predictor,
        predictions=MicroBatcher(
            enrich_first(serving_state, predictor.predict), executor, max_batch_size=2, max_waiting_rows=100
        ),
        explanations=MicroBatcher(
            enrich_first(serving_state, predictor.explain), executor, max_batch_size=1, max_waiting_rows=100
        ),
        serving_state=serving_state,
        close=(lambda: None) if serving_state is None else serving_state.close,
    )


def make_client(records: Records, follower: Follower) -> TestClient:
    signer = IdentitySigner(KEY, namespace="default", product=PRODUCT)
    app = ProductEndpoint(PRODUCT, follower, signer, records, lambda _: LabelFeedback(())).build_app()
    return TestClient(app, root_path=f"/{PRODUCT}", raise_server_exceptions=False)


def serve_model(records: Records, model: ServedModel) -> TestClient:
    return make_client(records, Follower(lambda: model.release, lambda _: model))


@pytest.fixture
def client(records: Records, serving_state: SeenResources) -> Iterator[TestClient]:
    with serve_model(records, make_model(serving_state, max_inputs=5, max_body_bytes=1024)) as client:
        yield client


def post(client: TestClient, route: str, body: Any) -> Any:
    return client.post(f"/{PRODUCT}/{route}", json=body)


def make_event(item: str, user: str = "ann", time_s: float = 1.0) -> dict[str, Any]:
    return {"user": user, "item": item, "time_s": time_s}


def ask(client: TestClient, *users: str | None, route: str = "predict") -> list[list[str]]:
    response = post(client, route, {"inputs": [{"user": user} for user in users]})
    assert response.status_code == 200, response.text
    return [output["seen"] for output in response.json()["outputs"]]


def test_an_event_is_in_the_very_next_answer(client: TestClient) -> None:
    assert ask(client, "ann", None, "bob") == [[], [], []]

    response = post(client, "events", {"events": [make_event("b", time_s=2), make_event("a"), make_event("c", "bob")]})

    assert response.status_code == 200
    assert response.json() == {"stored": 3, "duplicates": 0}
    assert ask(client, "ann", None, "bob") == [["a", "b"], [], ["c"]]
    assert ask(client, "ann", route="explain") == [["a", "b"]]


def test_one_event_may_come_without_a_list_and_the_same_again_counts_as_a_duplicate(client: TestClient) -> None:
    first, again = (post(client, "events", make_event("a")) for _ in range(2))

    assert first.json() == {"stored": 1, "duplicates": 0}
    assert again.json() == {"stored": 0, "duplicates": 1}


def test_more_events_of_one_user_than_may_be_are_refused_for_a_while_and_other_users_are_not_hurt(
    client: TestClient, serving_state: SeenResources
) -> None:
    serving_state.event_limits = EventLimits(per_user_per_minute=6)

    kept = [post(client, "events", {"events": [make_event(f"{n}{m}") for m in range(4)]}) for n in range(2)]
    refused = post(client, "events", {"events": [make_event("z", "bob"), make_event("y")]})
    other = post(client, "events", make_event("x", "bob"))

    assert [response.status_code for response in (*kept, other)] == [200, 200, 200]
    assert refused.status_code == 429
    assert "serve.events.per_user_per_minute" in refused.json()["detail"]
    assert 1 <= int(refused.headers["retry-after"]) <= 40
    assert [received.event.item for received in serving_state.log.iter_all()][-1] == "x"


def test_a_sender_is_told_apart_by_the_header_that_the_spec_trusts(
    client: TestClient, serving_state: SeenResources
) -> None:
    def send(user: str, forwarded: str) -> int:
        headers = {"x-forwarded-for": forwarded}
        return int(client.post(f"/{PRODUCT}/events", json=make_event("a", user), headers=headers).status_code)

    serving_state.event_limits = EventLimits(per_sender_per_minute=2, sender_header="x-forwarded-for")
    statuses = [
        send("u1", "198.51.100.1, 203.0.113.7"),
        send("u2", "198.51.100.2, 203.0.113.7:5043"),
        send("u3", "198.51.100.3, 203.0.113.7"),
        send("u4", "203.0.113.7, 203.0.113.8"),
    ]
    # Without the header in the spec, all come from whoever connects.
    serving_state.event_limits = EventLimits(per_sender_per_minute=2)
    statuses += [send(f"u{number}", f"203.0.113.{number}") for number in range(5, 8)]

    assert statuses == [200, 200, 429, 200, 200, 200, 429]
    senders = [received.sender for received in serving_state.log.iter_all()]
    assert senders[0] == senders[1] != senders[2]
    assert all(sender is not None and "203" not in sender for sender in senders[:1])


def test_no_id_of_a_user_reaches_the_disk(client: TestClient, settings: Settings) -> None:
    user = "ann@example.org"
    post(client, "events", make_event("the-item", user))
    output = post(client, "predict", {"inputs": [{"user": user}]}).json()["outputs"][0]
    post(client, "feedback", {"id": output["id"], "rating": 1})

    content = b"".join(path.read_bytes() for path in settings.root.rglob("*") if path.is_file())

    assert output["seen"] == ["the-item"]
    assert b"the-item" in content
    assert user.encode() not in content


def test_feedback_belongs_to_the_user_who_was_answered(client: TestClient, records: Records) -> None:
    outputs = post(client, "predict", {"inputs": [{"user": "ann"}, {}]}).json()["outputs"]
    for output in outputs:
        assert post(client, "feedback", {"id": output["id"], "rating": 5}).status_code == 200

    assert [feedback.subject for feedback in records.list_feedback(PRODUCT)] == [ANN, None]
    assert ANN not in outputs[0]["id"]


@pytest.mark.parametrize(
    ("body", "status", "pointers"),
    [
        (
            {
                "events": [
                    make_event("a"),
                    {"user": "ann"},
                    3,
                    make_event("b"),
                    {"user": "ann", "item": "c", "time_s": "x"},
                ]
            },
            422,
            [1, 2, 4],
        ),
        ({"events": [make_event("a")] * 6}, 413, []),
        ({"events": [make_event("a" * 2000)]}, 413, []),
        ([make_event("a")], 422, [None]),
    ],
    ids=["three wrong events", "too many events", "too large a body", "a bare list"],
)
def test_wrong_events_are_refused_whole_with_all_their_positions(
    client: TestClient, serving_state: SeenResources, body: Any, status: int, pointers: list[int | None]
) -> None:
    response = post(client, "events", body)

    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    expected = ["" if position is None else f"/events/{position}" for position in pointers]
    assert [error["pointer"] for error in response.json().get("errors", [])] == expected
    assert serving_state.log.count() == 0


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"events": []}, "/events"),
        ({"events": {}}, "/events"),
        ({"events": [], "event": 1}, "/event"),
        ({"user": "ann"}, ""),
        ({}, ""),
    ],
)
def test_events_of_the_wrong_form_name_the_place(client: TestClient, body: Any, pointer: str) -> None:
    response = post(client, "events", body)

    assert response.status_code == 422
    assert [error["pointer"] for error in response.json()["errors"]] == [pointer]


def test_malformed_json_shows_a_right_body(client: TestClient) -> None:
    response = client.post(f"/{PRODUCT}/events", content=b'{"events"', headers={"content-type": "application/json"})

    assert response.status_code == 400
    assert '{"events": [...]}' in response.json()["detail"]


def test_a_kind_that_reads_no_events_takes_none(records: Records) -> None:
    with serve_model(records, make_model(None)) as client:
        response = post(client, "events", make_event("a"))
        schema = client.get(f"/{PRODUCT}/schema").json()
        openapi = client.get(f"/{PRODUCT}/openapi.json").json()

    assert response.status_code == 404
    assert "takes no events" in response.json()["detail"]
    assert "event" not in schema
    assert "/events" not in openapi["paths"]


def test_schema_and_openapi_describe_an_event(client: TestClient) -> None:
    schema = client.get(f"/{PRODUCT}/schema").json()
    openapi = client.get(f"/{PRODUCT}/openapi.json").json()

    assert schema["event"]["properties"].keys() == {"user", "item", "time_s"}
    assert openapi["components"]["schemas"]["Event"] == schema["event"]
    assert openapi["components"]["schemas"]["Events"]["properties"]["events"]["maxItems"] == 5
    assert "/events" in openapi["paths"]


def test_events_that_cannot_be_kept_now_are_asked_for_again(client: TestClient, settings: Settings) -> None:
    with closing(sqlite3.connect(settings.root / "records.db")) as connection:
        connection.execute("ALTER TABLE launchyard_events RENAME TO elsewhere")
        refused = post(client, "events", make_event("a"))
        connection.execute("ALTER TABLE elsewhere RENAME TO launchyard_events")

    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "1"
    assert "records.db" not in refused.json()["detail"]
    assert post(client, "events", make_event("a")).json() == {"stored": 1, "duplicates": 0}
    assert ask(client, "ann") == [["a"]]


def test_events_over_the_deadline_may_be_sent_again(records: Records, serving_state: SeenResources) -> None:
    serving_state.gate.clear()

    with serve_model(records, make_model(serving_state, timeout_s=0.05)) as client:
        response = post(client, "events", make_event("a"))
        serving_state.gate.set()

    assert response.status_code == 504
    assert "Send them again" in response.json()["detail"]


def test_the_resources_of_a_replaced_model_are_closed_after_its_last_request(
    records: Records, serving_state: SeenResources, settings: Settings
) -> None:
    newer = SeenResources(settings)
    models = {1: make_model(serving_state), 2: make_model(newer, version=2)}
    champion = make_release(1)
    follower = Follower(lambda: champion, lambda release: models[release.version])

    with make_client(records, follower) as client, ThreadPoolExecutor(1) as pool:
        serving_state.gate.clear()
        slow = pool.submit(post, client, "predict", {"inputs": [{"user": "ann"}]})
        assert serving_state.started.wait(timeout=10)
        champion = make_release(2)
        while client.get(f"/{PRODUCT}/ready").json()["model"]["version"] != 2:
            pass
        assert post(client, "predict", {"inputs": [{}]}).json()["model"]["version"] == 2
        was_open = not serving_state.closed.is_set()
        serving_state.gate.set()
        answered = slow.result()
        assert serving_state.closed.wait(timeout=10)
        newer_is_open = not newer.closed.is_set()

    assert answered.json()["model"]["version"] == 1
    assert was_open
    assert newer_is_open
    assert newer.closed.wait(timeout=10)
