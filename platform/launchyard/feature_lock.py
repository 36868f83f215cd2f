"""One process at a time changes the features of a product."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from launchyard.errors import FeatureStoreError

LOCK_NAME = ".lock"
LOCK_TIMEOUT_S = 600


@contextmanager
def changing_features(folder: Path) -> Iterator[None]:
    """Hold off everybody else who changes the features in ``folder``, which is made if it is not there.

    Raises:
        FeatureStoreError: another process holds them for too long.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / LOCK_NAME, timeout=LOCK_TIMEOUT_S):
            yield
    except Timeout as err:
        raise FeatureStoreError(
            f"{folder}: another process has changed the features for {LOCK_TIMEOUT_S} s. Try again later."
        ) from err
