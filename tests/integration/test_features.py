"""The feature store with real Feast, on SQLite and on a real Redis."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_samples import BIG, NAMES, PRODUCT, PROFILE, SAMPLES, TTL_S, RedisServer, Sample, write_rows
from launchyard.adapters.feast.offline import StepSizes, name_vanished
from launchyard.adapters.feast.online import MAX_FAILURES, RETRY_AFTER_S, OnlineReader
from launchyard.adapters.feast.store import FeatureStore
from launchyard.errors import DataError, FeatureStoreError, SpecError
from launchyard.features.sets import Feature, FeatureSet
from launchyard.settings import Settings

pytestmark = pytest.mark.integration

TIMEOUT_MS = 200.0
PRICES = FeatureSet(name="prices", entity="item", features=(Feature(name="price", type="number"),))


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture(params=["sqlite", "redis"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    url = request.getfixturevalue("redis").url if request.param == "redis" else None
    return Settings(home=tmp_path / "home", online_store=url)


def publish(
    settings: Settings,
    rows_dir: Path,
    sets: Sequence[FeatureSet] = (PROFILE,),
    *,
    product: str = PRODUCT,
    samples: Sequence[Sample] = SAMPLES,
) -> FeatureStore:
    """Publish the rows of user profiles and return the store."""
    store = FeatureStore(settings, product, sets)
    store.publish(write_rows(rows_dir, samples))
    store.apply()
    store.materialize()
    return store


@contextmanager
def reading(settings: Settings, product: str = PRODUCT) -> Iterator[OnlineReader]:
    with closing(OnlineReader(settings, product, [PROFILE], timeout_ms=TIMEOUT_MS)) as reader:
        yield reader


def ask(entities: Sequence[str], times: Sequence[float]) -> pa.Table:
    return pa.table({"user": entities, "timestamp": times})


def as_row(values: Sequence[Any]) -> dict[str, Any]:
    return dict(zip(NAMES, values, strict=True))


def joined_rows(store: FeatureStore, asked: pa.Table) -> list[dict[str, Any] | None]:
    """Return for each row what a join finds, in the form that reading has."""
    table = store.join(asked, ["user_profile"]).to_pydict()
    return [
        None
        if table["user_profile.timestamp"][n] is None
        else {name: table[f"user_profile.{name}"][n] for name in NAMES}
        for n in range(asked.num_rows)
    ]


def test_join_gives_what_was_known_then_and_a_planted_future_value_does_not_leak(tmp_path: Path) -> None:
    planted: Sample = ("anna", 30.3, (666, 666.0, True, "the future", [666], ["the future"], [6.0, 6.0]))
    samples = (*SAMPLES[:3], planted, *SAMPLES[3:])
    first, second, future = (as_row(values) for _, _, values in (SAMPLES[0], SAMPLES[2], planted))
    golden = {9.999: None, 10.0: first, 30.249999: first, 30.25: second, 30.299999: second, 30.3: future, 200.0: None}
    store = publish(Settings(home=tmp_path), tmp_path / "rows", samples=samples)

    known = joined_rows(store, ask(["anna"] * len(golden), list(golden)))

    assert known == list(golden.values())
    assert [join_without_times(samples, "anna")] * len(golden) != list(golden.values())


def join_without_times(samples: Sequence[Sample], entity: str) -> dict[str, Any]:
    """Return what a join on the entity alone gives, the newest row: the golden test must tell it from a right one."""
    return as_row([values for name, _, values in samples if name == entity][-1])


def test_join_keeps_all_rows_in_order_also_those_of_unknown_entities_and_repeated_ones(tmp_path: Path) -> None:
    store = publish(Settings(home=tmp_path), tmp_path / "rows")
    asked = ask(["zoe", "ben", "anna", "ben", "cem"], [50.0, 60.0, 40.0, 60.0, 40.0])

    table = store.join(asked.append_column("label", pa.array([1, 2, 3, 4, 5])), ["user_profile"])

    assert table["label"].to_pylist() == [1, 2, 3, 4, 5]
    assert table["user_profile.timestamp"].to_pylist() == [None, 20.5, 30.25, 20.5, None]
    assert table["user_profile.num_events"].to_pylist() == [None, 0, BIG, 0, None]


def test_join_equals_looking_up_each_row_by_hand(tmp_path: Path) -> None:
    random = np.random.default_rng(7)
    known = [(f"user{random.integers(9)}", float(at)) for at in np.sort(random.uniform(0, 1_000, 200)).round(3)]
    samples = [(user, at, (n, None, None, None, None, None, None)) for n, (user, at) in enumerate(known)]
    asked = [(f"user{random.integers(11)}", float(at)) for at in random.uniform(0, 1_100, 300).round(3)]
    store = publish(Settings(home=tmp_path), tmp_path / "rows", samples=samples)

    joined = store.join(ask([user for user, _ in asked], [at for _, at in asked]), ["user_profile"])

    newest = [[n for n, (name, at) in enumerate(known) if name == user and at <= then] for user, then in asked]
    held = [
        found[-1] if found and then - known[found[-1]][1] <= TTL_S else None
        for found, (_, then) in zip(newest, asked, strict=True)
    ]
    assert joined["user_profile.num_events"].to_pylist() == held
    assert 50 < held.count(None) < 250


def test_join_in_many_parts_equals_the_join_at_once(tmp_path: Path) -> None:
    store = publish(Settings(home=tmp_path), tmp_path / "rows")
    in_parts = FeatureStore(Settings(home=tmp_path), PRODUCT, [PROFILE], sizes=StepSizes(joined_rows=3))
    asked = ask(*zip(*product(["anna", "ben", "cem", "zoe"], [5.0, 25.0, 45.0, 200.0]), strict=True))

    at_once, found = (one.join(asked, ["user_profile"]) for one in (store, in_parts))

    assert found.equals(at_once)


def test_two_sets_of_different_entities_join_in_one_call(tmp_path: Path) -> None:
    store = FeatureStore(Settings(home=tmp_path), PRODUCT, [PROFILE, PRICES])
    write_rows(tmp_path / "rows", [("film", 1.0, (9.0,)), ("film", 35.0, (5.0,))], PRICES)
    store.publish(write_rows(tmp_path / "rows"))
    store.apply()

    table = store.join(ask(["anna"], [31.0]).append_column("item", pa.array(["film"])), ["user_profile", "prices"])

    assert (table["user_profile.favourite"].to_pylist(), table["prices.price"].to_pylist()) == (["喜剧"], [9.0])


def test_reading_online_equals_joining_offline_at_every_time(settings: Settings, tmp_path: Path) -> None:
    """Online there is the newest row only, so times before it are asked of what was published until then."""
    times = [at + step for _, at, _ in SAMPLES for step in (0.0, 0.5, TTL_S, TTL_S + 1e-6, TTL_S + 0.5)]
    people = ["anna", "ben", "cem", "zoe"]

    for number in range(1, len(SAMPLES) + 1):
        store = publish(settings, tmp_path / str(number), samples=SAMPLES[:number])
        newest = SAMPLES[number - 1][1]
        for now in (later for later in times if later >= newest):
            with reading(settings) as reader:
                online = reader.read("user_profile", people, now=now)
            assert online == joined_rows(store, ask(people, [now] * 4)), now


def test_online_rows_expire_at_their_ttl_and_are_unknown_before_their_time(settings: Settings, tmp_path: Path) -> None:
    publish(settings, tmp_path / "rows")

    with reading(settings) as reader:
        seen = [reader.read("user_profile", ["ben"], now=now)[0] for now in (20.4, 20.5, 120.5, 120.500001)]

    assert [row is None for row in seen] == [True, False, False, True]


def test_values_survive_both_stores_exactly(settings: Settings, tmp_path: Path) -> None:
    publish(settings, tmp_path / "rows")

    with reading(settings) as reader:
        anna, ben, cem, zoe = reader.read("user_profile", ["anna", "ben", "cem", "zoe"], now=50.0)

    assert anna == as_row(SAMPLES[2][2])
    assert ben == as_row((0, 2.0, False, "war", [], [], [3.0, 4.0]))
    assert cem == as_row((4, None, None, None, None, None, None))
    assert zoe is None


def test_a_null_in_a_newer_row_hides_the_older_value(settings: Settings, tmp_path: Path) -> None:
    publish(settings, tmp_path / "old")
    forgetful: Sample = ("anna", 60.0, (None,) * 7)

    publish(settings, tmp_path / "new", samples=(*SAMPLES, forgetful))

    with reading(settings) as reader:
        assert reader.read("user_profile", ["anna"], now=61.0) == [as_row((0, *(None,) * 6))]


def test_new_publication_replaces_values_of_the_same_time(settings: Settings, tmp_path: Path) -> None:
    publish(settings, tmp_path / "old")
    mended = (*SAMPLES[:3], ("cem", 40.125, (5, 1.0, True, "drama", [3], ["drama"], [0.0, 0.0])))

    publish(settings, tmp_path / "new", samples=mended)

    with reading(settings) as reader:
        assert reader.read("user_profile", ["cem"], now=41.0) == [as_row(mended[3][2])]


def test_entities_that_a_new_publication_lacks_are_unknown_online_too(settings: Settings, tmp_path: Path) -> None:
    store = publish(settings, tmp_path / "old")

    publish(settings, tmp_path / "new", samples=SAMPLES[1:3])

    with reading(settings) as reader:
        known = reader.read("user_profile", ["anna", "ben", "cem"], now=41.0)
    assert known == joined_rows(store, ask(["anna", "ben", "cem"], [41.0] * 3))
    assert [row is None for row in known] == [False, False, True]


def test_entities_that_vanish_before_anything_is_online_again_are_not_forgotten(
    settings: Settings, tmp_path: Path
) -> None:
    store = publish(settings, tmp_path / "old")
    store.publish(write_rows(tmp_path / "middle", SAMPLES[1:3]))

    publish(settings, tmp_path / "new", samples=SAMPLES[1:2])

    with reading(settings) as reader:
        known = reader.read("user_profile", ["anna", "ben", "cem"], now=41.0)
    assert [row is None for row in known] == [True, False, True]


def test_deleting_while_rows_are_half_online_leaves_nobody_out(settings: Settings, tmp_path: Path) -> None:
    store = publish(settings, tmp_path / "old", samples=SAMPLES[:1])
    store.publish(write_rows(tmp_path / "new"))

    store.delete("user", "ben")
    store.materialize()

    with reading(settings) as reader:
        known = reader.read("user_profile", ["anna", "ben", "cem"], now=41.0)
    assert [row is None for row in known] == [False, True, False]


def test_the_state_of_the_store_changes_with_its_rows_and_only_then(settings: Settings, tmp_path: Path) -> None:
    with reading(settings) as reader:
        store = publish(settings, tmp_path / "old")
        states = [reader.read_state()]

        store.materialize()
        assert reader.read_state() == states[-1]
        store.delete("user", "ben")
        states.append(reader.read_state())
        store.publish(write_rows(tmp_path / "new", SAMPLES[1:2]))
        assert reader.read_state() == states[-1]
        store.materialize()
        states.append(reader.read_state())

    assert None not in states
    assert len(set(states)) == 3


def test_the_state_changes_when_vanished_rows_are_emptied_after_an_interruption(
    settings: Settings, tmp_path: Path
) -> None:
    store = publish(settings, tmp_path / "old")
    store.publish(write_rows(tmp_path / "new", SAMPLES[1:2]))
    vanished = name_vanished(name_published(tmp_path))
    vanished.with_suffix(".sound").write_bytes(vanished.read_bytes())
    vanished.write_bytes(b"damaged")

    with pytest.raises(pa.ArrowInvalid):
        store.materialize()
    vanished.with_suffix(".sound").replace(vanished)
    with reading(settings) as reader:
        before = reader.read_state()
        store.materialize()

        assert reader.read_state() != before
        assert reader.read("user_profile", ["anna"], now=41.0) == [None]


def test_forgetting_where_nothing_was_published_removes_nothing(settings: Settings) -> None:
    assert FeatureStore(settings, PRODUCT, [PROFILE]).delete("user", "anna") == 0


def test_repeating_publication_and_materialisation_writes_nothing(settings: Settings, tmp_path: Path) -> None:
    store = publish(settings, tmp_path / "rows")

    changed = store.publish(tmp_path / "rows")
    store.apply()
    (again,) = store.materialize()

    assert (changed, again.num_rows, again.num_written) == (False, 4, 0)


def name_published(folder: Path) -> Path:
    """Return the file of the profiles that are published in the home in ``folder``."""
    return folder / "home" / "default" / "features" / PRODUCT / "offline" / "user_profile.parquet"


def test_interrupted_materialisation_goes_on_where_it_was(settings: Settings, tmp_path: Path) -> None:
    samples = [(f"user{n}", float(n), (n, None, None, None, None, None, None)) for n in range(100)]
    store = FeatureStore(settings, PRODUCT, [PROFILE], sizes=StepSizes(group_rows=10))
    store.publish(write_rows(tmp_path / "rows", samples))
    store.apply()
    damage_row_group(name_published(tmp_path), 6)

    with pytest.raises(OSError):
        store.materialize()
    mend(name_published(tmp_path))
    (rest,) = store.materialize()

    assert rest.num_written == 40
    with reading(settings) as reader:
        found = reader.read("user_profile", [f"user{n}" for n in range(100)], now=99.0)
    assert [row and row["num_events"] for row in found] == list(range(100))


def damage_row_group(path: Path, number: int) -> None:
    """Overwrite the values of ``num_events`` in one row group; keep the sound file beside it."""
    sound = path.read_bytes()
    path.with_suffix(".sound").write_bytes(sound)
    names = pq.read_schema(path).names
    column = pq.read_metadata(path).row_group(number).column(names.index("num_events"))
    start, size = column.dictionary_page_offset or column.data_page_offset, column.total_compressed_size
    path.write_bytes(sound[:start] + b"\xff" * size + sound[start + size :])


def mend(path: Path) -> None:
    path.with_suffix(".sound").replace(path)


@pytest.mark.parametrize("rows_per_pass", [7, 1_000])
def test_only_the_newest_row_of_each_entity_is_written(tmp_path: Path, rows_per_pass: int) -> None:
    samples = [(f"user{n % 17}", float(n), (n, None, None, None, None, None, None)) for n in range(100)]
    settings = Settings(home=tmp_path / "home")

    store = FeatureStore(settings, PRODUCT, [PROFILE], sizes=StepSizes(pass_rows=rows_per_pass))
    store.publish(write_rows(tmp_path / "rows", samples))
    store.apply()
    (written,) = store.materialize()

    assert written.num_written == 17
    with reading(settings) as reader:
        found = reader.read("user_profile", [f"user{n}" for n in range(17)], now=99.0)
    assert sorted(row["num_events"] for row in found if row) == list(range(83, 100))


def test_products_and_namespaces_do_not_see_each_other(settings: Settings, tmp_path: Path) -> None:
    """Feast finds keys by how they end: removing the sets of ``team/shop`` must leave ``my-team/shop`` alone."""
    other = settings.model_copy(update={"namespace": "my-default"})
    publish(settings, tmp_path / "rows")
    publish(other, tmp_path / "rows")
    publish(settings, tmp_path / "rows", product="my-shop")

    FeatureStore(settings, PRODUCT, []).apply()

    with reading(other) as theirs, reading(settings, "my-shop") as beside:
        assert theirs.read("user_profile", ["anna"], now=31.0) != [None]
        assert beside.read("user_profile", ["anna"], now=31.0) != [None]
        assert theirs.read("user_profile", ["nobody"], now=31.0) == [None]


def test_deleted_user_is_gone_offline_and_online_and_others_stay(settings: Settings, tmp_path: Path) -> None:
    store = publish(settings, tmp_path / "rows")

    num_removed = store.delete("user", "anna")

    with reading(settings) as reader:
        anna, ben = reader.read("user_profile", ["anna", "ben"], now=31.0)
    assert (num_removed, anna, ben is None) == (2, None, False)
    assert joined_rows(store, ask(["anna", "ben"], [31.0, 31.0]))[0] is None
    assert store.delete("user", "anna") == 0
    kept = [path for path in settings.root.rglob("*") if path.is_file() and "喜剧".encode() in path.read_bytes()]
    assert kept == []


def test_deleted_user_does_not_come_back_when_the_same_rows_are_published_again(
    settings: Settings, tmp_path: Path
) -> None:
    store = publish(settings, tmp_path / "rows")
    store.delete("user", "anna")

    publish(settings, tmp_path / "rows")

    with reading(settings) as reader:
        assert reader.read("user_profile", ["anna"], now=31.0) == [None]


def test_set_that_the_product_has_no_longer_is_removed(settings: Settings, tmp_path: Path) -> None:
    publish(settings, tmp_path / "rows")
    write_rows(tmp_path / "rows", [("film", 1.0, (9.0,))], PRICES)
    store = FeatureStore(settings, PRODUCT, [PRICES])

    store.publish(tmp_path / "rows")
    store.apply()
    store.materialize()

    assert [found.feature_set.name for found in store.list_sets()] == ["prices"]
    with reading(settings) as reader, pytest.raises(AssertionError):
        require_known(reader, "anna")


def require_known(reader: OnlineReader, user: str) -> None:
    """Fail unless the store answers and knows the user."""
    try:
        row = reader.read("user_profile", [user], now=31.0)[0]
    except FeatureStoreError as err:
        raise AssertionError(str(err)) from err
    assert row is not None


def test_unknown_set_names_the_nearest_online_and_offline(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    store = publish(settings, tmp_path / "rows")

    with reading(settings) as reader, pytest.raises(SpecError, match="Did you mean 'user_profile'"):
        reader.read("user_profil", ["anna"], now=31.0)
    with pytest.raises(SpecError, match="Did you mean 'user_profile'"):
        store.join(ask(["anna"], [31.0]), ["user_profiles"])


def test_rows_out_of_time_order_are_refused_and_nothing_changes(tmp_path: Path) -> None:
    store = publish(Settings(home=tmp_path / "home"), tmp_path / "rows")

    with pytest.raises(DataError, match=r"row 1 has the time 10\.0"):
        store.publish(write_rows(tmp_path / "bad", (SAMPLES[1], SAMPLES[0])))

    assert store.list_sets()[0].num_rows == len(SAMPLES)


def test_vector_of_another_length_is_refused(tmp_path: Path) -> None:
    store = FeatureStore(Settings(home=tmp_path / "home"), PRODUCT, [PROFILE])
    wrong: Sample = ("anna", 1.0, (1, 1.0, True, "", [], [], [1.0, 2.0, 3.0]))

    with pytest.raises(DataError, match="'taste' has vectors of 3 numbers, 2 are declared"):
        store.publish(write_rows(tmp_path / "rows", [wrong]))


def test_missing_rows_of_a_set_are_named(tmp_path: Path) -> None:
    store = FeatureStore(Settings(home=tmp_path / "home"), PRODUCT, [PROFILE])

    with pytest.raises(DataError, match="rows of feature set 'user_profile' are missing"):
        store.publish(tmp_path)


def test_reading_before_anything_was_published_says_so(tmp_path: Path) -> None:
    with reading(Settings(home=tmp_path / "home")) as reader, pytest.raises(FeatureStoreError, match="materialize"):
        reader.read("user_profile", ["anna"], now=1.0)


def test_sqlite_is_read_while_it_is_written(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    store = publish(settings, tmp_path / "rows")
    samples = [(f"user{n}", float(n), (n, None, None, None, None, None, None)) for n in range(3_000)]
    store.publish(write_rows(tmp_path / "many", [("anna", 0.0, SAMPLES[0][2]), *samples]))
    writer = threading.Thread(target=store.materialize)
    num_read = 0

    with reading(settings) as reader:
        writer.start()
        while writer.is_alive():
            assert reader.read("user_profile", ["anna"], now=50.0) != [None]
            num_read += 1
        writer.join(timeout=60)

        assert num_read > 5
        assert reader.read("user_profile", ["user2999"], now=3000.0) != [None]


def test_reader_is_shared_between_threads(settings: Settings, tmp_path: Path) -> None:
    publish(settings, tmp_path / "rows")
    expected = {name: as_row(values) for name, _, values in SAMPLES[2:]}
    wrong: list[Any] = []

    def read_many(reader: OnlineReader) -> None:
        for _ in range(100):
            rows = reader.read("user_profile", ["anna", "cem"], now=50.0)
            if rows != [expected["anna"], expected["cem"]]:
                wrong.append(rows)

    with reading(settings) as reader:
        threads = [threading.Thread(target=read_many, args=(reader,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)

    assert wrong == []


@pytest.mark.alone
def test_stopped_redis_fails_quickly_and_reading_recovers_by_itself(redis: RedisServer, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", online_store=redis.url)
    store = publish(settings, tmp_path / "rows")

    with reading(settings) as reader:
        require_known(reader, "anna")
        redis.stop()
        durations = [time_failure(reader) for _ in range(20)]
        redis.start()
        store.materialize()
        wait_for(lambda: is_known(reader, "anna"), timeout_s=10 * RETRY_AFTER_S)

    assert max(durations) < 2 * TIMEOUT_MS / 1000
    assert sum(durations[MAX_FAILURES:]) < TIMEOUT_MS / 1000


@pytest.mark.alone
def test_silent_redis_costs_the_deadline_a_few_times_only(redis: RedisServer, tmp_path: Path) -> None:
    """A machine that is gone does not refuse: it says nothing at all."""
    settings = Settings(home=tmp_path / "home", online_store=redis.url)
    publish(settings, tmp_path / "rows")

    with reading(settings) as reader, redis.silenced():
        durations = [time_failure(reader) for _ in range(20)]

    assert max(durations) < 3 * TIMEOUT_MS / 1000
    assert sum(durations[MAX_FAILURES:]) < TIMEOUT_MS / 1000


def test_redis_that_lost_everything_is_known_to_be_empty_and_is_refilled(redis: RedisServer, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", online_store=redis.url)
    store = publish(settings, tmp_path / "rows")

    with reading(settings) as reader:
        assert reader.read_state() is not None
        redis.stop()
        redis.start()
        was_empty = reader.read_state() is None
        (filled,) = store.materialize()

        assert (was_empty, filled.num_written, reader.read_state() is None) == (True, 3, False)
        require_known(reader, "anna")


def test_error_of_an_unreachable_redis_does_not_show_its_password(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, online_store="redis://:s3cret@127.0.0.1:1/0")

    with reading(settings) as reader, pytest.raises(FeatureStoreError, match=r"127\.0\.0\.1:1") as caught:
        reader.read("user_profile", ["anna"], now=1.0)

    assert "s3cret" not in str(caught.value)


def time_failure(reader: OnlineReader) -> float:
    """Return how long a read takes to fail, seconds."""
    started = time.monotonic()
    with pytest.raises(FeatureStoreError):
        reader.read("user_profile", ["anna"], now=31.0)
    return time.monotonic() - started


def is_known(reader: OnlineReader, user: str) -> bool:
    try:
        return reader.read("user_profile", [user], now=31.0) != [None]
    except FeatureStoreError:
        return False


def wait_for(condition: Callable[[], bool], *, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not recover"
