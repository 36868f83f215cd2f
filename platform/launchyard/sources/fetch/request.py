"""One fetch in progress: what is asked for, where its bytes go, how far it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from launchyard.errors import SourceError
from launchyard.settings import Settings
from launchyard.sources.fetch.cache import Entry
from launchyard.sources.uri import Uri, expand_references

Progress = Callable[[int, int | None], None]
"""Called with the bytes that have arrived and, when it is known, how many there will be."""

MAX_SHOWN_NAMES = 8


@dataclass(frozen=True)
class Request:
    """What a resolver is given to do its work."""

    uri: Uri
    settings: Settings
    base_dir: Path
    workspace: Path
    """Folder for what arrives; it outlives an interrupted fetch, so that the next one can go on from it."""
    known: Entry | None
    """What this URI gave last time, to be asked about instead of fetched again."""
    on_progress: Progress | None = None

    def advance(self, done_bytes: int, total_bytes: int | None) -> None:
        """Tell how much has arrived or is announced.

        Raises:
            SourceError: it is more than the settings allow.
        """
        # What is announced counts too: too large a file is refused before it comes.
        size_bytes = max(done_bytes, total_bytes or 0)
        if size_bytes > self.settings.max_download_bytes:
            raise SourceError(
                f"{self.uri}: too large, {size_bytes:,} bytes or more where {self.settings.max_download_bytes:,} are "
                "allowed. Raise LAUNCHYARD_MAX_DOWNLOAD_BYTES if that is right."
            )
        if self.on_progress is not None:
            self.on_progress(done_bytes, total_bytes)

    def expand(self, text: str) -> str:
        """Return ``text`` with its references to environment variables replaced.

        Raises:
            SourceError: a variable is not set.
        """
        try:
            return expand_references(text)
        except ValueError as err:
            raise SourceError(f"{self.uri}: {err}.") from err


def describe_nearest(name: str, known: Iterable[str]) -> str:
    """Return words that lead from a wrong name to the right one: the nearest, and what there is."""
    names = sorted(set(known))
    if not names:
        return "There is nothing here."
    nearest = get_close_matches(name, names, n=1, cutoff=0.5)
    shown = ", ".join(names[:MAX_SHOWN_NAMES]) + (
        f", and {len(names) - MAX_SHOWN_NAMES} more" if len(names) > MAX_SHOWN_NAMES else ""
    )
    hint = f"Did you mean '{nearest[0]}'? " if nearest else ""
    return f"{hint}There are: {shown}."
