"""Errors that mean a full disk, whichever library met it."""

from __future__ import annotations

import errno
import os

CODES = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""No space, no quota, or a file larger than this process may write."""

SIGNS = (*map(os.strerror, CODES), "database or disk is full", "unexpected pos ")
"""Words of libraries that keep no error number: safetensors and Ray, SQLite, torch 2.13's checkpoint writer."""


def is_disk_full(error: BaseException) -> bool:
    """Return whether an error came of writing to a full disk."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in CODES
    return any(sign in str(error) for sign in SIGNS)
