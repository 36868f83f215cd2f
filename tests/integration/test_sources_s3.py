"""S3 sources against a real S3 server in a process of its own."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from launchyard.errors import SourceError
from launchyard.settings import Settings
from launchyard.sources.fetch.remote import S3_CHUNK_BYTES
from launchyard.sources.forms.tables import iter_tables
from launchyard.sources.resolve import fetch

pytestmark = pytest.mark.integration

BASE = Path("/")
BODY = random.Random(7).randbytes(2 * S3_CHUNK_BYTES + 1_000)


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    log_path = tmp_path_factory.mktemp("s3") / "log"
    command = [sys.executable, "-u", "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    with log_path.open("w") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            assert process.stdout is not None
            address = None
            for line in process.stdout:
                log.write(line)
                if address := re.search(r"Running on (http://127\.0\.0\.1:\d+)", line):
                    break
            assert address is not None, log_path.read_text()
            yield address[1]
        finally:
            process.terminate()
            process.communicate(timeout=30)


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A file system rooted in an empty bucket named ``data``."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    files = fsspec.filesystem("s3", skip_instance_cache=True, use_listings_cache=False)
    if files.exists("data"):
        files.rm("data", recursive=True)
    files.mkdir("data")
    return files


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", timeout_s=10)


def test_an_object_is_fetched_and_only_a_changed_one_again(bucket: Any, settings: Settings) -> None:
    bucket.pipe_file("data/a.csv", b"text\nold\n")
    first = fetch("s3://data/a.csv", settings, base_dir=BASE)
    changed_at = first.path.stat().st_mtime_ns

    same = fetch("s3://data/a.csv", settings, base_dir=BASE)
    bucket.pipe_file("data/a.csv", b"text\nnew\n")
    new = fetch("s3://data/a.csv", settings, base_dir=BASE)

    assert first.path.read_bytes() == b"text\nold\n"
    assert same.path == first.path
    assert same.path.stat().st_mtime_ns == changed_at
    assert new.path.read_bytes() == b"text\nnew\n"


def test_a_prefix_is_a_folder_of_shards(bucket: Any, settings: Settings) -> None:
    bucket.pipe_file("data/reviews/2/b.csv", b"text\ntwo\n")
    bucket.pipe_file("data/reviews/1.csv", b"text\none\n")
    bucket.pipe_file("data/reviews-old/0.csv", b"text\nno\n")

    fetched = fetch("s3://data/reviews/", settings, base_dir=BASE)

    assert [row["text"] for table in iter_tables(fetched, None) for row in table.to_pylist()] == ["one", "two"]
    assert fetched.record.size_bytes == 18


def test_an_object_of_many_pieces_arrives_whole_and_is_told_on_the_way(bucket: Any, settings: Settings) -> None:
    bucket.pipe_file("data/model.bin", BODY)
    seen: list[tuple[int, int | None]] = []

    fetched = fetch("s3://data/model.bin", settings, base_dir=BASE, on_progress=lambda *progress: seen.append(progress))

    assert fetched.path.read_bytes() == BODY
    assert [done for done, _ in seen] == [0, S3_CHUNK_BYTES, 2 * S3_CHUNK_BYTES, len(BODY)]
    assert {total for _, total in seen} == {len(BODY)}


class CancelledError(Exception):
    """A test ends a fetch, as Ctrl-C does."""


def test_an_interrupted_fetch_goes_on_where_it_was(bucket: Any, settings: Settings) -> None:
    bucket.pipe_file("data/model.bin", BODY)
    seen: list[int] = []

    def cancel(done_bytes: int, _: int | None) -> None:
        if done_bytes >= S3_CHUNK_BYTES:
            raise CancelledError

    with pytest.raises(CancelledError):
        fetch("s3://data/model.bin", settings, base_dir=BASE, on_progress=cancel)
    fetched = fetch("s3://data/model.bin", settings, base_dir=BASE, on_progress=lambda done, _: seen.append(done))

    assert fetched.path.read_bytes() == BODY
    assert seen == [0, 2 * S3_CHUNK_BYTES, len(BODY)]


def test_an_object_that_changed_after_an_interruption_is_not_mixed(bucket: Any, settings: Settings) -> None:
    bucket.pipe_file("data/model.bin", BODY)

    def cancel(done_bytes: int, _: int | None) -> None:
        if done_bytes >= S3_CHUNK_BYTES:
            raise CancelledError

    with pytest.raises(CancelledError):
        fetch("s3://data/model.bin", settings, base_dir=BASE, on_progress=cancel)
    bucket.pipe_file("data/model.bin", BODY[::-1])

    assert fetch("s3://data/model.bin", settings, base_dir=BASE).path.read_bytes() == BODY[::-1]


def test_an_object_over_the_limit_is_refused_before_it_is_fetched(bucket: Any, tmp_path: Path) -> None:
    bucket.pipe_file("data/model.bin", BODY)

    with pytest.raises(SourceError, match="too large"):
        fetch("s3://data/model.bin", Settings(home=tmp_path, max_download_bytes=1_000), base_dir=BASE)

    assert not list(tmp_path.rglob("model.bin"))


@pytest.mark.parametrize("uri", ["s3://data/none.csv", "s3://no-such-bucket/a.csv"])
def test_what_is_not_there_is_told(bucket: Any, settings: Settings, uri: str) -> None:
    with pytest.raises(SourceError, match=r"no such bucket, object or prefix|no object below this prefix"):
        fetch(uri, settings, base_dir=BASE)


def test_a_server_that_cannot_be_reached_is_told_in_time(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")

    with pytest.raises(SourceError, match="S3 cannot be reached"):
        fetch("s3://data/a.csv", settings, base_dir=BASE)


def test_missing_credentials_are_told(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(settings.home))

    with pytest.raises(SourceError, match=r"credentials.*Check network and AWS settings"):
        fetch("s3://data/a.csv", settings, base_dir=BASE)
