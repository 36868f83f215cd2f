"""Files that a table names in a column: read, or fetched through the cache, a few rows at a time, and looked at.

A value is a path below the table's folder, a URI, the bytes themselves, or a struct of ``bytes`` and ``path``, as
Hugging Face writes pictures and sounds. A table that lies on this machine may also name any other file of it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from launchyard.data.values.columns import number_row
from launchyard.data.values.redact import quote_value
from launchyard.errors import SourceError
from launchyard.media import sniff_media_type
from launchyard.settings import Settings
from launchyard.sources.forms.files import BATCH_BYTES, MAX_FILE_BYTES
from launchyard.sources.resolve import Fetched, fetch
from launchyard.sources.uri import parse_uri

FETCHED = ("https", "http", "s3", "pypi")
"""Schemes of URIs that a table may name, whoever wrote it."""
MISSING, OTHER_TYPE = "cannot be had", "are of another type"


@dataclass
class FileLoader:
    """Puts the bytes of files into the columns that name them; null where a file is missing or of another type."""

    settings: Settings
    columns: Mapping[str, tuple[str, ...]]
    """Column -> the media types that its files may have; none: any."""
    batch_bytes: int = BATCH_BYTES
    """Files in memory at once, as far as one row has no more."""
    lost: Counter[str] = field(default_factory=Counter)
    """Why files are null -> how many."""
    first_lost: str = ""

    def load(self, tables: Iterable[pa.Table], fetched: Fetched) -> Iterator[pa.Table]:
        """Yield the rows of a source with their files, in tables of few bytes.

        Raises:
            SourceError: a file is larger than allowed, or a table from elsewhere names one outside its folder.
        """
        for table in tables:
            start = 0
            while start < table.num_rows:
                files: dict[str, list[bytes | None]] = {name: [] for name in self.columns}
                size_bytes, end = 0, start
                while end < table.num_rows and size_bytes < self.batch_bytes:
                    for name, found in files.items():
                        found.append(self._load(table, name, end, fetched))
                        size_bytes += len(found[-1] or b"")
                    end += 1
                part = table.slice(start, end - start)
                for name, found in files.items():
                    part = part.set_column(part.column_names.index(name), name, pa.array(found, pa.binary()))
                yield part
                start = end

    def describe_lost(self) -> str:
        """Return in words which files are null, and the first of them; empty when none is."""
        counts = " and ".join(f"{count:,} files {reason}" for reason, count in self.lost.items())
        return f"{counts}, such as {self.first_lost}" if counts else ""

    def _load(self, table: pa.Table, column: str, place: int, fetched: Fetched) -> bytes | None:
        value = table[column][place].as_py()
        if isinstance(value, dict):
            value = value.get("bytes") or value.get("path")
        if value is None or value == "":
            return None
        shown = "bytes" if isinstance(value, bytes) else quote_value(str(value))
        where = f"{shown} in row {number_row(table, place)} of column '{column}'"
        content = value if isinstance(value, bytes) else self._read(str(value), fetched, where)
        if content is None:
            self._lose(MISSING, where)
            return None
        if len(content) > MAX_FILE_BYTES:
            raise SourceError(f"{fetched.record.uri}: {where} has more than {MAX_FILE_BYTES:,} bytes. Make it smaller.")
        types = self.columns[column]
        if types and (found := sniff_media_type(content)) not in types:
            self._lose(OTHER_TYPE, f"{where}, which is {found or 'of no known type'} and not {', '.join(types)}")
            return None
        return content

    def _read(self, name: str, fetched: Fetched, where: str) -> bytes | None:
        """Return the first bytes of a file, one more than allowed; None when it cannot be had."""
        path = self._fetch(name, fetched, where) if "://" in name else self._find(name, fetched, where)
        if path is None or not path.is_file():
            return None
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES + 1)

    def _fetch(self, uri: str, fetched: Fetched, where: str) -> Path | None:
        if uri.partition("://")[0] not in FETCHED:
            raise SourceError(
                f"{fetched.record.uri}: {where} cannot be fetched. A table may name {', '.join(FETCHED)}."
            )
        try:
            return fetch(uri, self.settings, base_dir=_find_base(fetched)).path
        except SourceError:
            return None

    def _find(self, name: str, fetched: Fetched, where: str) -> Path:
        base = _find_base(fetched)
        path = base / name
        is_own = parse_uri(fetched.record.uri).scheme == "file"
        # By the names alone: what a hub keeps are links into its own store.
        if not is_own and not Path(os.path.normpath(path)).is_relative_to(base):
            raise SourceError(
                f"{fetched.record.uri}: {where} is outside the table's folder, and a table from elsewhere reads no "
                "files of this machine. Name a file beside it, or a URI."
            )
        return path

    def _lose(self, reason: str, where: str) -> None:
        self.lost[reason] += 1
        self.first_lost = self.first_lost or where


def _find_base(fetched: Fetched) -> Path:
    """Return the folder that the names in a table start from."""
    return fetched.path if fetched.path.is_dir() else fetched.path.parent
