"""Files and folders that are there whole or not at all, whenever a process dies or the power goes."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from disk_calls import iter_deaths, recording
from launchyard.files.abandoned import try_to_hold
from launchyard.files.atomic import MIN_AGE_S, make_folder, new_file, new_folder, write_text

OLD = {"a": "old a", "in/b": "old b"}
NEW = {"a": "new a", "in/c": "new c"}


def write(path: Path, content: dict[str, str]) -> None:
    with new_folder(path) as folder:
        for name, text in content.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text)


def read(path: Path) -> dict[str, str]:
    found = [inner for inner in path.rglob("*") if inner.is_file()]
    return {str(inner.relative_to(path)): inner.read_text() for inner in found}


def age_remains(folder: Path) -> None:
    for path in folder.glob(".*"):
        os.utime(path, (0, time.time() - MIN_AGE_S - 1))


def test_a_folder_is_whole_at_every_step_at_which_its_writer_may_die_and_the_next_one_tidies_up(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    seen = []
    write(target, OLD)

    for _ in iter_deaths(lambda: write(target, NEW)):
        seen.append(read(target))
        age_remains(tmp_path)
        write(target, OLD)
        assert list(tmp_path.iterdir()) == [target]

    assert len(seen) > 20
    assert [content for content in seen if content not in (OLD, NEW)] == []
    assert seen[0] == OLD
    assert seen[-1] == NEW


def test_a_file_is_whole_at_every_step_at_which_its_writer_may_die(tmp_path: Path) -> None:
    target = tmp_path / "file"
    write_text(target, "old")

    seen = [target.read_text() for _ in iter_deaths(lambda: write_text(target, "new"))]

    assert set(seen) == {"old", "new"}


def test_what_a_living_process_writes_and_what_is_somebody_elses_is_not_tidied_up(tmp_path: Path) -> None:
    target, other = tmp_path / "folder", tmp_path / ".folder.of-somebody"
    other.mkdir()

    with new_folder(target) as first:
        age_remains(tmp_path)
        write(target, OLD)
        remains = sorted(path.name for path in tmp_path.iterdir())

    assert remains == sorted(["folder", other.name, first.name])
    assert read(target) == {}


def test_everything_is_on_the_disk_before_it_gets_its_name_and_the_name_after_that(tmp_path: Path) -> None:
    target = tmp_path / "made" / "too" / "folder"

    with recording() as calls:
        write(target, NEW)

    names = [(name, path and path.name) for name, path in calls]
    (renamed,) = [place for place, (name, _) in enumerate(names) if name in ("rename", "replace")]
    before, after = names[:renamed], names[renamed + 1 :]
    # The folders above were made first, each known by the one that holds it.
    assert before[:2] == [("fsync", tmp_path.name), ("fsync", "made")]
    assert {name for _, name in before[2:]} >= {"a", "c", "in"}
    assert str(before[-1][1]).startswith(".folder.")
    assert after == [("fsync", "too")]


def test_a_replaced_file_is_on_the_disk_with_its_name(tmp_path: Path) -> None:
    with recording() as calls:
        write_text(tmp_path / "file", "text")

    assert [name for name, _ in calls] == ["fsync", "replace", "fsync"] or [name for name, _ in calls] == [
        "fsync",
        "rename",
        "fsync",
    ]
    assert calls[-1][1] == tmp_path


def test_an_error_leaves_the_old_content_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path / "folder", OLD)
    write_text(tmp_path / "file", "old")

    with pytest.raises(ValueError, match="no"), new_folder(tmp_path / "folder") as folder:
        (folder / "a").write_text("half")
        raise ValueError("no")
    with pytest.raises(ValueError, match="no"), new_file(tmp_path / "file") as file:
        file.write_text("half")
        raise ValueError("no")

    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
    assert read(tmp_path / "folder") == OLD
    assert (tmp_path / "file").read_text() == "old"


def test_a_link_or_a_file_in_the_place_is_replaced_and_not_followed(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere", OLD)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "file").write_text("file")

    for name in ("link", "file"):
        write(tmp_path / name, NEW)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "file", "link"]
    assert read(tmp_path / "elsewhere") == OLD
    assert not (tmp_path / "link").is_symlink()
    assert read(tmp_path / "link") == read(tmp_path / "file") == NEW


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(OSError) as caught:
        make_folder(tmp_path / "file" / "folder")

    assert caught.value.errno in (errno.ENOTDIR, errno.EEXIST)


def test_only_one_process_holds_a_folder(tmp_path: Path) -> None:
    with try_to_hold(tmp_path) as first, try_to_hold(tmp_path) as second:
        assert (first, second) == (True, False)
