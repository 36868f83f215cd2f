"""``file://`` and plain paths: files and folders that are used where they lie."""

from __future__ import annotations

from pathlib import Path

from launchyard.errors import SourceError
from launchyard.sources.request import describe_nearest
from launchyard.uri import Uri


def find_local(uri: Uri, base_dir: Path) -> Path:
    """Return the absolute path of a local source.

    Args:
        uri: The parsed source.
        base_dir: Folder that relative paths start from.

    Raises:
        SourceError: there is nothing there; the message names what is near.
    """
    path = base_dir.absolute() / Path(uri.location).expanduser()
    if path.is_file() or path.is_dir():
        return path
    if path.exists():
        raise SourceError(f"{uri}: {path} is neither a file nor a folder. Give one of them.")
    parent = path.parent
    if not parent.is_dir():
        raise SourceError(f"{uri}: no such file or folder, and no folder {parent}. Relative paths start at {base_dir}.")
    nearest = describe_nearest(path.name, (found.name for found in parent.iterdir()))
    raise SourceError(f"{uri}: no such file or folder in {parent}. {nearest}")
