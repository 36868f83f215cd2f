from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from bundle_samples import write_bundle
from launchyard.adapters.mlflow import Registry
from launchyard.errors import RegistryError, SpecError
from launchyard.records.records import Records
from launchyard.records.tables import open_records
from launchyard.settings import Settings, load_settings, set_process_defaults
from launchyard.spec.load import load_spec


@pytest.fixture(autouse=True)
def _environment_as_before() -> Iterator[None]:
    """Undo what is set for the process: other tests start programs that are to import what lies beside them."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


def test_a_relative_home_means_the_folder_where_the_command_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    homes = [load_settings({}).home, Settings().home, load_settings({"LAUNCHYARD_HOME": "state"}).home]
    monkeypatch.chdir("/")

    assert homes == [tmp_path / ".launchyard", tmp_path / ".launchyard", tmp_path / "state"]


def test_a_home_that_cannot_be_written_into_a_file_is_refused(tmp_path: Path) -> None:
    home = tmp_path / os.fsdecode(b"caf\xe9")

    with pytest.raises(SpecError, match=r"LAUNCHYARD_HOME: '.*caf\\udce9' is not text in UTF-8\. Rename it, or set"):
        load_settings({"LAUNCHYARD_HOME": str(home)})
    (home / "product.yaml").parent.mkdir()
    with pytest.raises(SpecError, match=r"caf\\udce9/product.yaml' is not text in UTF-8"):
        load_spec(home)


def test_a_home_in_the_users_folder_is_expanded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    assert load_settings({"LAUNCHYARD_HOME": "~/state"}).home == tmp_path / "state"


@pytest.mark.parametrize("folder", ["a%2Fb", "a?b#c", "100% 标签"])
def test_all_state_lies_in_the_home_whatever_its_name(tmp_path: Path, folder: str) -> None:
    settings = Settings(home=tmp_path / folder / "home")

    Registry(settings).register(write_bundle(tmp_path / "bundle"))

    assert [path.name for path in tmp_path.iterdir() if path.name != "bundle"] == [folder]
    assert (settings.root / "records.db").stat().st_size > 0
    assert (settings.root / "mlflow.db").stat().st_size > 0


@pytest.mark.parametrize("folder", ["a%2Fb", "a?b"])
def test_records_that_an_earlier_version_put_beside_the_home_are_not_forgotten(tmp_path: Path, folder: str) -> None:
    settings = Settings(home=tmp_path / folder / "home")
    settings.root.mkdir(parents=True)
    misplaced = open_records(f"sqlite:///{settings.root / 'records.db'}")
    misplaced.dispose()

    with pytest.raises(RegistryError, match="Move them: mv ") as caught:
        Records(settings)

    subprocess.run(str(caught.value).partition("Move them: ")[2], shell=True, check=True)
    with closing(Records(settings)) as records:
        assert records.list_products() == []


@pytest.mark.parametrize(
    ("lower", "upper", "expected"),
    [
        ("", "", "localhost,127.0.0.1,::1"),
        ("", "intra.example", "intra.example,localhost,127.0.0.1,::1"),
        ("intra.example, localhost", "", "intra.example, localhost,localhost,127.0.0.1,::1"),
    ],
)
def test_loopback_is_added_to_what_no_proxy_is_asked_for(
    lower: str, upper: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("no_proxy", lower), ("NO_PROXY", upper)):
        monkeypatch.setenv(name, value)

    set_process_defaults()

    assert os.environ["no_proxy"] == expected


def test_a_module_in_the_working_folder_is_not_imported_by_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)

    set_process_defaults()

    assert os.environ["PYTHONSAFEPATH"] == "1"
