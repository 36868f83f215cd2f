"""Forgetting with real parts: a preparation, Feast's online store, a replica that runs."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from event_log_contract import wait_until
from feature_samples import RedisServer
from forget_samples import (
    ANN,
    BOB,
    PRODUCT,
    USERS,
    add_events,
    add_version,
    find_pseudonym,
    make_spec,
    read_everything,
)
from launchyard.data.prepare import prepare_dataset
from launchyard.features.publishing import find_online_row, get_feature_set, publish_features
from launchyard.privacy.forget import find_user, forget_user
from launchyard.records.events import EventLog
from launchyard.records.recent_events import RecentEvents
from launchyard.settings import Settings

pytestmark = pytest.mark.integration


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture(params=["sqlite", "redis"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """A home whose online features are in SQLite or in Redis."""
    url = request.getfixturevalue("redis").url if request.param == "redis" else None
    return Settings(home=tmp_path / "home", online_store=url)


def write_log(path: Path) -> None:
    """Write an interaction log of 40 users with 20 events each, of 15 items."""
    drawn = random.Random(7)
    lines = [f"{user},i{drawn.randrange(15)},{1_700_000_000 + number}" for number in range(20) for user in USERS]
    path.write_text("\n".join(["user,item,timestamp", *lines]) + "\n", encoding="utf-8")


def prepare(settings: Settings, folder: Path, run_id: str) -> Path:
    """Prepare the log in ``folder`` as a run does; return the data set."""
    output_dir = settings.runs_dir(PRODUCT) / run_id / "artifacts" / "dataset"
    output_dir.parent.mkdir(parents=True)
    prepare_dataset(make_spec(), settings, base_dir=folder, output_dir=output_dir)
    return output_dir


def has_profile(settings: Settings, user: str) -> bool:
    profile = get_feature_set(make_spec(), "user_profile")
    return find_online_row(settings, make_spec(), profile, user) is not None


def list_users(dataset_dir: Path) -> set[str]:
    return set(pq.read_table(dataset_dir / "train.parquet", columns=["user"])["user"].to_pylist())


def test_a_user_goes_from_everything_now_and_from_the_next_data_set(settings: Settings, tmp_path: Path) -> None:
    write_log(tmp_path / "log.csv")
    dataset_dir = prepare(settings, tmp_path, "run-1")
    add_version(settings, tmp_path / "bundle")
    publish_features(settings, make_spec(), dataset_dir)
    add_events(settings, ANN, "i1", "i2")
    ann, bob = find_pseudonym(settings, ANN), find_pseudonym(settings, BOB)
    assert has_profile(settings, ANN)
    assert {ann, bob} <= list_users(dataset_dir)

    with (
        closing(EventLog(settings, PRODUCT)) as log,
        closing(RecentEvents(log, max_events=5)) as recent,
    ):
        assert len(recent.history(ann)) == 2
        found = forget_user(settings, PRODUCT, ANN)
        seconds = wait_until(lambda: not recent.history(ann))

    assert seconds < 1.0
    assert found.now.events == 2
    assert found.now.features > 0
    assert [remains.place for remains in found.later] == ["runs/films/run-1"]
    assert not has_profile(settings, ANN)
    assert has_profile(settings, BOB)
    assert find_user(settings, PRODUCT, ANN).now.total == 0
    assert ann.encode() not in read_everything(settings.features_dir(PRODUCT))
    assert list_users(prepare(settings, tmp_path, "run-2")) == list_users(dataset_dir) - {ann}


def test_only_pseudonyms_are_written(settings: Settings, tmp_path: Path) -> None:
    write_log(tmp_path / "log.csv")
    publish_features(settings, make_spec(), prepare(settings, tmp_path, "run-1"))

    # Compressed columns hide what they hold from a look at the bytes.
    tables = [str(pq.read_table(path).to_pylist()) for path in settings.root.rglob("*.parquet")]
    content = read_everything(settings.root) + "".join(tables).encode()

    assert find_pseudonym(settings).encode() in content
    assert all(f"user-{number}".encode() not in content for number in range(40))


def test_features_that_a_redeployed_data_set_brings_back_are_not_those_of_a_forgotten_user(
    settings: Settings, tmp_path: Path
) -> None:
    write_log(tmp_path / "log.csv")
    dataset_dir = prepare(settings, tmp_path, "run-1")
    add_version(settings, tmp_path / "bundle")
    publish_features(settings, make_spec(), dataset_dir)
    forget_user(settings, PRODUCT, ANN)

    publish_features(settings, make_spec(), dataset_dir)

    assert not has_profile(settings, ANN)
    assert has_profile(settings, BOB)
