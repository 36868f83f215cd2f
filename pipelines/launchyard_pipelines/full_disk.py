"""Errors that mean a full disk, whichever library met it."""

from __future__ import annotations

import errno
import os

from launchyard.errors import RunError
from launchyard.settings import Settings

CODES = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""No space, no quota, or a file larger than this process may write."""

SIGNS = (*map(os.strerror, CODES), "database or disk is full", "unexpected pos ")
"""Words of libraries that keep no error number: safetensors and Ray, SQLite, torch 2.13's checkpoint writer."""


def is_disk_full(error: BaseException) -> bool:
    """Return whether an error came of writing to a full disk."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in CODES
    return any(sign in str(error) for sign in SIGNS)


def explain_full_disk(error: BaseException, step: str, settings: Settings) -> RunError:
    """Return what a person is told of a step that met a full disk."""
    # A copy names its source first; where nothing is named, a step writes below the home folder.
    named = [path for name in ("filename2", "filename") if isinstance(path := getattr(error, name, None), str)]
    place = named[0] if named else settings.root
    return RunError(f"{step}: the disk is full at {place}. Free some space, then run again with --from {step}.")
