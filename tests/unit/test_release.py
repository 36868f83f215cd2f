from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bundle_samples import PRODUCT, write_bundle
from launchyard.bundle.manifest import open_bundle
from launchyard.bundle.store import BundleStore
from launchyard.errors import BundleError, GateRefused, RegistryError, RunError
from launchyard.records.records import Records
from launchyard.rollout.change import release, release_compared, roll_back
from launchyard.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


def register(settings: Settings, folder: Path, weights: str) -> int:
    """Register without MLflow: what serves does not depend on it."""
    bundle = write_bundle(folder / weights, weights=weights.encode())
    uri = BundleStore(settings).add(bundle)
    return Records(settings).add_version(open_bundle(bundle), uri).version


def test_release_and_rollback_move_the_record_and_tell_why(settings: Settings, tmp_path: Path) -> None:
    for weights in ("one", "two"):
        version = register(settings, tmp_path, weights)
        release(settings, PRODUCT, version, actor="pipeline", run_id=f"run-{version}", reason="gates passed")

    rolled_back = roll_back(settings, PRODUCT, actor="ann", reason="complaints")

    assert rolled_back.champion is not None
    assert rolled_back.champion.version == 1
    assert Records(settings).find_rollout(PRODUCT) == rolled_back
    told = [
        (d.action, d.before, d.after.version, d.actor, d.reason, d.run_id) for d in Records(settings).history(PRODUCT)
    ]
    assert told == [
        ("promote", None, 1, "pipeline", "gates passed", "run-1"),
        ("promote", 1, 2, "pipeline", "gates passed", "run-2"),
        ("rollback", 2, 1, "ann", "complaints", None),
    ]


def test_releasing_what_serves_leaves_no_decision(settings: Settings, tmp_path: Path) -> None:
    version = register(settings, tmp_path, "one")

    first = release(settings, PRODUCT, version, actor="ann")
    again = release(settings, PRODUCT, version, actor="bob")

    assert first == again
    assert len(Records(settings).history(PRODUCT)) == 1


def test_many_releases_at_once_are_all_decided_one_after_the_other(settings: Settings, tmp_path: Path) -> None:
    versions = [register(settings, tmp_path, weights) for weights in ("one", "two", "three", "four")]

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda version: release(settings, PRODUCT, version, actor="ann"), versions))

    history = Records(settings).history(PRODUCT)
    assert sorted(decision.after.version for decision in history) == versions
    assert [decision.before for decision in history[1:]] == [decision.after.version for decision in history[:-1]]


def test_of_runs_that_were_compared_with_the_same_champion_one_is_deployed(settings: Settings, tmp_path: Path) -> None:
    versions = [register(settings, tmp_path, weights) for weights in ("one", "two", "three", "four")]

    def deploy(version: int) -> str | None:
        try:
            release_compared(settings, PRODUCT, version, actor="pipeline", run_id=f"run-{version}")
        except RunError as err:
            return str(err)
        return None

    with ThreadPoolExecutor(4) as pool:
        problems = list(pool.map(deploy, versions))

    (decision,) = Records(settings).history(PRODUCT)
    assert [version for version, problem in zip(versions, problems, strict=True) if problem is None] == [
        decision.after.version
    ]
    told = f"version {decision.after.version} serves now, but this model was compared with version none"
    assert sum(told in str(problem) for problem in problems) == 3
    assert deploy(decision.after.version) is None


def test_a_version_whose_bundle_was_damaged_does_not_serve(settings: Settings, tmp_path: Path) -> None:
    for weights in ("one", "two"):
        version = register(settings, tmp_path, weights)
    release(settings, PRODUCT, 1, actor="ann")
    (BundleStore(settings).find_path(Records(settings).get_version(PRODUCT, 2).bundle_uri) / "preprocess.json").unlink()

    with pytest.raises(BundleError, match=r"preprocess\.json is listed .* but missing"):
        release(settings, PRODUCT, version, actor="ann")

    rollout = Records(settings).find_rollout(PRODUCT)
    assert rollout is not None
    assert rollout.champion is not None
    assert rollout.champion.version == 1


def test_a_version_without_passing_gates_is_refused_with_exit_code_3(settings: Settings, tmp_path: Path) -> None:
    refused = open_bundle(write_bundle(tmp_path / "bad", accuracy=0.6), require_gate=False)
    Records(settings).add_version(refused, "bundles/bad")

    with pytest.raises(GateRefused, match=r"accuracy 0\.6 is not >= 0\.80") as caught:
        release(settings, PRODUCT, 1, actor="ann")

    assert caught.value.exit_code == 3
    assert Records(settings).find_rollout(PRODUCT) is None


def test_an_unknown_product_is_refused(settings: Settings) -> None:
    with pytest.raises(RegistryError, match="is not a product of this namespace"):
        release(settings, "nothing", 1, actor="ann")
    with pytest.raises(RegistryError, match="is not a product of this namespace"):
        roll_back(settings, "nothing", actor="ann")
