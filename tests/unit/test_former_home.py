"""Homes of older code, which kept ids as files and requests wrote them: see ``make_former_home``."""

from __future__ import annotations

import tarfile
from contextlib import closing
from pathlib import Path
from typing import cast

import pyarrow.parquet as pq
import pytest

from launchyard.bundle.store import BundleStore
from launchyard.contract.predictor import Device
from launchyard.contract.rows import Row
from launchyard.data.prepare import prepare_dataset
from launchyard.features.publishing import find_online_row, get_feature_set
from launchyard.kinds.recommendation.data.profiles import Profile
from launchyard.kinds.recommendation.predict.predict import RecommendationPredictor
from launchyard.kinds.recommendation.predict.request import ONLINE, OnlineFeatures
from launchyard.kinds.recommendation.predict.serving_state import RecommendationState
from launchyard.privacy.forget import Counts, find_user, forget_user
from launchyard.privacy.pseudonyms import name_user, pseudonymise
from launchyard.records.events import EventLog
from launchyard.records.records import Records
from launchyard.rollout.change import get_spec
from launchyard.settings import Settings
from make_former_home import USERS
from recommendation_samples import PRODUCT, make_linear_spec

ARCHIVE = Path(__file__).parents[1] / "golden" / "former_home.tar.xz"
NOW_WRITTEN = ("7000", "8000", "ren\u00e9")
"""The users of the home as their ids are written now."""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    return Settings(home=tmp_path / "home")


def get_key(settings: Settings) -> bytes:
    with closing(Records(settings)) as records:
        return records.get_signing_key()


def ask(settings: Settings, user: object, *, sent: str | None = None) -> Profile:
    """Return what a replica knows of a user whom a request names, after an event that it was sent perhaps."""
    folder = find_bundle(settings)
    predictor = RecommendationPredictor.load(folder, Device(1))
    row: Row = name_user(get_key(settings), PRODUCT, predictor.parse({"user": user}))
    with closing(RecommendationState.open(settings, get_spec(settings, PRODUCT), folder)) as state:
        if sent is not None:
            state.add_events([state.parse_event({"user": user, "item": sent})])
        return cast(OnlineFeatures, state.enrich([row])[0][ONLINE]).profile


def find_bundle(settings: Settings) -> Path:
    with closing(Records(settings)) as records:
        return BundleStore(settings).find_path(records.list_versions(PRODUCT)[0].bundle_uri)


@pytest.mark.parametrize(("former", "written"), list(zip(USERS, NOW_WRITTEN, strict=True)))
def test_a_person_of_an_older_home_is_found_and_forgotten_by_any_form_of_the_id(
    settings: Settings, former: str, written: str
) -> None:
    found = find_user(settings, PRODUCT, written)

    assert found == find_user(settings, PRODUCT, former)
    assert (found.now.events, found.now.feedback) == (2, 1)
    assert found.now.features > 0
    assert {remains.place for remains in found.later} == {"runs/tiny-films/20261101-110000"}
    assert found.learned == (1,)

    forget_user(settings, PRODUCT, written)

    assert find_user(settings, PRODUCT, former).now == Counts(0, 0, 0, 0)
    assert ask(settings, former).num_events == 0


@pytest.mark.parametrize("former", USERS)
def test_a_person_of_an_older_home_is_answered_with_what_it_holds(settings: Settings, former: str) -> None:
    assert ask(settings, former).num_events == 5
    assert ask(settings, former, sent="n9").recent_items[-1] == "n9"
    assert ask(settings, former).num_events == 6


def test_the_published_features_of_a_person_are_shown_for_any_form_of_the_id(settings: Settings) -> None:
    spec = get_spec(settings, PRODUCT)
    profiles = get_feature_set(spec, "user_profile")

    rows = [find_online_row(settings, spec, profiles, user) for user in (*USERS, *NOW_WRITTEN)]

    assert [None if row is None else row.values["num_events"] for row in rows] == [3] * 6


def test_the_next_preparation_joins_old_events_to_the_person_and_leaves_out_who_was_forgotten_by_older_code(
    settings: Settings, tmp_path: Path
) -> None:
    sources = settings.runs_dir(PRODUCT) / "20261101-110000" / "sources"
    key = get_key(settings)
    with closing(EventLog(settings, PRODUCT)) as log:
        # As older code noted it.
        (noted,) = set(find_user(settings, PRODUCT, "8000").formers)
        log.forget(noted)

    prepare_dataset(make_linear_spec(), settings, base_dir=sources, output_dir=tmp_path / "dataset")

    rows = pq.read_table(tmp_path / "dataset" / "test.parquet").to_pylist()
    histories = {row["user"]: len(row["events"]) + len(row["items"]) for row in rows}
    counts = [histories.get(pseudonymise(key, PRODUCT, user)) for user in NOW_WRITTEN]
    assert counts == [5, None, 5]
