"""One process at a time changes the features of a product, and one releases a version of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from launchyard.errors import FeatureStoreError

LOCK_NAME = ".lock"
# A lock of its own: between its first and last change a release takes the other one several times.
RELEASE_LOCK_NAME = "release.lock"
LOCK_TIMEOUT_S = 600


@contextmanager
def changing_features(folder: Path) -> Iterator[None]:
    """Hold off everybody else who changes the features in ``folder``, which is made if it is not there.

    Raises:
        FeatureStoreError: another process holds them for too long.
    """
    with _holding(folder / LOCK_NAME, LOCK_TIMEOUT_S):
        yield


@contextmanager
def releasing(folder: Path, *, timeout_s: float = LOCK_TIMEOUT_S) -> Iterator[None]:
    """Hold off every other release of a product, from the first change of its features to that of what serves.

    Raises:
        FeatureStoreError: another one is under way for longer than ``timeout_s``.
    """
    with _holding(folder / RELEASE_LOCK_NAME, timeout_s):
        yield


@contextmanager
def _holding(path: Path, timeout_s: float) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, timeout=timeout_s)
    try:
        lock.acquire()
    except Timeout as err:
        raise FeatureStoreError(
            f"{path.parent}: another process has changed the features for {timeout_s:g} s. Try again later."
        ) from err
    try:
        yield
    finally:
        lock.release()
