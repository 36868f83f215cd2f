"""Sources that lie on this machine are used in place."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from launchyard.errors import SourceError
from launchyard.settings import Settings
from launchyard.sources.forms.tables import iter_tables
from launchyard.sources.paths import describe_state, make_absolute
from launchyard.sources.resolve import fetch
from launchyard.sources.uri import parse_uri


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


def test_a_relative_path_starts_at_the_spec(tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "reviews.csv").write_text("text\nfine\n")

    fetched = fetch("reviews.csv", settings, base_dir=tmp_path)

    assert fetched.path == tmp_path / "reviews.csv"
    assert fetched.record.uri == "reviews.csv"
    assert fetched.record.sha256 == hashlib.sha256(b"text\nfine\n").hexdigest()
    assert fetched.record.size_bytes == 10
    assert not settings.cache_dir.exists()


def test_a_file_uri_is_percent_decoded(tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "my reviews.csv").write_text("text\nfine\n")

    fetched = fetch(f"file://{tmp_path}/my%20reviews.csv", settings, base_dir=Path("/"))

    assert fetched.path == tmp_path / "my reviews.csv"


def test_a_file_uri_with_two_slashes_says_what_to_write(settings: Settings) -> None:
    with pytest.raises(SourceError, match="three slashes"):
        fetch("file://reviews.csv", settings, base_dir=Path("/"))


def test_a_missing_file_names_the_nearest(tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "reviews.csv").write_text("text\n")

    with pytest.raises(SourceError, match=r"review\.csv: no such file.*Did you mean 'reviews\.csv'\?"):
        fetch("review.csv", settings, base_dir=tmp_path)


def test_a_missing_folder_says_where_paths_start(tmp_path: Path, settings: Settings) -> None:
    with pytest.raises(SourceError, match=f"Relative paths start at {tmp_path}"):
        fetch("data/reviews.csv", settings, base_dir=tmp_path)


def test_a_link_keeps_its_own_name(tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "0a1b2c").write_text("text\nfine\n")
    (tmp_path / "reviews.csv").symlink_to("0a1b2c")

    fetched = fetch(make_absolute("reviews.csv", tmp_path), settings, base_dir=Path("/"))

    assert fetched.path.name == "reviews.csv"
    assert next(iter_tables(fetched, None)).to_pydict() == {"text": ["fine"]}


def test_files_behind_linked_folders_are_read(tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "a.csv").write_text("text\nfine\n")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "part").symlink_to("../store")
    (tmp_path / "data" / ".#a.csv").symlink_to("me@host.1:2")

    fetched = fetch("data", settings, base_dir=tmp_path)

    assert next(iter_tables(fetched, None)).to_pydict() == {"text": ["fine"]}
    content = (tmp_path / "store" / "a.csv").read_bytes()
    listing = f"{hashlib.sha256(content).hexdigest()}  part/a.csv\n"
    assert fetched.record.sha256 == hashlib.sha256(listing.encode()).hexdigest()


def test_a_link_in_a_circle_is_refused(tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "data" / "inner").mkdir(parents=True)
    (tmp_path / "data" / "a.csv").write_text("text\nfine\n")
    (tmp_path / "data" / "inner" / "again").symlink_to("../../data")

    with pytest.raises(SourceError, match=r"again: a link that leads back to a folder above it\. Remove the link"):
        fetch("data", settings, base_dir=tmp_path)


@pytest.mark.parametrize("target", ["gone.csv", "b.csv"])
def test_a_link_to_nothing_is_refused(tmp_path: Path, settings: Settings, target: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.csv").write_text("text\nfine\n")
    (tmp_path / "data" / "b.csv").symlink_to(target)

    for source in ("data", "data/b.csv"):
        with pytest.raises(SourceError, match=r"a link to nothing\. Fetch what it stands for"):
            fetch(source, settings, base_dir=tmp_path)


def test_a_tilde_is_the_users_home_in_every_place(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    spec_dir = tmp_path / "spec"
    (spec_dir / "~").mkdir(parents=True)
    (spec_dir / "~" / "a.csv").write_text("text\nin the folder\n")
    (spec_dir / "~nobody-by-that-name.csv").write_text("text\nby that name\n")
    (tmp_path / "a.csv").write_text("text\nat home\n")

    def read(source: str) -> object:
        there = fetch(source, settings, base_dir=spec_dir)
        assert fetch(make_absolute(source, spec_dir), settings, base_dir=Path("/")).path == there.path
        return next(iter_tables(there, None))["text"].to_pylist()

    assert read("~/a.csv#encoding=utf-8") == ["at home"]
    assert read("./~/a.csv") == ["in the folder"]
    assert read("~nobody-by-that-name.csv") == ["by that name"]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a.csv#encoding=latin-1&header=text,the label", "{base}/a.csv#encoding=latin-1&header=text,the label"),
        ("sub/../C#/a.csv", "{base}/C#/a.csv"),
        ("/srv/a.csv", "/srv/a.csv"),
        ("file:///srv/my%20a.csv", "file:///srv/my%20a.csv"),
        ("https://host/a.csv?x=~/b", "https://host/a.csv?x=~/b"),
        ("sql://sqlite:///s.db?query=SELECT 1#columns=a", "sql://sqlite:///{base}/s.db?query=SELECT 1#columns=a"),
        ("sql://sqlite+pysqlite:///s.db?query=SELECT 1", "sql://sqlite+pysqlite:///{base}/s.db?query=SELECT 1"),
        ("sql://sqlite:///in/${DAY}.db?query=SELECT 1", "sql://sqlite:///{base}/in/${DAY}.db?query=SELECT 1"),
        ("sql://sqlite:///~/s.db?query=SELECT 1", "sql://sqlite:////home/me/s.db?query=SELECT 1"),
        ("sql://sqlite:///${FILE}?query=SELECT 1", "sql://sqlite:///${FILE}?query=SELECT 1"),
        ("sql://sqlite:////srv/s.db?query=SELECT 1", "sql://sqlite:////srv/s.db?query=SELECT 1"),
        ("sql://${DB}?query=SELECT 1", "sql://${DB}?query=SELECT 1"),
        ("sql://postgresql://me@host/db?query=SELECT 1", "sql://postgresql://me@host/db?query=SELECT 1"),
    ],
)
def test_a_source_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, expected: str) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    (tmp_path / "sub").mkdir()

    assert make_absolute(source, tmp_path) == expected.replace("{base}", str(tmp_path))


@pytest.mark.parametrize("folder", ["plain", "a%2Fb", "a?b", "a b#c"])
def test_a_database_file_is_found_from_the_spec_in_every_step(tmp_path: Path, settings: Settings, folder: str) -> None:
    (tmp_path / folder).mkdir()
    with closing(sqlite3.connect(tmp_path / folder / "shop.db")) as connection, connection:
        connection.execute("CREATE TABLE reviews (text TEXT)")
        connection.execute("INSERT INTO reviews VALUES ('fine')")
    source = "sql://sqlite:///shop.db?query=SELECT text FROM reviews"

    fetched = fetch(make_absolute(source, tmp_path / folder), settings, base_dir=Path("/"))

    assert next(iter_tables(fetched, None)).to_pydict() == {"text": ["fine"]}


def test_a_relative_database_path_in_the_environment_is_refused(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP", "sqlite:///shop.db")

    with pytest.raises(SourceError, match=r"the path in the environment must be absolute, got 'shop\.db'"):
        fetch("sql://${SHOP}?query=SELECT 1", settings, base_dir=tmp_path)


def _swap(path: Path) -> None:
    path.write_text(path.read_text().replace("good", "evil"))


def _restore_time(path: Path) -> None:
    state = path.stat()
    _swap(path)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def _relink(path: Path) -> None:
    path.with_name("other").write_bytes(path.read_bytes())
    path.rename(path.with_name("blob"))
    path.symlink_to("other")


@pytest.mark.parametrize(
    "source",
    [
        "rows.csv",
        "rows.csv#encoding=utf-8",
        "rows.csv#format=csv&header=text",
        "file://{base}/my%20data/rows.csv",
        "~/my data/rows.csv",
        ".",
    ],
)
@pytest.mark.parametrize("change", [_swap, _restore_time, _relink])
def test_the_state_of_a_local_source_changes_with_its_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, change: Callable[[Path], None]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    base = tmp_path / "my data"
    base.mkdir()
    (base / "rows.csv").write_text("text\ngood\n")
    uri = parse_uri(source.format(base=tmp_path))
    before = describe_state(uri, base)
    assert describe_state(uri, base) == before

    change(base / "rows.csv")

    assert describe_state(uri, base) != before


def test_the_state_of_a_folder_holds_the_names_of_its_files(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "a.csv").write_text("text\n")
    before = describe_state(parse_uri("data"), tmp_path)

    (folder / "a.csv").rename(folder / "b.csv")

    assert describe_state(parse_uri("data"), tmp_path) != before


def test_a_source_that_is_not_there_has_no_state(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such file or folder"):
        describe_state(parse_uri("rows.csv#encoding=utf-8"), tmp_path)


def test_a_pipe_is_no_source(tmp_path: Path, settings: Settings) -> None:
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(SourceError, match="neither a file nor a folder"):
        fetch("pipe", settings, base_dir=tmp_path)


def test_the_digest_of_a_folder_is_that_of_its_listing(tmp_path: Path, settings: Settings) -> None:
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / "b.txt").write_text("b")
    (folder / "sub" / "a.txt").write_text("a")
    listing = f"{hashlib.sha256(b'b').hexdigest()}  b.txt\n{hashlib.sha256(b'a').hexdigest()}  sub/a.txt\n"

    record = fetch("model", settings, base_dir=tmp_path).record

    assert record.sha256 == hashlib.sha256(listing.encode()).hexdigest()
    assert record.size_bytes == 2


def test_a_pinned_path_with_other_content_names_both_digests(tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "a.csv").write_text("text\n")
    expected, got = "0" * 64, hashlib.sha256(b"text\n").hexdigest()

    with pytest.raises(SourceError, match=f"expected sha256 {expected}, got {got}"):
        fetch(f"a.csv#sha256={expected}", settings, base_dir=tmp_path)


def test_a_changed_file_has_a_new_digest_in_the_same_process(tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "a.csv").write_text("text\none\n")
    before = fetch("a.csv", settings, base_dir=tmp_path).record.sha256

    (tmp_path / "a.csv").write_text("text\nthree\n")

    assert fetch("a.csv", settings, base_dir=tmp_path).record.sha256 != before


def test_an_empty_folder_is_an_error(tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "empty").mkdir()

    with pytest.raises(SourceError, match="holds no file"):
        fetch("empty", settings, base_dir=tmp_path)


def test_a_malformed_source_is_a_source_error(tmp_path: Path, settings: Settings) -> None:
    with pytest.raises(SourceError, match="'ftp://' is not a source"):
        fetch("ftp://host/a.csv", settings, base_dir=tmp_path)
