"""Preparing an interaction log: what is read, what is left out, what is held out, and who is hidden."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from launchyard.contract.rows import Recipe
from launchyard.data.manifest import DatasetManifest
from launchyard.data.prepare import prepare_dataset
from launchyard.errors import DataError, SourceError
from launchyard.features.sets import sum_buckets
from launchyard.kinds.recommendation.data.checks import ADVICE, Counts, check_events
from launchyard.kinds.recommendation.data.collected import limit_collected
from launchyard.kinds.recommendation.data.day_counts import WINDOWS_DAYS, read_day_counts
from launchyard.kinds.recommendation.predict.schemas import MAX_EVENTS
from launchyard.kinds.recommendation.spec import EventChecks
from launchyard.privacy.pseudonyms import pseudonymise
from launchyard.records.events import Event, EventLog, ReceivedEvent
from launchyard.records.records import Records
from launchyard.settings import Settings
from tiny_interactions import START_S, TASTES, list_events, make_spec, write_sources

Events = list[dict[str, Any]]
Prepare = Callable[..., tuple[DatasetManifest, Path]]


@pytest.fixture
def prepare(tmp_path: Path) -> Prepare:
    """Prepares events, by default the planted ones; called again, in the same home."""
    numbers = iter(range(100))

    def run(events: Events | None = None, **blocks: Any) -> tuple[DatasetManifest, Path]:
        folder = tmp_path / str(next(numbers))
        write_sources(folder, events)
        spec = make_spec(**blocks)
        settings = Settings(home=tmp_path / "home")
        manifest = prepare_dataset(spec, settings, base_dir=folder, output_dir=folder / "dataset")
        return manifest, folder / "dataset"

    return run


def make_events(*rows: tuple[Any, str, Any]) -> Events:
    """Return a log of enough users, with these (user, item, timestamp) rows after it."""
    return [
        *list_events(),
        *(
            {"who": who, "what": what, "when": when, "did": "view", "stars": 1, "device": "tv"}
            for who, what, when in rows
        ),
    ]


def read_history(dataset_dir: Path, split: str, item: str) -> list[dict[str, Any]]:
    """Return the held-out rows whose user took ``item``."""
    return [row for row in pq.read_table(dataset_dir / f"{split}.parquet").to_pylist() if item in row["items"]]


def test_a_log_without_times_is_told_how_to_bring_its_order(prepare: Prepare) -> None:
    events = [{name: value for name, value in row.items() if name != "when"} for row in list_events()]

    with pytest.raises(SourceError, match=r"no column 'when' .* add a column of their numbers and let it be the time"):
        prepare(events)


def test_the_last_event_of_each_user_tests_and_the_one_before_validates(prepare: Prepare) -> None:
    items = TASTES["noir"][:4]
    rows = [("late", item, START_S + 10**8 + place) for place, item in enumerate(items)]

    _, dataset_dir = prepare(make_events(*rows))

    pseudonym = pq.read_table(dataset_dir / "train.parquet").to_pylist()[-1]["user"]
    test = pq.read_table(dataset_dir / "test.parquet").to_pylist()
    found = next(row for row in test if row["time"] == START_S + 10**8 + 3)
    assert found["items"] == [items[3]]
    assert [event["item"] for event in found["events"]] == list(items[:3])
    validated = next(
        row for row in pq.read_table(dataset_dir / "validation.parquet").to_pylist() if row["user"] == found["user"]
    )
    assert validated["items"] == [items[2]]
    assert [event["item"] for event in validated["events"]] == list(items[:2])
    trained = [
        row["item"] for row in pq.read_table(dataset_dir / "train.parquet").to_pylist() if row["user"] == found["user"]
    ]
    assert trained == list(items[:2])
    assert re.fullmatch(r"[0-9a-f]{32}", pseudonym)


def test_events_of_one_moment_keep_their_order_in_the_source(prepare: Prepare) -> None:
    items = ["n5", "n1", "n9", "n3", "n7", "n2", "n8", "n4"]

    _, dataset_dir = prepare(make_events(*(("tied", item, START_S + 10**8) for item in items)))

    rows = pq.read_table(dataset_dir / "test.parquet").to_pylist()
    (row,) = [row for row in rows if row["time"] == START_S + 10**8]
    assert [event["item"] for event in row["events"]] + row["items"] == items


def test_the_split_hash_is_the_same_in_every_namespace_though_pseudonyms_differ(
    prepare: Prepare, tmp_path: Path
) -> None:
    first, first_dir = prepare()
    folder = write_sources(tmp_path / "elsewhere")
    other = Settings(home=tmp_path / "other")

    second = prepare_dataset(make_spec(), other, base_dir=folder, output_dir=folder / "dataset")

    assert (first.split_hash, first.fingerprint) == (second.split_hash, second.fingerprint)
    users = [set(pq.read_table(path / "train.parquet")["user"].to_pylist()) for path in (first_dir, folder / "dataset")]
    assert users[0].isdisjoint(users[1])


def test_another_target_changes_the_split_hash(prepare: Prepare) -> None:
    rows = [("late", f"n{place}", START_S + 10**8 + place) for place in range(4)]

    first, _ = prepare(make_events(*rows))
    second, _ = prepare(make_events(*rows[:3], ("late", "d0", START_S + 10**8 + 3)))

    assert first.split_hash != second.split_hash


def test_timestamps_in_any_unit_and_zone_and_ids_of_any_type_are_one_user_and_one_order(prepare: Prepare) -> None:
    moment = START_S + 10**8
    rows = [
        ("7001", "n1", moment),
        (7001, "n2", (moment + 1) * 1000),
        (" 7001.0 ", "n3", (moment + 2) * 10**6),
        ("7001", "n4", "2023-11-14T23:13:23+01:00"),
        ("7001", "n5", "2023-11-14 22:13:24"),
        ("7001", "n6", (moment + 5) * 10**9),
    ]

    _, dataset_dir = prepare(make_events(*rows))

    (row,) = [row for row in pq.read_table(dataset_dir / "test.parquet").to_pylist() if row["time"] == moment + 5]
    assert [event["item"] for event in row["events"]] == ["n1", "n2", "n3", "n4", "n5"]
    assert [event["timestamp"] - moment for event in row["events"]] == [0, 1, 2, 3, 4]


def test_exact_repeats_count_once_and_late_rows_find_their_place(prepare: Prepare) -> None:
    moment = START_S + 10**8
    rows = [
        ("late", "n3", moment + 3),
        ("late", "n1", moment + 1),
        ("late", "n2", moment + 2),
        ("late", "n1", moment + 1),
    ]

    manifest, dataset_dir = prepare(make_events(*rows))

    (row,) = [row for row in pq.read_table(dataset_dir / "test.parquet").to_pylist() if row["time"] == moment + 3]
    assert [event["item"] for event in row["events"]] == ["n1", "n2"]
    assert manifest.dropped["exact_duplicate"] == 1


def test_events_of_items_outside_the_catalogue_are_counted_and_left_out(prepare: Prepare) -> None:
    manifest, dataset_dir = prepare(make_events(("9", "no-such-film", START_S)))

    assert manifest.dropped["unknown_item"] == 1
    assert "no-such-film" not in pq.read_table(dataset_dir / "items.parquet")["item"].to_pylist()


def test_too_many_unknown_items_are_refused_by_name(prepare: Prepare) -> None:
    rows = [(str(user), "other-catalogue", START_S + user) for user in range(500)]

    with pytest.raises(DataError, match=r"unknown_items: must be at most 0.1.*'other-catalogue'"):
        prepare(make_events(*rows))


def test_an_item_that_nobody_took_is_in_the_catalogue_last(prepare: Prepare) -> None:
    _, dataset_dir = prepare()

    items = pq.read_table(dataset_dir / "items.parquet")
    counts = items["num_events"].to_pylist()
    assert counts == sorted(counts, reverse=True)
    assert items["item"].to_pylist()[-1] == "cold"
    assert counts[-1] == 0


@pytest.mark.parametrize("weight", ["nan", "0", "-1", "inf", "1e39"])
def test_a_weight_that_is_no_number_above_0_is_refused_with_its_row(prepare: Prepare, weight: str) -> None:
    events = make_events(("9", "n1", START_S))
    events[-1]["stars"] = weight

    with pytest.raises(
        DataError, match=rf"weight: must be a number above 0 and .*found '?{weight}.* in row {len(events)}"
    ):
        prepare(events)


def test_an_unreadable_timestamp_is_refused_with_its_row(prepare: Prepare) -> None:
    events = make_events(("9", "n1", "last week"))

    with pytest.raises(DataError, match=rf"timestamp: .*'last week' in row {len(events)}"):
        prepare(events)


@pytest.mark.parametrize(
    ("checks", "name", "advice"),
    [
        ({"min_users": 5000}, "users", "Add events of more users, or lower data.checks.min_users"),
        ({"min_items": 5000}, "items", "Add events of more items, or lower data.checks.min_items"),
        ({"min_rows": 50_000}, "rows", "Add events, or lower data.checks.min_rows"),
    ],
)
def test_a_failed_check_gives_the_advice_of_event_logs(
    prepare: Prepare, checks: dict[str, int], name: str, advice: str
) -> None:
    data = make_spec().data.model_copy(update={"checks": EventChecks.model_validate(checks)})

    with pytest.raises(DataError, match=rf"data.checks: {name}: must be at least .*\. {advice}") as caught:
        prepare(make_events(), data=data)

    assert "data.split" not in str(caught.value)


def test_every_check_of_events_has_its_advice() -> None:
    counts = Counts(1, 1, 1, ["x"], 1, 0, 0, 0)

    assert {result.name for result in check_events(EventChecks(), counts)} <= ADVICE.keys()


def test_a_user_with_100_000_events_is_measured_by_the_newest_and_warned_of(prepare: Prepare) -> None:
    items = [item for found in TASTES.values() for item in found]
    rows = [("robot", items[number % len(items)], START_S + 10**8 + number) for number in range(100_000)]

    manifest, dataset_dir = prepare(
        make_events(*rows),
        serve={"rules": {"exclude_seen": False}},
        data=make_spec().data.model_copy(update={"max_history": 50}),
    )

    (row,) = [
        row
        for row in pq.read_table(dataset_dir / "test.parquet").to_pylist()
        if row["time"] == START_S + 10**8 + 99_999
    ]
    assert len(row["events"]) == MAX_EVENTS
    assert row["events"][-1]["timestamp"] == START_S + 10**8 + 99_998
    assert any("one user has 100,000 of" in warning for warning in manifest.warnings)


def test_a_target_that_the_user_took_before_is_left_out_when_seen_items_are_excluded(prepare: Prepare) -> None:
    rows = [("again", item, START_S + 10**8 + place) for place, item in enumerate(["n1", "n2", "n3", "n1"])]

    manifest, dataset_dir = prepare(make_events(*rows))

    times = pq.read_table(dataset_dir / "test.parquet")["time"].to_pylist()
    assert START_S + 10**8 + 3 not in times
    assert manifest.dropped["test_without_new_item"] >= 1


def test_a_split_by_time_trains_on_nothing_after_its_first_moment(prepare: Prepare) -> None:
    data = make_spec().data.model_dump(mode="json") | {"split": {"strategy": "time", "validation": 0.2, "test": 0.2}}

    _, dataset_dir = prepare(data=data)

    newest = max(pq.read_table(dataset_dir / "train.parquet")["timestamp"].to_pylist())
    validation, test = (pq.read_table(dataset_dir / f"{name}.parquet").to_pylist() for name in ("validation", "test"))
    assert newest < min(row["time"] for row in validation)
    assert max(row["time"] for row in validation) < min(row["time"] for row in test)
    assert any(len(row["items"]) > 1 for row in test)
    for row in (*validation, *test):
        assert all(event["timestamp"] < row["time"] for event in row["events"])


def test_users_and_items_with_too_few_events_are_left_out(prepare: Prepare) -> None:
    data = make_spec().data.model_dump(mode="json") | {"min_interactions": {"user": 4, "item": 2}}

    manifest, _ = prepare(make_events(("once", "n1", START_S), ("once", "cold", START_S + 1)), data=data)

    assert manifest.dropped["rare_item"] == 1
    assert manifest.dropped["rare_user"] >= 1


def test_an_empty_catalogue_says_where_to_look(tmp_path: Path) -> None:
    folder = write_sources(tmp_path / "sources")
    (folder / "items.csv").write_text("what,name,kinds,year,price\n,,,,\n", encoding="utf-8")

    with pytest.raises(DataError, match=r"holds no item with an id\. Check data\.items\.id"):
        prepare_dataset(make_spec(), Settings(home=tmp_path / "home"), base_dir=folder, output_dir=tmp_path / "dataset")

    assert not (tmp_path / "dataset").exists()


def test_no_file_of_the_data_set_holds_a_user_id(prepare: Prepare) -> None:
    events = make_events(*(("maria.gomez@example.com", f"n{place}", START_S + 10**8 + place) for place in range(5)))

    manifest, dataset_dir = prepare(events)

    tables = [pq.read_table(path) for path in dataset_dir.rglob("*.parquet")]
    assert len(tables) == 7
    assert not any("maria.gomez" in str(table.to_pylist()) for table in tables)
    assert "maria.gomez" not in manifest.model_dump_json()


def test_a_forgotten_user_is_in_no_file_of_the_next_data_set(prepare: Prepare, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    events = make_events(*(("leaver", f"n{place}", START_S + 10**8 + place) for place in range(5)))
    _, before = prepare(events)
    records = Records(settings)
    user = pseudonymise(records.get_signing_key(), "tiny-films", "leaver")
    records.close()
    log = EventLog(settings, "tiny-films")
    log.forget(user)
    log.close()

    manifest, after = prepare(events)

    assert "leaver" in (before.parent / "users.csv").read_text(encoding="utf-8")

    def holds(folder: Path) -> bool:
        return any(user in str(pq.read_table(path).to_pylist()) for path in folder.rglob("*.parquet"))

    assert holds(before)
    assert not holds(after)
    assert manifest.dropped["forgotten_user"] == 5


def test_windows_of_all_items_equal_the_rule_for_one(prepare: Prepare) -> None:
    _, dataset_dir = prepare()
    table = pq.read_table(dataset_dir / "features" / "item_statistics.parquet")
    items = pq.read_table(dataset_dir / "items.parquet")["item"].to_pylist()
    moments = np.linspace(START_S, START_S + 80 * 86_400, 9)

    counts = read_day_counts(table, items)

    for moment in moments.tolist():
        totals = counts.total(moment)
        for place, item in enumerate(items):
            known = [row for row in table.to_pylist() if row["entity"] == item and row["timestamp"] <= moment]
            newest: dict[str, Any] = known[-1] if known else {"day_numbers": [], "day_counts": [], "num_events": 0}
            assert totals.num_events_I[place] == newest["num_events"]
            for days in WINDOWS_DAYS:
                expected = sum_buckets(newest["day_numbers"], newest["day_counts"], time=moment, window_days=days)
                assert totals.windows_I[days][place] == expected


def test_profiles_hold_what_each_user_did(prepare: Prepare) -> None:
    rows = [("late", item, START_S + 10**8 + place * 86_400) for place, item in enumerate(["n1", "n2", "d1"])]

    _, dataset_dir = prepare(make_events(*rows))

    profiles = pq.read_table(dataset_dir / "features" / "user_profile.parquet").to_pylist()
    found = profiles[-1]
    assert [row["timestamp"] for row in profiles] == sorted(row["timestamp"] for row in profiles)
    assert (found["num_events"], found["first_event"], found["last_event"]) == (
        3,
        START_S + 10**8,
        START_S + 10**8 + 2 * 86_400,
    )
    assert found["recent_items"] == ["n1", "n2", "d1"]
    assert dict(zip(found["categories"], found["category_counts"], strict=True)) == {"film": 3, "noir": 2, "drama": 1}
    assert (found["price_sum"], found["price_count"]) == (6 + 7 + 6, 3)
    assert found["day_counts"] == [1, 1, 1]


def send(settings: Settings, user: str, *items: tuple[str, float]) -> str:
    """Keep events as the endpoint does, and return the user's pseudonym."""
    records = Records(settings)
    pseudonym = pseudonymise(records.get_signing_key(), "tiny-films", user)
    records.close()
    log = EventLog(settings, "tiny-films")
    log.add([Event(pseudonym, item, datetime.fromtimestamp(at, UTC), "view") for item, at in items])
    log.close()
    return pseudonym


def test_what_the_endpoint_was_sent_is_trained_on_once(prepare: Prepare, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    moment = START_S + 10**8
    known = send(settings, "late", ("n1", moment), ("n2", moment + 1), ("d5", moment + 2), ("gone", moment + 3))
    stranger = send(settings, "stranger", *((f"w{place}", moment + place) for place in range(4)))
    source = make_events(("late", "n1", moment), ("late", "n9", moment - 1))

    _, with_collected = prepare(source)
    data = make_spec().data.model_dump(mode="json") | {"collected_events": False}
    _, without = prepare(source, data=data)

    def history(folder: Path, user: str) -> list[str]:
        rows = [row for row in pq.read_table(folder / "test.parquet").to_pylist() if row["user"] == user]
        return [event["item"] for row in rows for event in row["events"]] + [
            item for row in rows for item in row["items"]
        ]

    assert history(with_collected, known) == ["n9", "n1", "n2", "d5"]
    assert history(with_collected, stranger) == ["w0", "w1", "w2", "w3"]
    assert history(without, known) == []
    assert history(without, stranger) == []


def test_training_takes_so_many_events_of_one_user_and_of_one_sender_a_day_and_says_what_it_left_out(
    prepare: Prepare, tmp_path: Path
) -> None:
    settings = Settings(home=tmp_path / "home")
    moment = START_S + 10**8
    flood = [("n1", moment + place) for place in range(20)]
    send(settings, "bot", *flood)
    send(settings, "guest", ("n2", moment))
    limits = {"collected_per_user_per_day": 5}

    plain, _ = prepare(make_events())
    limited, _ = prepare(make_events(), data=make_spec().data.model_dump(mode="json") | limits)

    assert plain.dropped.get("over_user_limit") is None
    assert limited.dropped["over_user_limit"] == 15
    assert sum(plain.num_rows.values()) >= sum(limited.num_rows.values())
    assert any("collected_per_user_per_day: 5" in warning for warning in limited.warnings)


def receive(user: str, sender: str | None, day: int) -> ReceivedEvent:
    at = datetime(2026, 11, day, 23, 59, tzinfo=UTC)
    return ReceivedEvent(Event(user, "i", at), at, sender)


def test_limits_on_collected_events_count_by_the_day_of_arrival_and_keep_the_first() -> None:
    received = [
        *(receive("a" * 32, "s1", 1) for _ in range(3)),
        receive("b" * 32, "s1", 1),
        receive("c" * 32, "s1", 1),
        receive("a" * 32, "s2", 1),
        receive("a" * 32, "s1", 2),
        *(receive(f"{n:032}", None, 1) for n in range(5)),
    ]

    collected = limit_collected(received, per_user=2, per_sender=3)

    assert [event.user[0] for event in collected.events[:4]] == ["a", "a", "b", "a"]
    assert collected.dropped == {"over_user_limit": 2, "over_sender_limit": 1}
    assert len(collected.events) == 4 + 5
    assert len(collected.describe(2, 3)) == 2


def test_a_forgotten_user_who_comes_back_begins_anew(prepare: Prepare, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    send(settings, "leaver", ("n1", START_S))
    log = EventLog(settings, "tiny-films")
    records = Records(settings)
    log.forget(pseudonymise(records.get_signing_key(), "tiny-films", "leaver"))
    later = datetime.now(UTC).timestamp() + 10
    user = send(settings, "leaver", *((f"d{place}", later + place) for place in range(3)))
    records.close()
    log.close()

    _, dataset_dir = prepare(make_events(("leaver", "n5", START_S)))

    profiles = pq.read_table(dataset_dir / "features" / "user_profile.parquet").to_pylist()
    (found,) = [row for row in profiles if row["entity"] == user]
    assert found["recent_items"] == ["d0", "d1", "d2"]


def test_an_event_of_a_new_item_makes_a_new_item_where_there_is_no_catalogue(prepare: Prepare, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    user = send(settings, "finder", *((f"brand-new-{place}", START_S + 10**8 + place) for place in range(3)))
    data = make_spec().data.model_dump(mode="json") | {"items": None}

    _, dataset_dir = prepare(data=data, serve={})

    items = pq.read_table(dataset_dir / "items.parquet")["item"].to_pylist()
    rows = [row for row in pq.read_table(dataset_dir / "test.parquet").to_pylist() if row["user"] == user]
    assert {"brand-new-0", "brand-new-1", "brand-new-2"} <= set(items)
    assert rows[0]["items"] == ["brand-new-2"]


def test_an_id_that_no_request_could_name_is_refused_with_its_row(prepare: Prepare) -> None:
    events = make_events(("9", "n1", START_S))
    events[-1]["what"] = "https://shop.example/" + "x" * 500

    with pytest.raises(
        DataError, match=rf"data\.interactions\.item: is longer than 500 characters, .* in row {len(events)}"
    ):
        prepare(events)


def test_attributes_of_known_users_are_measured_by_and_not_told(prepare: Prepare) -> None:
    _, dataset_dir = prepare()

    row = pq.read_table(dataset_dir / "test.parquet").slice(0, 1).to_pylist()[0]
    assert set(row["attributes"]) == {"country"}
    assert set(row["context"]) == {"device"}


def test_events_are_the_same_whatever_maps_the_recipe_over_them(tmp_path: Path) -> None:
    folder = write_sources(tmp_path / "sources")
    spec, settings = make_spec(), Settings(home=tmp_path / "home")
    sizes: list[int] = []

    def map_elsewhere(recipe: Recipe, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """Convert small parts, as workers that get the recipe by pickle do."""
        for table in tables:
            for start in range(0, table.num_rows, 100):
                examples = pickle.loads(pickle.dumps(recipe)).convert(table.slice(start, 100))
                sizes.append(examples.num_rows)
                yield examples

    here = prepare_dataset(spec, settings, base_dir=folder, output_dir=tmp_path / "here")
    there = prepare_dataset(spec, settings, base_dir=folder, output_dir=tmp_path / "there", map_batches=map_elsewhere)

    assert len(sizes) > 3
    assert there == here
    for path in sorted((tmp_path / "here").rglob("*.parquet")):
        assert (tmp_path / "there" / path.relative_to(tmp_path / "here")).read_bytes() == path.read_bytes(), path
