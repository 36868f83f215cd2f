"""Paths in sources: what they mean wherever they stand, and in what state the files there are.

A relative path starts at the spec's folder, ``~`` is the user's home, and a link keeps its own name, which says what
the file is. This holds for plain paths, ``file://`` and the file of a SQLite database alike.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from launchyard.errors import SourceError
from launchyard.sources.fetch.request import describe_nearest
from launchyard.sources.folders import iter_files
from launchyard.sources.uri import Uri, parse_sql, parse_uri, replace_location

_RELATIVE_SQLITE = re.compile(r"(sqlite(?:\+\w+)?):///(?![/?:]|file:|\$\{)(.+)", re.DOTALL)
"""A database file whose path surely is relative: in memory there is no file, and a reference may stand for any path."""


def join_path(text: str, base_dir: Path) -> Path:
    """Return the absolute path that a path of a spec means.

    Args:
        text: The path as written. To name a folder that is called ``~``, write ``./~``.
        base_dir: Folder that relative paths start from: the spec's.
    """
    # Of an unknown user ~name is a name like any other.
    return base_dir.absolute() / os.path.expanduser(text)  # noqa: PTH111 - Path has dropped the ./ already


def find_local(uri: Uri, base_dir: Path) -> Path:
    """Return the absolute path of a local source.

    Raises:
        SourceError: there is nothing there; the message names what is near.
    """
    path = join_path(uri.location, base_dir)
    if path.is_file() or path.is_dir():
        return path
    if path.exists():
        raise SourceError(f"{uri}: {path} is neither a file nor a folder. Give one of them.")
    if path.is_symlink():
        raise SourceError(f"{uri}: a link to nothing. Fetch what it stands for, or correct the link.")
    parent = path.parent
    if not parent.is_dir():
        raise SourceError(f"{uri}: no such file or folder, and no folder {parent}. Relative paths start at {base_dir}.")
    nearest = describe_nearest(path.name, (found.name for found in parent.iterdir()))
    raise SourceError(f"{uri}: no such file or folder in {parent}. {nearest}")


def describe_state(uri: Uri, base_dir: Path) -> str:
    """Return a text that changes when a local source does: a file, or which files a folder holds and each of them.

    Nothing is read, so that it is quick. Names alone would miss a link that leads elsewhere now, sizes and times alone
    a file that was replaced by one of the same size and time.

    Raises:
        SourceError: there is nothing there, or it may not be looked at.
    """
    path = find_local(uri, base_dir)
    try:
        files = sorted(iter_files(path)) if path.is_dir() else [path]
        lines = [f"{file.relative_to(path)} {_describe_file(file)}\n" for file in files]
    except PermissionError as err:
        raise explain_denied(uri, err) from err
    # Names of files are bytes to Linux and need not be text.
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def explain_denied(uri: Uri, error: PermissionError) -> SourceError:
    """Return what to tell of a part of a source that may not be read."""
    return SourceError(f"{uri}: {error.filename} may not be read by this user. Change its permissions.")


def make_absolute(text: str, base_dir: Path) -> str:
    """Return a source with its path, if it has one, absolute: it then means the same in every working folder.

    >>> make_absolute("rows.csv#encoding=latin-1", Path("/srv"))
    '/srv/rows.csv#encoding=latin-1'
    """
    uri = parse_uri(text)
    # A file:// URI is absolute by its form.
    if uri.scheme == "file" and not text.startswith("file://"):
        return replace_location(text, str(_keep_name(join_path(uri.location, base_dir))))
    if uri.scheme == "sql":
        database = parse_sql(uri.location).database
        query = uri.location.removeprefix(database)
        return replace_location(text, f"sql://{_make_database_absolute(database, base_dir)}{query}")
    return text


def _describe_file(path: Path) -> str:
    state = path.stat()
    return f"{state.st_size} {state.st_mtime_ns} {state.st_ctime_ns} {state.st_ino}"


def _keep_name(path: Path) -> Path:
    """Return where a path leads under its own last name: that of a link's target may be a digest."""
    return path.resolve() if path.name == ".." else path.parent.resolve() / path.name


def _make_database_absolute(database: str, base_dir: Path) -> str:
    """Return a SQLAlchemy URL with the path of a SQLite file absolute; references in it stay."""
    match = _RELATIVE_SQLITE.fullmatch(database)
    if match is None:
        return database
    from sqlalchemy import URL  # noqa: PLC0415 - slow to import, and few need it here

    driver, path = match.groups()
    home, slash, below_home = path.partition("/")
    folder = os.path.expanduser(home)  # noqa: PTH111 - as in join_path
    if not slash or folder == home:
        folder, below_home = str(base_dir.resolve()), path
    # Only the folder is new text: SQLAlchemy knows how to write it so that it is read back.
    start = URL.create(driver, database=f"{folder}/").render_as_string(hide_password=False)
    return start + below_home
