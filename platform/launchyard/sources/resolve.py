"""One resolver from URIs to files and folders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from launchyard.data.manifest import SourceRecord
from launchyard.errors import SourceError
from launchyard.settings import Settings
from launchyard.sources.fetch import hub, pypi, remote, sql
from launchyard.sources.fetch.cache import Cache, Download, Entry, EntryQuery, check_pin, digest_of, list_files
from launchyard.sources.fetch.request import Progress, Request
from launchyard.sources.paths import explain_denied, find_local
from launchyard.sources.uri import Uri, parse_uri
from launchyard.sources.uri_options import Options, TableOptions

Resolver = Callable[[Request], Download | None]
"""Brings a request's content into its workspace; None when what is known is still up to date."""

RESOLVERS: dict[str, Resolver] = {
    "pypi": pypi.download_member,
    "hf": hub.download_repository,
    "s3": remote.download_s3,
    "https": remote.download_http,
    "http": remote.download_http,
    "sql": sql.download_rows,
}


@dataclass(frozen=True)
class Fetched:
    """A source that lies on this machine."""

    path: Path
    """File or folder; read it, never write to it."""
    record: SourceRecord
    encoding: str = "utf-8"
    """Character set of a text table."""
    format: str | None = None
    """What the file is, when the URI says so; else its name does."""
    table: TableOptions = field(default_factory=TableOptions)
    """How the table is written, as far as the URI says so."""


def fetch(uri: str, settings: Settings, *, base_dir: Path, on_progress: Progress | None = None) -> Fetched:
    """Return a source as a file or folder; queries and hub data sets become a parquet file.

    What lies on this machine is used in place; all else is kept in the cache and fetched again only when it
    may have changed: never for a pinned URI or a package's version, for a web or S3 address when its ETag
    or date differs, for a hub repository when its revision moved, for a query always.

    Args:
        uri: A path or URI.
        settings: Where the cache is, how large a download may be, how long to wait.
        base_dir: Folder that relative paths start from: the spec's.
        on_progress: Told how many bytes have arrived.

    Raises:
        SourceError: it cannot be had, or is not the pinned content; the message says what to do.
    """
    try:
        parsed = parse_uri(uri)
    except ValueError as err:
        raise SourceError(f"{err}.") from err
    if parsed.scheme == "file":
        return _describe_local(parsed, find_local(parsed, base_dir))
    cache = Cache(settings.cache_dir)
    wanted = EntryQuery(
        parsed.identify(),
        parsed.address,
        parsed.options.sha256,
        is_immutable=parsed.scheme == "pypi",
    )
    resolver = RESOLVERS[parsed.scheme]
    entry = cache.obtain(
        wanted,
        lambda workspace, known: resolver(Request(parsed, settings, base_dir, workspace, known, on_progress)),
    )
    return _describe_entry(parsed, cache, entry)


def _describe_local(uri: Uri, path: Path) -> Fetched:
    try:
        files = list_files(path)
    except PermissionError as err:
        raise explain_denied(uri, err) from err
    if not files:
        raise SourceError(f"{uri}: the folder {path} holds no file. Put the data there, or name another.")
    sha256 = digest_of(files, is_folder=path.is_dir())
    check_pin(str(uri), uri.options.sha256, sha256)
    record = SourceRecord(uri=str(uri), sha256=sha256, size_bytes=sum(file.size_bytes for file in files))
    return _describe(path, record, uri.options)


def _describe_entry(uri: Uri, cache: Cache, entry: Entry) -> Fetched:
    record = SourceRecord(uri=str(uri), sha256=entry.sha256, size_bytes=entry.size_bytes, licence=entry.licence)
    return _describe(cache.path_of(entry), record, uri.options)


def _describe(path: Path, record: SourceRecord, options: Options) -> Fetched:
    return Fetched(path, record, options.encoding or "utf-8", options.format, options.table)
