"""Packages are opened without trusting anything in them."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from launchyard.errors import SourceError
from launchyard.sources.fetch.archive import open_archive

MAX_BYTES = 1 << 20
METADATA = "Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n{licence}\n\nA text.\n"


def write_wheel(folder: Path, members: dict[str, bytes], licence: str = "License-Expression: MIT") -> Path:
    path = folder / "demo-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
        file.writestr("demo-1.0.dist-info/METADATA", METADATA.format(licence=licence))
    return path


def write_sdist(folder: Path, members: list[tarfile.TarInfo]) -> Path:
    path = folder / "demo-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as file:
        for member in members:
            file.addfile(member, io.BytesIO(b"x" * member.size) if member.isreg() else None)
    return path


def make_member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    member.size = 4 if kind == tarfile.REGTYPE else 0
    return member


def extract(path: Path, name: str, folder: Path, max_bytes: int = MAX_BYTES) -> Path:
    with open_archive(path, "pypi://demo==1.0") as archive:
        return archive.extract(name, folder, max_bytes)


def test_a_file_and_a_folder_come_out(tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path, {"demo/a.csv": b"a", "demo/model/x/w.bin": b"w", "demo/models.txt": b"no"})

    assert extract(wheel, "demo/a.csv", tmp_path / "out").read_bytes() == b"a"
    folder = extract(wheel, "demo/model", tmp_path / "out")
    assert [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()] == ["x/w.bin"]


def test_the_wrapping_folder_of_a_source_archive_is_left_out(tmp_path: Path) -> None:
    sdist = write_sdist(tmp_path, [make_member("demo-1.0/demo/a.csv")])

    assert extract(sdist, "demo/a.csv", tmp_path / "out").read_bytes() == b"xxxx"


def test_a_missing_member_names_the_nearest(tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path, {"demo/reviews.csv": b"a", "other/b.csv": b"b"})

    with pytest.raises(SourceError, match=r"no member 'demo/review\.csv'.*Did you mean 'demo/reviews\.csv'\?"):
        extract(wheel, "demo/review.csv", tmp_path / "out")


@pytest.mark.parametrize("name", ["demo/model/../../../evil.txt", "demo/model//../../evil.txt", "demo/model/..\\evil"])
def test_a_member_that_climbs_out_of_a_wheel_is_refused(tmp_path: Path, name: str) -> None:
    wheel = write_wheel(tmp_path, {name: b"evil"})

    with pytest.raises(SourceError, match="points outside the package"):
        extract(wheel, "demo/model", tmp_path / "out")

    assert not list(tmp_path.rglob("evil*"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_source_archive_are_refused(tmp_path: Path, kind: bytes) -> None:
    sdist = write_sdist(tmp_path, [make_member("demo-1.0/demo/a.csv", kind, "/etc/passwd")])

    with pytest.raises(SourceError, match="is a link or a device"):
        extract(sdist, "demo", tmp_path / "out")


def test_a_symbolic_link_in_a_wheel_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "demo-1.0-py3-none-any.whl"
    link = zipfile.ZipInfo("demo/a.csv")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(link, "/etc/passwd")

    with pytest.raises(SourceError, match="is a link or a device"):
        extract(path, "demo/a.csv", tmp_path / "out")


def test_a_decompression_bomb_is_stopped_on_the_way(tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path, {"demo/bomb.csv": b"0" * (8 * MAX_BYTES)})

    with pytest.raises(SourceError, match="unpacks to more than is allowed, reached at 'demo/bomb"):
        extract(wheel, "demo/bomb.csv", tmp_path / "out")

    assert wheel.stat().st_size < MAX_BYTES
    assert sum(path.stat().st_size for path in (tmp_path / "out").rglob("*")) <= 2 * MAX_BYTES


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ("License-Expression: Apache-2.0", "Apache-2.0"),
        ("License: MIT License", "MIT License"),
        ("Classifier: License :: OSI Approved :: BSD License", "BSD License"),
        ("License: UNKNOWN\nClassifier: License :: OSI Approved :: BSD License", "BSD License"),
        ("Classifier: Topic :: Text Processing", None),
    ],
)
def test_the_licence_comes_from_the_metadata(tmp_path: Path, declared: str, expected: str | None) -> None:
    wheel = write_wheel(tmp_path, {}, declared)

    with open_archive(wheel, "pypi://demo==1.0") as archive:
        assert archive.find_licence() == expected


def test_a_damaged_package_is_an_error(tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path, {"demo/a.csv": b"a" * 1000})
    wheel.write_bytes(wheel.read_bytes()[:-100])

    with pytest.raises(SourceError, match=r"the package demo-1\.0-py3-none-any\.whl is damaged"):
        extract(wheel, "demo/a.csv", tmp_path / "out")
