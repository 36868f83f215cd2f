"""The content-addressed cache."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from launchyard.cli.main import build_app
from launchyard.errors import SourceError
from launchyard.sources.fetch.cache import Cache, Download, Entry, EntryQuery

CONTENT = b"text,label\nfine,good\n"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


def make_wanted(sha256: str | None = None, *, is_immutable: bool = False) -> EntryQuery:
    return EntryQuery("https://host/a.csv", "https://host/a.csv", sha256, is_immutable)


def deliver(content: bytes, calls: list[Entry | None]) -> Callable[[Path, Entry | None], Download]:
    def download(workspace: Path, known: Entry | None) -> Download:
        calls.append(known)
        (workspace / "a.csv").write_bytes(content)
        return Download(workspace / "a.csv", validators={"etag": '"1"'})

    return download


def test_a_file_lies_under_its_digest_and_its_name(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")

    entry = cache.obtain(make_wanted(), deliver(CONTENT, []))

    assert cache.path_of(entry) == tmp_path / "cache" / "objects" / DIGEST / "a.csv"
    assert cache.path_of(entry).read_bytes() == CONTENT
    assert [found.uri for found in cache.entries()] == ["https://host/a.csv"]
    assert not list((tmp_path / "cache" / "partial").iterdir())


def test_nobody_else_may_look_into_the_cache(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        Cache(tmp_path / "cache").obtain(make_wanted(), deliver(CONTENT, []))
    finally:
        os.umask(before)

    assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o700


@pytest.mark.parametrize("wanted", [make_wanted(DIGEST), make_wanted(is_immutable=True)])
def test_what_cannot_change_is_fetched_once(tmp_path: Path, wanted: EntryQuery) -> None:
    cache, calls = Cache(tmp_path / "cache"), list[Entry | None]()

    first = cache.obtain(wanted, deliver(CONTENT, calls))
    second = cache.obtain(wanted, deliver(CONTENT, calls))

    assert first == second
    assert calls == [None]


def test_what_may_change_is_asked_about_with_its_validators(tmp_path: Path) -> None:
    cache, calls = Cache(tmp_path / "cache"), list[Entry | None]()
    first = cache.obtain(make_wanted(), deliver(CONTENT, calls))

    assert cache.obtain(make_wanted(), lambda _, known: calls.append(known)) == first

    assert calls[1] is not None
    assert calls[1].validators == {"etag": '"1"'}


def test_other_content_than_pinned_is_refused_and_kept_nowhere(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")

    with pytest.raises(SourceError, match=f"expected sha256 {'0' * 64}, got {DIGEST}"):
        cache.obtain(make_wanted("0" * 64), deliver(CONTENT, []))

    assert not [path for path in (tmp_path / "cache").rglob("*") if path.name == "a.csv"]
    assert cache.entries() == []


def test_a_flipped_byte_in_the_cache_is_found_and_fetched_again(tmp_path: Path) -> None:
    cache, calls = Cache(tmp_path / "cache"), list[Entry | None]()
    entry = cache.obtain(make_wanted(DIGEST), deliver(CONTENT, calls))
    cache.path_of(entry).write_bytes(CONTENT.replace(b"fine", b"fire"))

    again = cache.obtain(make_wanted(DIGEST), deliver(CONTENT, calls))

    assert calls == [None, None]
    assert cache.path_of(again).read_bytes() == CONTENT


def test_a_file_missing_from_a_cached_folder_is_fetched_again(tmp_path: Path) -> None:
    cache, calls = Cache(tmp_path / "cache"), list[Path]()

    def download(workspace: Path, _: Entry | None) -> Download:
        calls.append(workspace)
        folder = workspace / "model"
        folder.mkdir(exist_ok=True)
        (folder / "a").write_bytes(b"a")
        (folder / "b").write_bytes(b"b")
        return Download(folder)

    entry = cache.obtain(make_wanted(is_immutable=True), download)
    (cache.path_of(entry) / "b").unlink()
    again = cache.obtain(make_wanted(is_immutable=True), download)

    assert len(calls) == 2
    assert sorted(path.name for path in cache.path_of(again).iterdir()) == ["a", "b"]


def test_an_interrupted_fetch_leaves_its_bytes_for_the_next(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")

    def break_off(workspace: Path, _: Entry | None) -> Download:
        (workspace / "a.csv").write_bytes(CONTENT[:5])
        raise SourceError("the connection broke")

    def go_on(workspace: Path, _: Entry | None) -> Download:
        with (workspace / "a.csv").open("ab") as file:
            file.write(CONTENT[file.tell() :])
        return Download(workspace / "a.csv")

    with pytest.raises(SourceError, match="the connection broke"):
        cache.obtain(make_wanted(DIGEST), break_off)
    assert cache.entries() == []

    assert cache.obtain(make_wanted(DIGEST), go_on).sha256 == DIGEST


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")

    def fill(workspace: Path, _: Entry | None) -> Download:
        (workspace / "other").write_bytes(CONTENT)
        # Every write to this device fails for want of space, as on a full disk.
        with Path("/dev/full").open("wb") as file:
            file.write(CONTENT)
        return Download(workspace / "other")

    with pytest.raises(SourceError, match=r"No space left on device\. Free some space"):
        cache.obtain(make_wanted(), fill)

    assert not list((tmp_path / "cache" / "objects").iterdir())
    assert not list((tmp_path / "cache" / "partial").iterdir())


def _obtain_in_process(root: Path, counter: Path, results: multiprocessing.Queue[str]) -> None:
    def download(workspace: Path, _: Entry | None) -> Download:
        with counter.open("a") as file:
            file.write("x")
        with (workspace / "a.csv").open("wb") as file:
            for start in range(0, len(CONTENT), 2):
                file.write(CONTENT[start : start + 2])
        return Download(workspace / "a.csv")

    entry = Cache(root).obtain(make_wanted(DIGEST), download)
    results.put(hashlib.sha256(Cache(root).path_of(entry).read_bytes()).hexdigest())


def test_processes_that_want_the_same_at_once_fetch_it_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    results: multiprocessing.Queue[str] = context.Queue()
    arguments = (tmp_path / "cache", tmp_path / "counter", results)
    processes = [context.Process(target=_obtain_in_process, args=arguments) for _ in range(4)]

    for process in processes:
        process.start()
    digests = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(60)

    assert digests == [DIGEST] * 4
    assert (tmp_path / "counter").read_text() == "x"


def test_an_entry_of_an_unknown_form_is_fetched_anew(tmp_path: Path) -> None:
    cache, calls = Cache(tmp_path / "cache"), list[Entry | None]()
    cache.obtain(make_wanted(DIGEST), deliver(CONTENT, calls))
    for path in (tmp_path / "cache" / "index").iterdir():
        path.write_text('{"schema": "of another version"}')

    assert cache.obtain(make_wanted(DIGEST), deliver(CONTENT, calls)).sha256 == DIGEST
    assert calls == [None, None]


def test_the_commands_list_and_clear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAUNCHYARD_HOME", str(tmp_path))
    Cache(tmp_path / "cache").obtain(make_wanted(), deliver(CONTENT, []))
    (tmp_path / "cache" / "partial" / "abandoned").mkdir()
    (tmp_path / "cache" / "partial" / "abandoned" / "part").write_bytes(CONTENT)
    runner, app = CliRunner(), build_app()

    listed = runner.invoke(app, ["cache", "list"])
    cleared = runner.invoke(app, ["cache", "clear"])

    assert "https://host/a.csv" in listed.stdout
    assert DIGEST[:12] in listed.stdout
    assert cleared.exit_code == 0
    assert "freed" in cleared.stdout
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.read_bytes() == CONTENT]
    assert "0 sources" in runner.invoke(app, ["cache", "list"]).stdout


def test_clearing_spares_what_is_being_fetched(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")

    def download(workspace: Path, _: Entry | None) -> Download:
        (workspace / "a.csv").write_bytes(CONTENT)
        Cache(tmp_path / "cache").clear()
        return Download(workspace / "a.csv")

    assert cache.path_of(cache.obtain(make_wanted(), download)).read_bytes() == CONTENT


def test_clearing_a_cache_that_is_not_there_frees_nothing(tmp_path: Path) -> None:
    assert Cache(tmp_path / "cache").clear() == 0
