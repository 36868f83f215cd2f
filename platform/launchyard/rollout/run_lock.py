"""One run of a product at a time."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from launchyard.errors import RunError
from launchyard.files import atomic
from launchyard.settings import Settings


@contextmanager
def hold_product(settings: Settings, product: str, run_id: str) -> Iterator[None]:
    """Keep every other run of ``product`` out while the block lasts.

    The operating system lets go of the lock when this process ends, however it ends: nothing is left to clean up.

    Raises:
        RunError: another run holds the product; the message says which, and since when.
    """
    folder = settings.runs_dir(product)
    folder.mkdir(parents=True, exist_ok=True)
    holder_path = folder / ".holder.json"
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as err:
        raise RunError(
            f"{product}: another run of this product is going on: {_describe_holder(holder_path)}. "
            "Wait until it ends, or stop it."
        ) from err
    try:
        started = datetime.now(UTC).isoformat(timespec="seconds")
        atomic.write_text(holder_path, json.dumps({"run_id": run_id, "pid": os.getpid(), "started": started}))
        yield
    finally:
        # While the lock is still held: afterwards it might be the file of the next holder.
        holder_path.unlink(missing_ok=True)
        lock.release()


def _describe_holder(path: Path) -> str:
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return "it has only just begun or is about to end"
    return f"run {holder['run_id']}, process {holder['pid']}, since {holder['started']}"
