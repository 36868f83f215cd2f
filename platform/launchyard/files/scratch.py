"""A private folder for processes that talk to each other through sockets, whose paths may not be long."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from launchyard.errors import RunError
from launchyard.files.abandoned import remove_abandoned, try_to_hold

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
    remove_abandoned(folder.parent.glob(f"{PREFIX}*"), min_age_s=MIN_AGE_S)
    with try_to_hold(folder):
        try:
            yield folder
        finally:
            # What the processes still write while they end is no reason to fail.
            shutil.rmtree(folder, ignore_errors=True)


def _make_folder(preferred: str) -> Path:
    parents = [parent for parent in (preferred, *PARENTS) if len(parent) <= MAX_PARENT_CHARACTERS]
    for parent in dict.fromkeys(parents):
        # Not writable, or not there on this system: the next one may do.
        with suppress(OSError):
            # mkdtemp gives the folder mode 0700.
            return Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    raise RunError(
        f"TMPDIR: no short path for sockets: {preferred} is too long or not writable, and so are {', '.join(PARENTS)}. "
        f"Set TMPDIR to a writable folder whose path has at most {MAX_PARENT_CHARACTERS} characters."
    )
