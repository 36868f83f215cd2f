"""Members of wheels and source archives, taken out without running, following or trusting anything in them."""

from __future__ import annotations

import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesParser
from pathlib import Path, PurePosixPath
from typing import IO, Protocol

from launchyard.errors import SourceError
from launchyard.sources.fetch.request import describe_nearest

COPY_BYTES = 1 << 20
LONGEST_LICENCE = 100


@dataclass(frozen=True)
class Member:
    """One entry of an archive."""

    name: str
    """Path with slashes, without the folder that a source archive wraps everything in."""
    stored_name: str
    size_bytes: int
    is_regular: bool


class Container(Protocol):
    """What zip and tar files have in common."""

    def members(self) -> list[Member]:
        """Return all entries that are not folders."""
        ...

    def open(self, member: Member) -> IO[bytes]:
        """Return a regular member's bytes."""
        ...


class Archive:
    """An open package."""

    def __init__(self, container: Container, shown: str) -> None:
        self._container = container
        self._shown = shown
        self._members = container.members()

    def extract(self, name: str, folder: Path, max_bytes: int) -> Path:
        """Copy a file, or everything below a folder, into ``folder``; return where it lies.

        Args:
            name: Path inside the package, without a slash at its ends.
            folder: What is in the way there is overwritten.
            max_bytes: The most that may come out, whatever sizes the archive declares.

        Raises:
            SourceError: there is no such member, or it is a link, climbs out, or is too large.
        """
        chosen = [member for member in self._members if member.name == name or member.name.startswith(f"{name}/")]
        if not chosen:
            raise SourceError(f"{self._shown}: no member '{name}' in the package. {self._describe_near(name)}")
        target = folder / PurePosixPath(name).name
        left = max_bytes
        for member in chosen:
            self._check(member)
            path = target / member.name[len(name) + 1 :] if member.name != name else target
            path.parent.mkdir(parents=True, exist_ok=True)
            left = self._copy(member, path, left)
        return target

    def iter_files(self, max_bytes: int, *, is_left_out: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
        """Yield each file's path as it is stored and its first ``max_bytes`` bytes, in the order of the archive.

        Raises:
            SourceError: one is a link, or climbs out.
        """
        for member in self._members:
            name = member.stored_name.removeprefix("./")
            if not is_left_out(name):
                self._check(member)
                with self._container.open(member) as file:
                    yield name, file.read(max_bytes)

    def find_licence(self) -> str | None:
        """Return the licence that the package's metadata declare, if they do in a few words."""
        for member in self._members:
            parts = PurePosixPath(member.name).parts
            if parts == ("PKG-INFO",) or (
                len(parts) == 2 and parts[0].endswith(".dist-info") and parts[1] == "METADATA"
            ):
                with self._container.open(member) as file:
                    return _read_licence(BytesParser().parse(file, headersonly=True))
        return None

    def _check(self, member: Member) -> None:
        if not member.is_regular:
            raise SourceError(f"{self._shown}: '{member.name}' is a link or a device. Such a package is not opened.")
        path = PurePosixPath(member.name)
        if path.is_absolute() or ".." in path.parts or "\\" in member.name:
            raise SourceError(f"{self._shown}: '{member.name}' points outside the package. It is not opened.")

    def _copy(self, member: Member, path: Path, left: int) -> int:
        """Write a member to ``path``; return how many of the ``left`` bytes are left."""
        with self._container.open(member) as source, path.open("wb") as file:
            while chunk := source.read(COPY_BYTES):
                left -= len(chunk)
                if left < 0:
                    raise SourceError(
                        f"{self._shown}: unpacks to more than is allowed, reached at '{member.name}'. "
                        "Raise LAUNCHYARD_MAX_DOWNLOAD_BYTES if that is right."
                    )
                file.write(chunk)
        return left

    def _describe_near(self, name: str) -> str:
        parent = PurePosixPath(name).parent
        names = [member.name for member in self._members]
        beside = [found for found in names if PurePosixPath(found).parent == parent]
        return describe_nearest(name, beside or names)


@contextmanager
def open_archive(path: Path, shown: str) -> Iterator[Archive]:
    """Open a wheel, a zip or a tar file.

    Raises:
        SourceError: it is none, or is damaged.
    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as file:
                yield Archive(_Zip(file, is_wrapped=path.suffix != ".whl"), shown)
        else:
            with tarfile.open(path) as file:
                yield Archive(_Tar(file), shown)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError) as err:
        raise SourceError(f"{shown}: the package {path.name} is damaged: {err}. Run `launchyard cache clear`.") from err


class _Zip:
    def __init__(self, file: zipfile.ZipFile, *, is_wrapped: bool) -> None:
        self._file = file
        self._is_wrapped = is_wrapped

    def members(self) -> list[Member]:
        return [
            Member(
                _unwrap(info.filename) if self._is_wrapped else info.filename,
                info.filename,
                info.file_size,
                # The upper half holds the mode that the file had on Unix.
                not stat.S_ISLNK(info.external_attr >> 16),
            )
            for info in self._file.infolist()
            if not info.is_dir()
        ]

    def open(self, member: Member) -> IO[bytes]:
        return self._file.open(member.stored_name)


class _Tar:
    def __init__(self, file: tarfile.TarFile) -> None:
        self._file = file
        # Of one name the last counts. By name, tarfile would look through all members for each.
        self._infos = {info.name: info for info in file.getmembers() if not info.isdir()}

    def members(self) -> list[Member]:
        return [Member(_unwrap(name), name, info.size, info.isreg()) for name, info in self._infos.items()]

    def open(self, member: Member) -> IO[bytes]:
        file = self._file.extractfile(self._infos[member.stored_name])
        if file is None:
            raise tarfile.ReadError(f"'{member.stored_name}' holds no bytes")
        return file


def _unwrap(name: str) -> str:
    return name.removeprefix("./").partition("/")[2]


def _read_licence(metadata: Message) -> str | None:
    expression = metadata.get("License-Expression") or metadata.get("License")
    # Some packages put the whole licence into this field, and setuptools wrote UNKNOWN where nothing was said.
    if expression and "\n" not in expression and len(expression) <= LONGEST_LICENCE and expression != "UNKNOWN":
        return str(expression)
    for classifier in metadata.get_all("Classifier", []):
        if str(classifier).startswith("License ::"):
            return str(classifier).rpartition(" :: ")[2]
    return None
