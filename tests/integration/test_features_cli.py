"""Publishing with a release and the ``features`` commands, on a registered recommender."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bundle_samples import make_spec as make_classifier
from bundle_samples import write_bundle, write_content
from feature_samples import write_rows
from launchyard.bundle.manifest import open_bundle, write_manifest
from launchyard.bundle.store import BundleStore
from launchyard.cli.main import build_app
from launchyard.errors import SpecError
from launchyard.features.publishing import get_feature_sets, publish_features, refill_features
from launchyard.kinds.recommendation.spec import Recommendation
from launchyard.privacy.pseudonyms import pseudonymise
from launchyard.records.records import Records
from launchyard.settings import Settings

pytestmark = pytest.mark.integration

PRODUCT = "film-club"
SPEC = Recommendation.from_document(
    {
        "api": "launchyard/v1",
        "product": PRODUCT,
        "kind": "recommendation",
        "data": {"source": "events.csv", "interactions": {"user": "user", "item": "item", "timestamp": "at"}},
        "model": {"architecture": "popularity"},
        "features": {
            "sets": {
                "prices": {
                    "entity": "item",
                    "source": "prices.csv",
                    "key": "item",
                    "timestamp": "at",
                    "ttl_hours": 1.0,
                    "columns": {"price": {"column": "eur", "unit": "EUR"}},
                }
            }
        },
    }
)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A home where a version of the recommender is registered; nothing is published yet."""
    monkeypatch.setenv("LAUNCHYARD_HOME", str(tmp_path / "home"))
    settings = Settings(home=tmp_path / "home")
    write_content(tmp_path / "bundle", product=PRODUCT)
    write_manifest(
        tmp_path / "bundle", SPEC, namespace="default", run_id="run-1", code_version="0.1.0", base_model=None
    )
    Records(settings).add_version(open_bundle(tmp_path / "bundle"), BundleStore(settings).add(tmp_path / "bundle"))
    return settings


@pytest.fixture
def dataset_dir(settings: Settings, tmp_path: Path) -> Path:
    """A data set with one row of each feature set: of user 196 and of a film."""
    anna = pseudonymise(Records(settings).get_signing_key(), PRODUCT, "196")
    for feature_set in get_feature_sets(SPEC):
        key = anna if feature_set.entity == "user" else "film"
        values: list[Any] = [None] * len(feature_set.features)
        values[0] = 7
        write_rows(tmp_path / "dataset" / "features", [(key, 1_000.0, values)], feature_set)
    return tmp_path / "dataset"


def run(*arguments: str) -> str:
    result = CliRunner().invoke(build_app(), arguments, env={"COLUMNS": "200"}, catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def read_json(*arguments: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(run(*arguments, "--json"))
    return document


def test_publishing_brings_every_set_online_and_repeated_does_nothing(settings: Settings, dataset_dir: Path) -> None:
    first = publish_features(settings, SPEC, dataset_dir)
    again = publish_features(settings, SPEC, dataset_dir)

    assert {found.set_name for found in first} == {"user_profile", "item_statistics", "prices"}
    assert [found.num_written for found in (*first, *again)] == [1, 1, 1, 0, 0, 0]


def test_online_store_that_was_lost_is_refilled(settings: Settings, dataset_dir: Path) -> None:
    publish_features(settings, SPEC, dataset_dir)
    for path in settings.features_dir(PRODUCT).glob("online.db*"):
        path.unlink()

    filled = refill_features(settings, SPEC)

    assert [found.num_written for found in filled] == [1, 1, 1]


def test_kind_without_features_has_nothing_to_publish(tmp_path: Path) -> None:
    assert publish_features(Settings(home=tmp_path), make_classifier(), tmp_path) == ()
    with pytest.raises(SpecError, match="'text-classification' have no features"):
        get_feature_sets(make_classifier())


def test_list_shows_what_is_known_with_units_and_since_when(settings: Settings, dataset_dir: Path) -> None:
    publish_features(settings, SPEC, dataset_dir)

    shown = run("features", "list", PRODUCT)

    for part in ("user_profile", "1 rows, newest 1970-01-01 00:16 UTC; online", "num_events", "events", "EUR"):
        assert part in shown
    document = read_json("features", "list", PRODUCT)
    assert [found["is_online"] for found in document["sets"]] == [True] * 3


def test_get_finds_a_user_by_the_id_of_the_users_own_data(settings: Settings, dataset_dir: Path) -> None:
    publish_features(settings, SPEC, dataset_dir)

    document = read_json("features", "get", PRODUCT, "user_profile", "196")

    assert (document["values"]["num_events"], document["units"]["num_events"]) == (7, "events")
    assert (document["timestamp"], document["has_expired"]) == (1_000.0, False)
    assert document["age_s"] > 0
    assert "user '196': known since 1970-01-01 00:16 UTC" in run("features", "get", PRODUCT, "user_profile", "196")


def test_get_says_that_a_value_has_expired(settings: Settings, dataset_dir: Path) -> None:
    publish_features(settings, SPEC, dataset_dir)

    assert read_json("features", "get", PRODUCT, "prices", "film")["has_expired"] is True
    assert "expired: answers do without it" in run("features", "get", PRODUCT, "prices", "film")


def test_get_of_somebody_unknown_says_that_nothing_is_known(settings: Settings, dataset_dir: Path) -> None:
    publish_features(settings, SPEC, dataset_dir)

    assert run("features", "get", PRODUCT, "user_profile", "7") == "user_profile: nothing is known of user '7'.\n"
    assert read_json("features", "get", PRODUCT, "user_profile", "7")["values"] is None


@pytest.mark.parametrize("command", [["apply"], ["materialize", "--json"]])
def test_commands_need_no_bundle_to_be_released(settings: Settings, dataset_dir: Path, command: Sequence[str]) -> None:
    publish_features(settings, SPEC, dataset_dir)

    shown = run("features", command[0], PRODUCT, *command[1:])

    assert "user_profile" in shown


def test_unknown_set_and_product_without_features_are_wrong_usage(settings: Settings, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "classifier")
    version = Records(settings).add_version(open_bundle(bundle), BundleStore(settings).add(bundle))

    with pytest.raises(SpecError, match="Did you mean 'user_profile'"):
        run("features", "get", PRODUCT, "user_profil", "196")
    with pytest.raises(SpecError, match="have no features"):
        run("features", "list", version.product)
