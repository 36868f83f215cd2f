"""What a folder holds: its files, also behind links, as a person who opens it would see them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from launchyard.errors import SourceError

_Place = tuple[int, int]
"""Device and inode: what a folder is, whatever name leads to it."""


def iter_files(folder: Path) -> Iterator[Path]:
    """Yield every file below ``folder`` under its own name, in no certain order; links are followed.

    A hidden link (``.name``) is followed to a file only: editors leave such links that lead nowhere.

    Raises:
        SourceError: a link leads nowhere, or back to a folder that it stands in.
        OSError: a folder cannot be read.
    """
    yield from _walk(folder, (), is_hidden=False)


def _walk(folder: Path, above: tuple[_Place, ...], *, is_hidden: bool) -> Iterator[Path]:
    state = folder.stat()
    place = (state.st_dev, state.st_ino)
    # Only the folders above count: two links to one folder beside each other are no circle.
    if place in above:
        raise SourceError(
            f"{folder}: a link that leads back to a folder above it. Remove the link, or name its target."
        )
    for path in folder.iterdir():
        hidden = is_hidden or path.name.startswith(".")
        if path.is_dir():
            if not (hidden and path.is_symlink()):
                yield from _walk(path, (*above, place), is_hidden=hidden)
        elif path.is_file():
            yield path
        elif path.is_symlink() and not hidden and not path.exists():
            raise SourceError(f"{path}: a link to nothing. Fetch what it stands for, or remove the link.")
