"""Web sources against a real server: resuming, revalidating, limits, refusals."""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from launchyard.errors import SourceError
from launchyard.settings import Settings
from launchyard.sources.fetch.remote import CHUNK_BYTES
from launchyard.sources.forms.tables import iter_tables
from launchyard.sources.resolve import fetch
from launchyard.sources.uri import parse_uri
from web_server import Page, WebServer, serve_web

pytestmark = pytest.mark.integration

BODY = random.Random(7).randbytes(3_000_000)
DIGEST = hashlib.sha256(BODY).hexdigest()
BASE = Path("/")


@pytest.fixture
def web() -> Iterator[WebServer]:
    with serve_web() as server:
        yield server


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", timeout_s=5)


def test_a_file_is_fetched_once_and_then_asked_about(web: WebServer, settings: Settings) -> None:
    web.pages["/data/a.csv"] = Page(b"text\nfine\n")

    first = fetch(f"{web.url}/data/a.csv?version=3", settings, base_dir=BASE)
    again = fetch(f"{web.url}/data/a.csv?version=3", settings, base_dir=BASE)

    assert first == again
    assert first.path.name == "a.csv"
    assert first.record.sha256 == hashlib.sha256(b"text\nfine\n").hexdigest()
    assert len(web.requests) == 2
    assert [row for table in iter_tables(first, None) for row in table.to_pylist()] == [{"text": "fine"}]


@pytest.mark.parametrize("name", ["key", "signal", "author", "token"])
def test_an_address_is_never_served_what_another_gave(
    web: WebServer, settings: Settings, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    # A server that dates all its files alike answers "not modified" to whoever asks by the date.
    headers = {"Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}
    for value in ("train.csv", "test.csv"):
        web.pages[f"/get?{name}={value}"] = Page(f"text\n{value}\n".encode(), headers=headers, has_etag=False)

    def read(uri: str) -> bytes:
        return fetch(uri, settings, base_dir=BASE).path.read_bytes()

    assert read(f"{web.url}/get?{name}=train.csv") == b"text\ntrain.csv\n"
    assert read(f"{web.url}/get?{name}=test.csv") == b"text\ntest.csv\n"
    for value in ("train.csv", "test.csv"):
        monkeypatch.setenv("WHICH", value)
        assert read(f"{web.url}/get?{name}=${{WHICH}}") == f"text\n{value}\n".encode()


def test_no_file_of_the_cache_names_a_secret(web: WebServer, settings: Settings) -> None:
    web.pages["/a.csv"] = Page(b"text\nfine\n")

    fetch(f"{web.url.replace('://', '://me:hunter2@')}/a.csv?token=hunter2", settings, base_dir=BASE)

    files = [path for path in settings.cache_dir.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if b"hunter2" in path.read_bytes() or "hunter2" in path.name]


def test_a_changed_file_is_fetched_again(web: WebServer, settings: Settings) -> None:
    web.pages["/a.csv"] = Page(b"text\nold\n")
    old = fetch(f"{web.url}/a.csv", settings, base_dir=BASE)

    web.pages["/a.csv"] = Page(b"text\nnew\n")
    new = fetch(f"{web.url}/a.csv", settings, base_dir=BASE)

    assert (old.path.read_bytes(), new.path.read_bytes()) == (b"text\nold\n", b"text\nnew\n")


def test_a_pinned_file_in_the_cache_needs_no_network(web: WebServer, settings: Settings) -> None:
    web.pages["/a.bin"] = Page(BODY)
    uri = f"{web.url}/a.bin#sha256={DIGEST}"
    fetch(uri, settings, base_dir=BASE)

    del web.pages["/a.bin"]

    assert fetch(uri, settings, base_dir=BASE).path.read_bytes() == BODY
    assert len(web.requests) == 1


def test_a_broken_connection_is_gone_on_from_where_it_broke(web: WebServer, settings: Settings) -> None:
    web.pages["/a.bin"] = Page(BODY, cuts=[16 * CHUNK_BYTES, 20 * CHUNK_BYTES])
    seen: list[tuple[int, int | None]] = []

    fetched = fetch(f"{web.url}/a.bin", settings, base_dir=BASE, on_progress=lambda *progress: seen.append(progress))

    assert fetched.record.sha256 == DIGEST
    assert [wanted for _, _, wanted in web.requests] == [
        None,
        f"bytes={16 * CHUNK_BYTES}-",
        f"bytes={36 * CHUNK_BYTES}-",
    ]
    assert seen[-1] == (len(BODY), len(BODY))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_a_later_call_goes_on_from_what_an_earlier_one_left(web: WebServer, settings: Settings) -> None:
    web.pages["/a.bin"] = Page(BODY, cuts=[10 * CHUNK_BYTES + 5] + [0] * 4)
    with pytest.raises(SourceError, match="goes on from 655,360 bytes"):
        fetch(f"{web.url}/a.bin", settings, base_dir=BASE)

    assert fetch(f"{web.url}/a.bin", settings, base_dir=BASE).record.sha256 == DIGEST
    assert web.requests[-1][2] == "bytes=655360-"


@pytest.mark.parametrize(("has_etag", "supports_range"), [(False, True), (True, False)])
def test_a_server_that_cannot_resume_starts_again(
    web: WebServer, settings: Settings, has_etag: bool, supports_range: bool
) -> None:
    web.pages["/a.bin"] = Page(BODY, cuts=[1_000_000], has_etag=has_etag, supports_range=supports_range)

    assert fetch(f"{web.url}/a.bin", settings, base_dir=BASE).record.sha256 == DIGEST


def test_a_file_that_changes_between_the_pieces_is_not_mixed(web: WebServer, settings: Settings) -> None:
    web.pages["/a.bin"] = Page(BODY, cuts=[1_000_000] + [0] * 4)
    with pytest.raises(SourceError, match="broke 5 times"):
        fetch(f"{web.url}/a.bin", settings, base_dir=BASE)

    web.pages["/a.bin"] = Page(BODY[::-1])

    assert fetch(f"{web.url}/a.bin", settings, base_dir=BASE).path.read_bytes() == BODY[::-1]


@pytest.mark.parametrize("is_endless", [False, True])
def test_a_download_over_the_limit_is_stopped(web: WebServer, tmp_path: Path, is_endless: bool) -> None:
    web.pages["/a.bin"] = Page(BODY, has_etag=False, is_endless=is_endless)
    settings = Settings(home=tmp_path, max_download_bytes=2_000_000)

    with pytest.raises(SourceError, match=r"too large.*LAUNCHYARD_MAX_DOWNLOAD_BYTES"):
        fetch(f"{web.url}/a.bin", settings, base_dir=BASE)

    assert not list(tmp_path.rglob("a.bin"))
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) <= 3_000_000


def test_other_content_than_pinned_leaves_nothing_behind(web: WebServer, settings: Settings) -> None:
    web.pages["/a.bin"] = Page(BODY)

    with pytest.raises(SourceError, match=f"expected sha256 {'0' * 64}, got {DIGEST}"):
        fetch(f"{web.url}/a.bin#sha256={'0' * 64}", settings, base_dir=BASE)

    assert not [path for path in settings.cache_dir.rglob("*") if path.is_file() and path.stat().st_size == len(BODY)]
    assert fetch(f"{web.url}/a.bin#sha256={DIGEST}", settings, base_dir=BASE).record.sha256 == DIGEST


def test_a_full_disk_is_told_and_the_next_fetch_succeeds(web: WebServer, settings: Settings) -> None:
    web.pages["/a.bin"] = Page(BODY)
    uri = f"{web.url}/a.bin"
    workspace = settings.cache_dir / "partial" / hashlib.sha256(parse_uri(uri).identify().encode()).hexdigest()
    workspace.mkdir(parents=True)
    # Every write to this device fails for want of space, as on a full disk.
    (workspace / "part").symlink_to("/dev/full")

    with pytest.raises(SourceError, match=r"No space left on device\. Free some space"):
        fetch(uri, settings, base_dir=BASE)

    assert not list((settings.cache_dir / "objects").iterdir())
    assert fetch(uri, settings, base_dir=BASE).record.sha256 == DIGEST


@pytest.mark.parametrize(
    ("status", "expected"),
    [(401, "asks for a login"), (403, "refuses access"), (404, "nothing at this address"), (500, "the server failed")],
)
def test_an_error_of_the_server_is_explained(web: WebServer, settings: Settings, status: int, expected: str) -> None:
    web.pages["/a.csv"] = Page(b"no", status, has_etag=False)

    with pytest.raises(SourceError, match=f"HTTP {status}: .*{expected}"):
        fetch(f"{web.url}/a.csv", settings, base_dir=BASE)


def test_a_server_that_does_not_answer_is_given_up_in_time(web: WebServer, tmp_path: Path) -> None:
    web.pages["/a.csv"] = Page(b"text\n", hang=threading.Event())
    started = time.monotonic()

    with pytest.raises(SourceError, match=r"no answer within 0\.5 s.*LAUNCHYARD_TIMEOUT_S"):
        fetch(f"{web.url}/a.csv", Settings(home=tmp_path, timeout_s=0.5), base_dir=BASE)

    assert time.monotonic() - started < 10


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9/a.csv", "https://no-such-host.invalid/a.csv"])
def test_a_host_that_cannot_be_reached_is_told(settings: Settings, uri: str) -> None:
    with pytest.raises(SourceError, match="the host cannot be reached"):
        fetch(uri, settings, base_dir=BASE)


def test_a_token_from_the_environment_is_sent_and_kept_nowhere(
    web: WebServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    web.pages["/a.csv?token=s%263cret"] = Page(b"text\nfine\n")
    monkeypatch.setenv("DATA_TOKEN", "s&3cret")

    fetched = fetch(f"{web.url}/a.csv?token=${{DATA_TOKEN}}", settings, base_dir=BASE)

    assert fetched.record.uri == f"{web.url}/a.csv?token=${{DATA_TOKEN}}"
    kept = [path.read_text() for path in settings.cache_dir.rglob("*") if path.is_file()]
    assert not [text for text in kept if "3cret" in text]


def test_an_error_does_not_show_a_literal_secret(settings: Settings) -> None:
    with pytest.raises(SourceError) as caught:
        fetch("http://me:hunter2@127.0.0.1:9/a.csv?api_key=hunter3", settings, base_dir=BASE)

    assert "hunter" not in str(caught.value)
