"""Sources that lie on this machine are used in place."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from launchyard.errors import SourceError
from launchyard.settings import Settings
from launchyard.sources import fetch


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
