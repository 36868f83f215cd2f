"""The features of a version are published when it is released, and go when a user does."""

from __future__ import annotations

import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from event_log_contract import wait_until
from launchyard.bundle.store import BundleStore
from launchyard.errors import RegistryError
from launchyard.features.lock import releasing
from launchyard.features.publishing import find_online_row, get_feature_set
from launchyard.files.atomic import write_text
from launchyard.kinds.recommendation.data.event_rows import Events
from launchyard.kinds.recommendation.data.profiles import VECTOR_SIZE, ItemFacts, iter_profiles
from launchyard.kinds.recommendation.predict.request import ONLINE as KNOWN_KEY
from launchyard.kinds.recommendation.predict.request import OnlineFeatures
from launchyard.kinds.recommendation.predict.serving_state import RecommendationState
from launchyard.privacy.forget import find_user, forget_user
from launchyard.privacy.pseudonyms import pseudonymise
from launchyard.records.records import Records
from launchyard.rollout.change import get_spec, release, restore_features, roll_back
from launchyard.settings import Settings
from recommendation_samples import PRODUCT, deploy_recommender, make_linear_spec
from tiny_interactions import START_S, TASTES, list_events

ONLINE = "ana"


def deploy(settings: Settings, folder: Path, num_own: int) -> None:
    """Deploy a version trained on ``num_own`` events of the known user."""
    own = [
        {"who": ONLINE, "what": item, "when": START_S + place, "did": "view", "stars": 1, "device": "tv"}
        for place, item in enumerate(TASTES["noir"][:num_own])
    ]
    deploy_recommender(settings, folder, make_linear_spec(), [*list_events(), *own])


def count_events(settings: Settings) -> int | None:
    """Return how many events the online profile of the known user counts; None without a profile."""
    spec = get_spec(settings, PRODUCT)
    row = find_online_row(settings, spec, get_feature_set(spec, "user_profile"), ONLINE)
    return None if row is None else int(row.values["num_events"])


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with two released versions, the newer one trained on more; only copies of it are changed."""
    folder = tmp_path_factory.mktemp("releases")
    found = Settings(home=folder / "home")
    deploy(found, folder / "first", 3)
    deploy(found, folder / "second", 6)
    return found.home


@pytest.fixture
def settings(released: Path, tmp_path: Path) -> Settings:
    """A home of the test's own in which version 2 serves."""
    return Settings(home=shutil.copytree(released, tmp_path / "home"))


def test_releasing_and_taking_back_bring_each_versions_own_features(settings: Settings) -> None:
    newer = count_events(settings)
    roll_back(settings, PRODUCT, actor="test")
    older = count_events(settings)
    release(settings, PRODUCT, 2, actor="test")

    assert (newer, older, count_events(settings)) == (6, 3, 6)


KILLED_BEFORE_THE_RECORD = """
import os, sys
from pathlib import Path
from launchyard.records.records import Records
from launchyard.rollout.change import release
from launchyard.settings import Settings

Records.write_rollout = lambda *_: os.kill(os.getpid(), 9)
release(Settings(home=Path(sys.argv[1])), sys.argv[2], int(sys.argv[3]), actor="test")
"""


def test_a_release_killed_between_features_and_record_is_set_right(settings: Settings) -> None:
    release(settings, PRODUCT, 1, actor="test")
    assert (count_events(settings), restore_features(settings, PRODUCT)) == (3, False)
    command = [sys.executable, "-c", KILLED_BEFORE_THE_RECORD, str(settings.home), PRODUCT, "2"]

    killed = subprocess.run(command, timeout=120, check=False)

    assert killed.returncode == -9
    # The rows of version 2, under version 1 that still serves.
    assert count_events(settings) == 6
    assert restore_features(settings, PRODUCT)
    assert count_events(settings) == 3
    assert not restore_features(settings, PRODUCT)


def test_what_a_release_publishes_counts_for_users_in_memory_within_seconds(settings: Settings) -> None:
    spec, folder = get_spec(settings, PRODUCT), _find_champion(settings)
    row = {"user": pseudonymise(Records(settings).get_signing_key(), PRODUCT, ONLINE), "events": ()}

    with closing(RecommendationState.open(settings, spec, folder)) as state:

        def count() -> int:
            known: OnlineFeatures = state.enrich([row])[0][KNOWN_KEY]
            return known.profile.num_events

        wait_until(lambda: count() == 6)
        roll_back(settings, PRODUCT, actor="test")
        wait_until(lambda: count() == 3)


def _find_champion(settings: Settings) -> Path:
    rollout = Records(settings).find_rollout(PRODUCT)
    assert rollout is not None and rollout.champion is not None
    return BundleStore(settings).find_path(rollout.champion.bundle_uri)


def test_a_version_whose_features_are_gone_is_not_released_to_an_empty_store(settings: Settings) -> None:
    features = settings.features_dir(PRODUCT)
    for path in (*features.glob("versions/*/features/*"), *features.glob("offline/*")):
        path.unlink()
    for path in features.glob("versions/*"):
        (path / "features").rmdir()
        path.rmdir()

    with pytest.raises(RegistryError, match="are not kept any more, and none are published"):
        roll_back(settings, PRODUCT, actor="test")


def test_a_forgotten_user_is_in_the_features_of_no_version(settings: Settings) -> None:
    folder = settings.features_dir(PRODUCT)
    (published,) = (folder / "offline").glob("user_profile.parquet")
    (kept, *_) = (folder / "versions").iterdir()
    crashed = folder / ".offline.old.x1y2" / "offline"
    crashed.mkdir(parents=True)
    shutil.copy(published, crashed)
    table = pq.read_table(published)
    rows = table.rename_columns(["entity" if name == "user" else name for name in table.column_names])
    pq.write_table(rows, kept / "features" / "a_set_that_no_spec_has.parquet")
    pq.write_table(pq.read_table(published), folder / "offline" / "another_such_set.parquet")

    found = forget_user(settings, PRODUCT, ONLINE)

    paths = list(folder.rglob("*.parquet"))
    assert {path.name for path in paths} >= {"a_set_that_no_spec_has.parquet", "another_such_set.parquet"}
    assert found.now.features > 4
    assert not any(found.user in str(pq.read_table(path).to_pylist()) for path in paths)
    assert not crashed.exists()
    assert find_user(settings, PRODUCT, ONLINE).now.features == 0
    old_set = folder / "offline" / "another_such_set.parquet"
    assert pq.read_schema(old_set).metadata == table.schema.metadata
    assert count_events(settings) is None
    roll_back(settings, PRODUCT, actor="test")
    assert count_events(settings) is None


def test_a_release_that_is_under_way_is_left_alone(settings: Settings) -> None:
    write_text(settings.features_dir(PRODUCT) / "published", "0" * 64)

    with releasing(settings.features_dir(PRODUCT)):
        assert not restore_features(settings, PRODUCT)

    assert restore_features(settings, PRODUCT)


def test_nothing_in_a_profile_depends_on_the_vectors_of_a_version() -> None:
    times = np.array([1.0, 2.0, 3.0])
    codes = np.arange(3, dtype=np.int32)
    events = Events(codes * 0, codes, times, codes * 0, np.ones(3, np.float32), np.empty((0, 3), np.int32))
    rows = [
        [row for table in iter_profiles(events, ["a"], make_facts(seed), 10) for row in table.to_pylist()]
        for seed in (1, 2)
    ]

    assert rows[0] == rows[1]
    assert rows[0][0]["recent_items"] == ["i0", "i1", "i2"]


def make_facts(seed: int) -> ItemFacts:
    vectors_IV = np.random.default_rng(seed).normal(size=(3, VECTOR_SIZE)).astype(np.float32)
    return ItemFacts(["i0", "i1", "i2"], [["x"], ["y"], []], np.array([1.0, np.nan, 2.0]), vectors_IV)
