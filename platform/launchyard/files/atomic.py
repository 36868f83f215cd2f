"""Files and folders that are there whole or not at all, also after a crash or a power cut.

What is written gets its name only when all of it is on the disk, and the folder that holds the name is synced, too:
what a function here has returned from, a power cut does not take back. An older folder is replaced in one exchange, so
that there is no moment without it; file systems that know no exchange (NFS, some network shares, other systems than
Linux) have such a moment.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from launchyard.files.abandoned import remove_abandoned, try_to_hold

AT_FDCWD = -100
RENAME_EXCHANGE = 2
"""Flag of renameat2(2): both names stay, each with what the other had."""
IS_THERE = frozenset({errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR})
NO_EXCHANGE = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP})
MIN_AGE_S = 60.0
NOT_SYNCED = frozenset({errno.EINVAL, errno.ENOTSUP})
"""What some network file systems answer when a folder is to be synced."""


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path``, whole and on the disk."""
    with new_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Yield the name of an empty file that becomes ``path`` when the block ends well, and vanishes when it does not."""
    make_folder(path.parent)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        sync(temporary)
        temporary.replace(path)
    # Ctrl-C leaves nothing half written either.
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes ``path`` when the block ends well, and vanishes when it does not.

    An older folder at ``path`` is replaced; readers see the old content or the new, never a mixture of files. What
    processes that were killed have left of it is removed.
    """
    make_folder(path.parent)
    remove_abandoned(_iter_remains(path), min_age_s=MIN_AGE_S)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    with try_to_hold(temporary):
        try:
            yield temporary
            # mkdtemp makes a folder for its owner alone; what is in place others may read.
            temporary.chmod(0o755)
            _sync_tree(temporary)
            _put_in_place(temporary, path)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        sync(path.parent)
        # What was at the place until now, if anything was.
        _remove(temporary)


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, unless they are there; they are on the disk when this returns."""
    missing = [above for above in (folder, *folder.parents) if not above.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for made in reversed(missing):
        sync(made.parent)


def _sync_tree(folder: Path) -> None:
    """Wait until all files in a folder are on the disk, and the folders that hold them."""
    for inner, _, names in os.walk(folder, topdown=False):
        for path in (Path(inner, name) for name in names):
            # A link may lead out of the folder, to a file that is none of ours, or nowhere.
            if not path.is_symlink():
                sync(path)
        sync(Path(inner))


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    # Linux syncs by any descriptor, and a folder can be opened for reading only.
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as err:
        if err.errno not in NOT_SYNCED or not path.is_dir():
            raise
    finally:
        os.close(descriptor)


def _put_in_place(temporary: Path, path: Path) -> None:
    """Give ``temporary`` the name ``path``; what was there gets the name ``temporary``."""
    while True:
        try:
            # Enough where nothing, or an empty folder, is in the way.
            temporary.rename(path)
        except OSError as err:
            if err.errno not in IS_THERE:
                raise
        else:
            return
        try:
            _exchange(temporary, path)
        except FileNotFoundError:
            # Somebody removed the older one just now.
            continue
        except OSError as err:
            if err.errno not in NO_EXCHANGE:
                raise
            _move_aside(temporary, path)
        return


def _exchange(one: Path, other: Path) -> None:
    """Let two names change what they stand for, in one step.

    Raises:
        OSError: the system or the file system cannot do that (``NO_EXCHANGE``), or one of them is not there.
    """
    # Python (3.11) has no function for it, and neither has a C library before glibc 2.28.
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if rename(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(one), None, str(other))


def _move_aside(temporary: Path, path: Path) -> None:
    """Do as :func:`_exchange` in two steps, with a moment in which nothing is at ``path``."""
    retired = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    path.replace(retired / path.name)
    temporary.replace(path)
    shutil.rmtree(retired, ignore_errors=True)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _iter_remains(path: Path) -> Iterator[Path]:
    """Yield folders that neither became ``path`` nor vanished, or that were at its place."""
    # An earlier version put .old. into the name of what it had replaced.
    remains = re.compile(rf"\.{re.escape(path.name)}\.(old\.)?[a-z0-9_]{{8}}")
    with os.scandir(path.parent) as entries:
        found = [entry.name for entry in entries if remains.fullmatch(entry.name)]
    yield from (path.parent / name for name in found)
