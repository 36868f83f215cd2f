"""The features of a version are published when it is released, and go when a user does."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from event_log_contract import wait_until
from launchyard.bundle_store import BundleStore
from launchyard.errors import RegistryError
from launchyard.feature_publishing import find_online_row, get_feature_set
from launchyard.forget import find_user, forget_user
from launchyard.identity import pseudonymise
from launchyard.kinds.recommendation.request import KNOWN as KNOWN_KEY
from launchyard.kinds.recommendation.request import Known
from launchyard.kinds.recommendation.resources import RecommendationResources
from launchyard.records import Records
from launchyard.release import get_spec, release, roll_back
from launchyard.settings import Settings
from recommendation_samples import PRODUCT, deploy_recommender, make_linear_spec
from tiny_interactions import START_S, TASTES, list_events

KNOWN = "ana"


def deploy(settings: Settings, folder: Path, num_own: int) -> None:
    """Deploy a version trained on ``num_own`` events of the known user."""
    own = [
        {"who": KNOWN, "what": item, "when": START_S + place, "did": "view", "stars": 1, "device": "tv"}
        for place, item in enumerate(TASTES["noir"][:num_own])
    ]
    deploy_recommender(settings, folder, make_linear_spec(), [*list_events(), *own])


def count_events(settings: Settings) -> int | None:
    """Return how many events the online profile of the known user counts; None without a profile."""
    spec = get_spec(settings, PRODUCT)
    row = find_online_row(settings, spec, get_feature_set(spec, "user_profile"), KNOWN)
    return None if row is None else int(row.values["num_events"])


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A home with two released versions, the newer one trained on more."""
    folder = tmp_path_factory.mktemp("releases")
    found = Settings(home=folder / "home")
    deploy(found, folder / "first", 3)
    deploy(found, folder / "second", 6)
    return found


def test_releasing_and_taking_back_bring_each_versions_own_features(settings: Settings) -> None:
    newer = count_events(settings)
    roll_back(settings, PRODUCT, actor="test")
    older = count_events(settings)
    release(settings, PRODUCT, 2, actor="test")

    assert (newer, older, count_events(settings)) == (6, 3, 6)


def test_what_a_release_publishes_counts_for_users_in_memory_within_seconds(settings: Settings) -> None:
    release(settings, PRODUCT, 2, actor="test")
    spec, folder = get_spec(settings, PRODUCT), _find_champion(settings)
    row = {"user": pseudonymise(Records(settings).get_signing_key(), PRODUCT, KNOWN), "events": ()}

    with closing(RecommendationResources.open(settings, spec, folder)) as resources:

        def count() -> int:
            known: Known = resources.enrich([row])[0][KNOWN_KEY]
            return known.profile.num_events

        wait_until(lambda: count() == 6)
        roll_back(settings, PRODUCT, actor="test")
        wait_until(lambda: count() == 3)
    release(settings, PRODUCT, 2, actor="test")


def _find_champion(settings: Settings) -> Path:
    rollout = Records(settings).find_rollout(PRODUCT)
    assert rollout is not None and rollout.champion is not None
    return BundleStore(settings).find_path(rollout.champion.bundle_uri)


def test_a_version_whose_features_are_gone_is_not_released_to_an_empty_store(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("gone")
    found = Settings(home=folder / "home")
    deploy(found, folder / "first", 3)
    deploy(found, folder / "second", 4)
    features = found.features_dir(PRODUCT)
    for path in (*features.glob("versions/*/features/*"), *features.glob("offline/*")):
        path.unlink()
    for path in features.glob("versions/*"):
        (path / "features").rmdir()
        path.rmdir()

    with pytest.raises(RegistryError, match="are not kept any more, and none are published"):
        roll_back(found, PRODUCT, actor="test")


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

    found = forget_user(settings, PRODUCT, KNOWN)

    paths = list(folder.rglob("*.parquet"))
    assert {path.name for path in paths} >= {"a_set_that_no_spec_has.parquet", "another_such_set.parquet"}
    assert found.now.features > 4
    assert not any(found.user in str(pq.read_table(path).to_pylist()) for path in paths)
    assert not crashed.exists()
    assert find_user(settings, PRODUCT, KNOWN).now.features == 0
    old_set = folder / "offline" / "another_such_set.parquet"
    assert pq.read_schema(old_set).metadata == table.schema.metadata
    assert count_events(settings) is None
    roll_back(settings, PRODUCT, actor="test")
    assert count_events(settings) is None
