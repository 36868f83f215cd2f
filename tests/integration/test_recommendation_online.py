"""A served recommender with a real Redis: events count at once, and what is missing is said and made up for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
from starlette.testclient import TestClient

from feature_samples import RedisServer
from launchyard.contract.predictor import Device
from launchyard.privacy.forget import forget_user
from launchyard.settings import Settings
from launchyard_serving.replica.build import build_replica
from recommendation_samples import PRODUCT, deploy_recommender, make_linear_spec
from tiny_interactions import TASTES, list_events

pytestmark = [pytest.mark.integration, pytest.mark.alone]

KNOWN = "ana.lopez@example.com"
TASTE = TASTES["western"]


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, redis: RedisServer) -> Settings:
    """A home in which a recommender is deployed, its features in Redis."""
    folder = tmp_path_factory.mktemp("recommender")
    found = Settings(home=folder / "home", online_store=redis.url)
    moments = enumerate(TASTE[:5])
    own = [
        {"who": KNOWN, "what": item, "when": 1_700_000_000 + place, "did": "view", "stars": 1, "device": "tv"}
        for place, item in moments
    ]
    deploy_recommender(found, folder, make_linear_spec(features={"timeout_ms": 200}), [*list_events(), *own])
    return found


@pytest.fixture
def open_replica(settings: Settings) -> Iterator[Callable[[], TestClient]]:
    """Opens replicas of the product, as serving runs them."""
    with ExitStack() as stack:

        def run() -> TestClient:
            client = stack.enter_context(TestClient(build_replica(settings, PRODUCT, Device(1))))
            wait_until(lambda: client.get("/ready").status_code == 200, what="the replica")
            return client

        yield run


def wait_until(condition: Callable[[], Any], *, what: str, timeout_s: float = 30.0) -> float:
    """Return how long it took until ``condition`` held."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() < started + timeout_s, f"{what}: not within {timeout_s} s"
        time.sleep(0.02)
    return time.monotonic() - started


def ask(client: TestClient, **request: Any) -> dict[str, Any]:
    response = client.post("/predict", json={"inputs": [{"k": 5, **request}]})
    assert response.status_code == 200, response.text
    output: dict[str, Any] = response.json()["outputs"][0]
    return output


def list_items(output: dict[str, Any]) -> list[str]:
    return [found["item"] for found in output["items"]]


def wait_for_statistics(client: TestClient) -> None:
    wait_until(lambda: not ask(client)["notes"], what="the item statistics")


def test_a_known_user_is_answered_from_the_profile_in_the_store(open_replica: Callable[[], TestClient]) -> None:
    client = open_replica()
    wait_for_statistics(client)

    output = ask(client, user=KNOWN)

    assert (output["strategy"], output["notes"]) == ("personal", [])
    assert not set(list_items(output)) & set(TASTE[:5])
    assert set(list_items(output)[:3]) <= set(TASTE)


def test_the_same_question_has_the_same_answer_from_memory_without_the_store(
    open_replica: Callable[[], TestClient], redis: RedisServer
) -> None:
    client = open_replica()
    wait_for_statistics(client)
    first = ask(client, user=KNOWN)

    with redis.silenced():
        started = time.monotonic()
        again = ask(client, user=KNOWN)
        seconds = time.monotonic() - started

    assert again | {"id": ""} == first | {"id": ""}
    assert again["id"] != first["id"]
    assert seconds < 0.2  # The store's deadline.
    session = ask(client, user=KNOWN, events=[{"item": TASTES["noir"][0]}])
    assert list_items(session) != list_items(first)
    assert list_items(ask(client, user=KNOWN)) == list_items(first)


def test_an_unknown_user_is_a_cold_start_and_an_event_changes_the_next_answer(
    open_replica: Callable[[], TestClient],
) -> None:
    client = open_replica()
    before = ask(client, user="newcomer")

    sent = client.post("/events", json={"events": [{"user": "newcomer", "item": item} for item in TASTE[:3]]})
    after = ask(client, user="newcomer")

    assert sent.json() == {"stored": 3, "duplicates": 0}
    assert (before["strategy"], after["strategy"]) == ("popular", "personal")
    assert not set(list_items(after)) & set(TASTE[:3])
    assert list_items(after)[0] in TASTE


def test_an_event_is_known_to_another_replica_within_a_second(open_replica: Callable[[], TestClient]) -> None:
    first, second = open_replica(), open_replica()
    seconds = []
    for number in range(10):
        user = f"reader-{number}"
        assert ask(second, user=user)["strategy"] == "popular"
        first.post("/events", json={"events": [{"user": user, "item": TASTE[0]}]})

        seconds.append(wait_until(lambda: ask(second, user=user)["strategy"] == "personal", what="the event"))  # noqa: B023

    assert max(seconds) < 1.0


def test_the_same_event_twice_counts_once_and_late_ones_find_their_place(
    open_replica: Callable[[], TestClient],
) -> None:
    client = open_replica()
    moment = time.time() - 1000
    events = [{"user": 12.0, "item": item, "timestamp": moment + place} for place, item in enumerate(TASTE[:4])]

    client.post("/events", json={"events": events[::-1]})
    again = client.post("/events", json={"events": [{**event, "user": "12"} for event in events]})

    assert again.json() == {"stored": 0, "duplicates": 4}


@pytest.mark.parametrize(
    ("event", "detail"),
    [
        ({"user": "1"}, "item: Field required"),
        ({"user": "1", "item": "w1", "timestamp": "soon"}, "timestamp"),
        ({"user": "1", "item": "w1", "timestamp": 9e9}, "is in the future"),
        ({"user": "1", "item": "w1", "weight": 0}, "weight: Input should be greater than 0"),
        ({"user": "1", "item": "w1", "weight": 1e39}, "weight: Input should be less than or equal to 1000000"),
        ({"user": "1", "item": "w1", "timestamp": -1e300}, "timestamp"),
        ({"user": "1", "item": "w\u00001"}, "item: String should match pattern"),
        ({"user": "", "item": "w1"}, "user: String should have at least 1 character"),
    ],
)
def test_a_wrong_event_is_refused_with_its_place_and_nothing_is_stored(
    open_replica: Callable[[], TestClient], event: dict[str, Any], detail: str
) -> None:
    response = open_replica().post("/events", json={"events": [{"user": "1", "item": "w2"}, event]})

    assert response.status_code == 422
    assert response.json()["errors"][0]["pointer"] == "/events/1"
    assert detail in response.json()["errors"][0]["detail"]


def test_what_happened_today_does_not_hide_what_happened_before(
    tmp_path_factory: pytest.TempPathFactory, redis: RedisServer
) -> None:
    folder = tmp_path_factory.mktemp("today")
    found = Settings(home=folder / "home", online_store=redis.url.replace("/0", "/1"))
    popular = TASTE[11]
    now = int(time.time())
    many = [
        {
            "who": f"fan-{fan}",
            "what": popular,
            "when": now - 60 - (fan % 2) * 86_400,
            "did": "buy",
            "stars": 1,
            "device": "tv",
        }
        for fan in range(200)
    ]
    deploy_recommender(
        found,
        folder,
        make_linear_spec(features={"timeout_ms": 200}),
        [*list_events(), *({**event, "device": "tv"} for event in many)],
    )

    with TestClient(build_replica(found, PRODUCT, Device(1))) as client:
        wait_until(lambda: client.get("/ready").status_code == 200, what="the replica")
        wait_for_statistics(client)
        first = list_items(ask(client))[0]

    assert first == popular


def test_with_redis_stopped_the_answer_changes_says_so_in_time_and_recovers(
    open_replica: Callable[[], TestClient], redis: RedisServer
) -> None:
    client = open_replica()
    wait_for_statistics(client)
    before = ask(client, user=KNOWN)

    redis.stop()
    try:
        noticed = wait_until(lambda: ask(client, user=KNOWN)["notes"], what="the missing store")
        started = time.monotonic()
        without = ask(client, user=KNOWN)
        seconds = time.monotonic() - started
        with ThreadPoolExecutor(4) as pool:
            during = list(pool.map(lambda _: ask(client, user=KNOWN), range(20)))
    finally:
        redis.start()
    took = wait_until(lambda: ask(client, user=KNOWN)["notes"] == [], what="the refilled store")

    assert list_items(without) != list_items(before)
    assert "user features: " in without["notes"][0]
    assert "Only events that this endpoint was sent are known" in without["notes"][0]
    assert noticed < 2.0
    assert seconds < 1.0
    assert all(output["items"] for output in during)
    assert list_items(ask(client, user=KNOWN)) == list_items(before)
    assert took < 20


def test_a_silent_redis_costs_no_more_than_the_deadline_and_is_noticed_for_users_in_memory_too(
    open_replica: Callable[[], TestClient], redis: RedisServer
) -> None:
    client = open_replica()
    wait_for_statistics(client)
    assert not ask(client, user=KNOWN)["notes"]

    with redis.silenced():
        started = time.monotonic()
        output = ask(client, user="a-stranger")
        seconds = time.monotonic() - started
        noticed = wait_until(lambda: ask(client, user=KNOWN)["notes"], what="the silence")

    assert seconds < 1.0
    assert "user features: " in output["notes"][0]
    assert noticed < 5.0
    wait_until(lambda: ask(client, user=KNOWN)["notes"] == [], what="the store")


def test_nothing_on_disk_names_a_user_and_a_forgotten_one_is_a_stranger_at_once(
    settings: Settings, open_replica: Callable[[], TestClient]
) -> None:
    client = open_replica()
    wait_for_statistics(client)
    client.post("/events", json={"events": [{"user": KNOWN, "item": TASTE[6]}]})
    answered = ask(client, user=KNOWN)
    client.post("/feedback", json={"id": answered["id"], "rating": 5})
    files = [path for path in settings.home.rglob("*") if path.is_file() and settings.cache_dir not in path.parents]

    forgotten = forget_user(settings, PRODUCT, KNOWN)

    assert answered["strategy"] == "personal"
    assert len(files) > 10
    assert not any(KNOWN.encode() in path.read_bytes() for path in files)
    assert forgotten is not None
    took = wait_until(lambda: ask(client, user=KNOWN)["strategy"] == "popular", what="forgetting")
    assert took < 2.0
