"""The content-addressed cache of everything that was fetched: the only place that holds raw data.

    <cache>/                  mode 0700
      index/<key>.json        what a URI gave: digest, files, validators
      objects/<sha256>/<name> its file or folder
      partial/<key>/          what is arriving; kept when a fetch is interrupted, so that the next goes on
      locks/<key>.lock        one process at a time fetches a URI

An entry appears in the index only after its bytes lie whole under ``objects`` and match the pin.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from filelock import FileLock
from pydantic import Field, ValidationError

from launchyard.errors import SourceError
from launchyard.files.atomic import write_text
from launchyard.sources.folders import iter_files
from launchyard.stored import Stored


class CachedFile(Stored):
    """One file of an entry."""

    path: str = Field(description="Below the entry's folder, with slashes; the name when the entry is a file.")
    sha256: str
    size_bytes: int


class Entry(Stored):
    """What a URI gave."""

    uri: str = Field(description="To be shown; two sources that differ in a secret alone look alike.")
    sha256: str
    name: str
    is_folder: bool
    files: tuple[CachedFile, ...]
    licence: str | None = None
    validators: dict[str, str] = Field({}, description="What the origin names this state by: an ETag, a commit.")
    fetched_at: datetime

    @property
    def size_bytes(self) -> int:
        """Size of all its files."""
        return sum(file.size_bytes for file in self.files)


@dataclass(frozen=True)
class Download:
    """What a resolver brought: a file or folder in the request's workspace."""

    path: Path
    sha256: str | None = None
    """Digest of the rows, when the bytes are only one way of writing them down."""
    licence: str | None = None
    validators: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class EntryQuery:
    """Which entry is asked for."""

    identity: str
    """What tells the source from every other one, secrets and all; only its digest is written down."""
    shown: str
    """URI for messages and for the index, without secrets."""
    sha256: str | None
    is_immutable: bool
    """Whether the URI can only ever give one content."""


class Cache:
    """The cache in one folder; safe to use from many processes at once."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def obtain(self, wanted: EntryQuery, download: Callable[[Path, Entry | None], Download | None]) -> Entry:
        """Return the entry of a URI, calling ``download`` when the cache cannot answer.

        Args:
            wanted: What is asked for.
            download: Is given the workspace and the last entry; returns None when that is still up to date.

        Raises:
            SourceError: it could not be fetched, is not what the pin says, or the disk is full.
        """
        digest = hashlib.sha256(wanted.identity.encode()).hexdigest()
        self._make_folders()
        with FileLock(self.root / "locks" / f"{digest}.lock"):
            known = self._find_intact(digest)
            if known is not None and (known.sha256 == wanted.sha256 or wanted.is_immutable):
                # What cannot change cannot become what another pin asks for: no download would help.
                check_pin(wanted.shown, wanted.sha256, known.sha256)
                return known
            workspace = self.root / "partial" / digest
            workspace.mkdir(exist_ok=True)
            try:
                arrived = download(workspace, known)
                entry = known if arrived is None else self._admit(digest, wanted, arrived)
            except OSError as err:
                # The workspace stays: the next fetch goes on from what has arrived.
                if isinstance(err, SourceError):
                    raise
                # The remains would keep the disk full.
                shutil.rmtree(workspace, ignore_errors=True)
                raise SourceError(
                    f"{wanted.shown}: could not be written to the cache {self.root}: {err.strerror or err}. "
                    "Free some space, or set LAUNCHYARD_HOME to a folder with more."
                ) from err
            if entry is None:
                raise SourceError(f"{wanted.shown}: nothing was fetched. Run `launchyard cache clear` and try again.")
            check_pin(wanted.shown, wanted.sha256, entry.sha256)
            shutil.rmtree(workspace, ignore_errors=True)
            return entry

    def path_of(self, entry: Entry) -> Path:
        """Return the file or folder of an entry."""
        return self.root / "objects" / entry.sha256 / entry.name

    def entries(self) -> list[Entry]:
        """Return all entries, by URI."""
        found = (self._find(path.stem) for path in (self.root / "index").glob("*.json"))
        return sorted((entry for entry in found if entry is not None), key=lambda entry: entry.uri)

    def size_bytes(self) -> int:
        """Return the room that the cache takes, downloads in progress included."""
        return sum(path.stat().st_size for path in self.root.rglob("*") if path.is_file())

    def clear(self) -> int:
        """Delete everything that is not being fetched at this moment; return how many bytes that freed."""
        if not self.root.is_dir():
            return 0
        before = self.size_bytes()
        # Index first: a reader then fetches anew rather than find an entry without its bytes.
        with self._admission():
            for name in ("index", "objects"):
                shutil.rmtree(self.root / name, ignore_errors=True)
        for workspace in (self.root / "partial").glob("*"):
            lock = FileLock(self.root / "locks" / f"{workspace.name}.lock", blocking=False)
            try:
                with lock:
                    shutil.rmtree(workspace, ignore_errors=True)
            except TimeoutError:
                continue  # It is being fetched at this moment.
        return before - self.size_bytes()

    def _make_folders(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        # Raw data may be personal: nobody but its owner looks in, whatever the umask says.
        self.root.chmod(0o700)
        for name in ("index", "objects", "partial", "locks"):
            (self.root / name).mkdir(exist_ok=True)

    @contextmanager
    def _admission(self) -> Iterator[None]:
        """Hold off ``clear`` between an object's arrival and its entry's."""
        with FileLock(self.root / "admission.lock"):
            yield

    def _find(self, digest: str) -> Entry | None:
        try:
            return Entry.model_validate_json((self.root / "index" / f"{digest}.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, ValidationError):
            # Written by another version: as good as absent, the next fetch writes it anew.
            return None

    def _find_intact(self, digest: str) -> Entry | None:
        entry = self._find(digest)
        if entry is None or self._is_intact(entry):
            return entry
        (self.root / "index" / f"{digest}.json").unlink(missing_ok=True)
        _delete(self.path_of(entry))
        return None

    def _is_intact(self, entry: Entry) -> bool:
        path = self.path_of(entry)
        if path.is_dir() is not entry.is_folder:
            return False
        try:
            return list_files(path) == entry.files
        except FileNotFoundError:
            return False

    def _admit(self, digest: str, wanted: EntryQuery, arrived: Download) -> Entry:
        files = list_files(arrived.path)
        is_folder = arrived.path.is_dir()
        entry = Entry(
            uri=wanted.shown,
            sha256=arrived.sha256 or digest_of(files, is_folder=is_folder),
            name=arrived.path.name,
            is_folder=is_folder,
            files=files,
            licence=arrived.licence,
            validators=arrived.validators,
            fetched_at=datetime.now(UTC),
        )
        if wanted.sha256 not in (None, entry.sha256):
            # What arrived is wrong: going on from it would be wrong for ever.
            shutil.rmtree(self.root / "partial" / digest, ignore_errors=True)
            check_pin(wanted.shown, wanted.sha256, entry.sha256)
        with self._admission():
            target = self.path_of(entry)
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.exists() and not self._is_intact(entry):
                _delete(target)
            # Two URIs may give one content, whose bytes lie here once.
            if not target.exists():
                arrived.path.replace(target)
            write_text(self.root / "index" / f"{digest}.json", entry.model_dump_json(indent=2))
        return entry


def check_pin(shown: str, expected: str | None, got: str) -> None:
    """Compare a digest with the one that a URI pins.

    Raises:
        SourceError: they differ; the message names both.
    """
    if expected is not None and expected != got:
        raise SourceError(
            f"{shown}: not the pinned content: expected sha256 {expected}, got {got}. "
            "Find out why it changed; if the new content is right, pin its digest."
        )


def list_files(path: Path) -> tuple[CachedFile, ...]:
    """Return a file, or all files below a folder, also behind links, in the order of their paths, with size and digest.

    A file is read again only when its size or time of change is another than when it was read before.
    """
    if not path.is_dir():
        return (CachedFile(path=path.name, sha256=hash_file(path), size_bytes=path.stat().st_size),)
    found = sorted((file.relative_to(path).as_posix(), file) for file in iter_files(path))
    return tuple(CachedFile(path=name, sha256=hash_file(file), size_bytes=file.stat().st_size) for name, file in found)


def digest_of(files: Iterable[CachedFile], *, is_folder: bool) -> str:
    """Return the digest of a file, or for a folder of its listing, which is written as sha256sum writes it."""
    if not is_folder:
        return next(iter(files)).sha256
    listing = "".join(f"{file.sha256}  {file.path}\n" for file in files)
    return hashlib.sha256(listing.encode()).hexdigest()


def hash_file(path: Path) -> str:
    """Return the sha256 of a file's bytes."""
    state = path.stat()
    return _hash_state(os.fspath(path.absolute()), state.st_ino, state.st_size, state.st_mtime_ns)


# Inode, size and time are asked for so that a file that has changed is another key of the cache.
@lru_cache(maxsize=65_536)
def _hash_state(path: str, inode: int, size_bytes: int, mtime_ns: int) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
