"""Who is told how far a preparation is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from launchyard.sources.fetch.request import Progress


@dataclass(frozen=True)
class PrepareProgress:
    """Who is told how far reading is."""

    on_download: Progress | None = None
    """Told the bytes that have arrived of a source that is not on this machine."""
    on_rows: Callable[[int], None] | None = None
    """Told how many rows have been read, after each block of them."""
