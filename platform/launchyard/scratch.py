"""A private folder for processes that talk to each other through sockets, whose paths may not be long."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from launchyard.errors import RunError

MAX_PARENT_CHARACTERS = 8
"""Below the folder, whose own name takes 12, come the sockets of Ray and HAProxy, up to 87 characters; a socket's path
may have 107."""
PREFIX = "ly-"
MIN_AGE_S = 60.0
PARENTS = ("/tmp", "/var/tmp", "/dev/shm")
"""Tried in this order where the user's own temporary folder has a long path."""


@contextmanager
def open_scratch() -> Iterator[Path]:
    """Yield a new folder that only this user may enter, and remove it with all that was left in it.

    A process that is killed leaves its folder behind; the next one on this machine removes it.

    It lies in the user's temporary folder where that path is short enough, else in one of the system's: a long
    ``TMPDIR`` is not in the way, nor is a folder in ``/tmp`` that belongs to another user.

    Raises:
        RunError: none of them can be written to.
    """
    folder = _make_folder(tempfile.gettempdir())
    _remove_abandoned(folder.parent)
    with _try_to_hold(folder):
        try:
            yield folder
        finally:
            # What the processes still write while they end is no reason to fail.
            shutil.rmtree(folder, ignore_errors=True)


def _make_folder(preferred: str) -> Path:
    parents = [parent for parent in (preferred, *PARENTS) if len(parent) <= MAX_PARENT_CHARACTERS]
    for parent in dict.fromkeys(parents):
        with suppress(OSError):
            # mkdtemp gives the folder mode 0700.
            return Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    raise RunError(
        f"TMPDIR: no short path for sockets: {preferred} is too long or not writable, and so are {', '.join(PARENTS)}. "
        f"Set TMPDIR to a writable folder whose path has at most {MAX_PARENT_CHARACTERS} characters."
    )


@contextmanager
def _try_to_hold(folder: Path) -> Iterator[bool]:
    """Hold a lock on a folder, which ends with this process however it ends; tell whether it could be had."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield _try_lock(descriptor)
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove_abandoned(parent: Path) -> None:
    """Remove this user's folders whose process has ended."""
    # The youngest may not be held yet: their process has only just made them.
    made_before_s = time.time() - MIN_AGE_S
    for folder in parent.glob(f"{PREFIX}*"):
        with suppress(OSError):
            state = folder.stat(follow_symlinks=False)
            if state.st_uid != os.getuid() or state.st_mtime > made_before_s:
                continue
            with _try_to_hold(folder) as is_abandoned:
                if is_abandoned:
                    shutil.rmtree(folder, ignore_errors=True)
