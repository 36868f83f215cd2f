from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bundle_samples import write_bundle
from disk_calls import recording
from launchyard.bundle.store import BundleStore
from launchyard.errors import BundleError
from launchyard.settings import Settings

ADD_WITH_LITTLE_SPACE = """
import resource, sys
from pathlib import Path
from launchyard.bundle.store import BundleStore
from launchyard.errors import BundleError
from launchyard.settings import Settings

resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    BundleStore(Settings(home=Path(sys.argv[1]))).add(Path(sys.argv[2]))
except BundleError as err:
    sys.exit(str(err))
"""

DESCRIBE_WITH_LITTLE_SPACE = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from bundle_samples import describe_bundle
from launchyard.errors import BundleError

resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
try:
    describe_bundle(Path(sys.argv[1]))
except BundleError as err:
    sys.exit(str(err))
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


def visible_folders(settings: Settings) -> list[str]:
    return [path.name for path in settings.bundles_dir.iterdir() if path.is_dir()]


def test_a_stored_bundle_is_found_by_its_uri_and_survives_the_original(tmp_path: Path, settings: Settings) -> None:
    bundle = write_bundle(tmp_path / "b")
    store = BundleStore(settings)

    uri = store.add(bundle)
    (bundle / "preprocess.json").unlink()
    folder, manifest = store.open(uri)

    assert folder == settings.bundles_dir / manifest.digest
    assert uri == f"bundles/{manifest.digest}"


def test_a_version_that_is_recorded_has_its_bundle_even_after_a_power_cut(tmp_path: Path, settings: Settings) -> None:
    bundle = write_bundle(tmp_path / "b")

    with recording() as calls:
        uri = BundleStore(settings).add(bundle)

    stored, _ = BundleStore(settings).open(uri)
    synced = [path.name for name, path in calls if name == "fsync" and path is not None]
    assert {path.name for path in stored.rglob("*")} <= set(synced)
    (renamed,) = [place for place, (name, _) in enumerate(calls) if name == "rename"]
    assert calls[renamed + 1 :] == [("fsync", settings.bundles_dir)]
    assert {settings.home.parent.name, settings.home.name, settings.root.name} <= set(synced)


def test_the_home_folder_may_be_moved(tmp_path: Path, settings: Settings) -> None:
    uri = BundleStore(settings).add(write_bundle(tmp_path / "b"))
    moved = settings.home.rename(tmp_path / "elsewhere")

    folder, _ = BundleStore(Settings(home=moved)).open(uri)

    assert folder.is_relative_to(moved)


def test_adding_the_same_content_twice_keeps_one_folder(tmp_path: Path, settings: Settings) -> None:
    store = BundleStore(settings)
    bundle = write_bundle(tmp_path / "b")

    with ThreadPoolExecutor(4) as pool:
        uris = set(pool.map(store.add, [bundle] * 8))

    assert len(uris) == 1
    assert len(visible_folders(settings)) == 1


def test_a_damaged_copy_is_refused_and_replaced_when_the_bundle_is_added_again(
    tmp_path: Path, settings: Settings
) -> None:
    store = BundleStore(settings)
    bundle = write_bundle(tmp_path / "b")
    uri = store.add(bundle)
    (store.find_path(uri) / "preprocess.json").write_text("[]")

    with pytest.raises(BundleError, match=r"preprocess\.json was altered"):
        store.open(uri)
    store.add(bundle)

    store.open(uri)


def test_a_refused_bundle_is_not_stored(tmp_path: Path, settings: Settings) -> None:
    with pytest.raises(BundleError, match="no passing gate record"):
        BundleStore(settings).add(write_bundle(tmp_path / "b", accuracy=0.5))

    assert not settings.bundles_dir.exists()


@pytest.mark.parametrize("uri", ["bundles/../records", "s3://bucket/x", "bundles/", "abc"])
def test_what_is_no_bundle_uri_is_refused(settings: Settings, uri: str) -> None:
    with pytest.raises(BundleError, match="is not the URI of a bundle"):
        BundleStore(settings).find_path(uri)


def test_full_disk_while_a_bundle_is_stored_leaves_nothing_and_says_so(tmp_path: Path, settings: Settings) -> None:
    bundle = write_bundle(tmp_path / "b", weights=bytes(200_000))

    child = subprocess.run(
        [sys.executable, "-c", ADD_WITH_LITTLE_SPACE, settings.home, bundle],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert child.returncode == 1
    assert "the bundle cannot be stored: File too large. It needs 0.2 MiB" in child.stderr
    assert visible_folders(settings) == []


def test_full_disk_while_a_manifest_is_written_leaves_no_bundle(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b")
    (bundle / "bundle.json").unlink()
    tests_dir = Path(__file__).parent.parent

    child = subprocess.run(
        [sys.executable, "-c", DESCRIBE_WITH_LITTLE_SPACE, bundle, tests_dir],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert child.returncode == 1
    assert "cannot be written: File too large. Free some space" in child.stderr
    assert sorted(path.name for path in bundle.iterdir()) == [
        *("dataset.json", "evaluation.json", "model", "preprocess.json", "spec.json", "training.json")
    ]
