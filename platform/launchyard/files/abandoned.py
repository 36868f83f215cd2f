"""Folders that belong to a running process, and those whose process was killed before it could remove them."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def try_to_hold(folder: Path) -> Iterator[bool]:
    """Hold a lock on a folder, which ends with this process however it ends; tell whether it could be had."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield _try_lock(descriptor)
    finally:
        os.close(descriptor)


def remove_abandoned(folders: Iterable[Path], *, min_age_s: float) -> None:
    """Remove those of this user's folders that no process holds any more.

    The youngest stay: they may not be held yet, as their process has only just made them.
    """
    made_before_s = time.time() - min_age_s
    for folder in folders:
        # Tidying up is a favour: that another process was first, or that it may not be done, is no failure.
        with suppress(OSError):
            state = folder.stat(follow_symlinks=False)
            if state.st_uid != os.getuid() or state.st_mtime > made_before_s:
                continue
            with try_to_hold(folder) as is_abandoned:
                if is_abandoned:
                    shutil.rmtree(folder, ignore_errors=True)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        # Held by another process; or a file system without such locks, where nobody can tell.
        return False
    return True
