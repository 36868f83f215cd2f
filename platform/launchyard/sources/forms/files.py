"""Files that are rows themselves: a folder or an archive of pictures, sounds or texts, read one after another.

Each row is one file: its ``path`` in the folder or archive, the ``folder`` that it stands in, and what it holds, as
``content`` (bytes) or as ``text``.
"""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pyarrow as pa

from launchyard.errors import SourceError
from launchyard.sources.fetch.archive import open_archive
from launchyard.sources.folders import iter_files

COLUMNS = {"path": pa.string(), "folder": pa.string(), "content": pa.binary(), "text": pa.string()}
"""What is known of a file."""
BATCH_BYTES = 2**24
"""Files of one table, as far as one is not larger."""
MAX_FILE_BYTES = 2**28


@dataclass(frozen=True)
class FileCollection:
    """A folder or an archive whose files are rows."""

    path: Path
    encoding: str
    """Of the files, where their text is asked for."""
    shown: str

    def read_schema(self, columns: tuple[str, ...] | None) -> pa.Schema:
        """Return what is known of each file; its text only where that is asked for, since bytes may be no text.

        Raises:
            SourceError: this is a file, and no archive.
        """
        if not (self.path.is_dir() or zipfile.is_zipfile(self.path) or tarfile.is_tarfile(self.path)):
            raise SourceError(
                f"{self.shown}: '{self.path.name}' is neither a folder nor a zip or tar archive, whose files would be "
                "rows. Name one, or remove #format=files."
            )
        return pa.schema([(name, kind) for name, kind in COLUMNS.items() if name != "text" or name in (columns or ())])

    def iter_tables(self, schema: pa.Schema) -> Iterator[pa.Table]:
        """Yield the files, those of a folder by name; those whose names systems and editors hide are left out.

        Raises:
            SourceError: a file is larger than allowed, is a link in an archive, or is no text of the encoding.
        """
        rows: list[dict[str, object]] = []
        size_bytes = 0
        for name, content in self._iter_files():
            if len(content) > MAX_FILE_BYTES:
                raise SourceError(f"{self.shown}: '{name}' has more than {MAX_FILE_BYTES:,} bytes. Make it smaller.")
            rows.append({column: self._describe(column, name, content) for column in schema.names})
            size_bytes += len(content)
            if size_bytes >= BATCH_BYTES:
                yield pa.Table.from_pylist(rows, schema=schema)
                rows, size_bytes = [], 0
        yield pa.Table.from_pylist(rows, schema=schema)

    def _iter_files(self) -> Iterator[tuple[str, bytes]]:
        """Yield the name and at most one byte more than allowed of each file."""
        if self.path.is_dir():
            found = sorted((path.relative_to(self.path).as_posix(), path) for path in iter_files(self.path))
            for name, path in found:
                if not _is_left_out(name):
                    with path.open("rb") as file:
                        yield name, file.read(MAX_FILE_BYTES + 1)
            return
        with open_archive(self.path, self.shown) as archive:
            yield from archive.iter_files(MAX_FILE_BYTES + 1, is_left_out=_is_left_out)

    def _describe(self, column: str, name: str, content: bytes) -> object:
        if column == "path":
            return name
        if column == "folder":
            return PurePosixPath(name).parent.name or None
        return self._decode(name, content) if column == "text" else content

    def _decode(self, name: str, content: bytes) -> str:
        try:
            return content.decode(self.encoding).removeprefix("\ufeff")
        except UnicodeDecodeError as err:
            raise SourceError(
                f"{self.shown}: '{name}' is no text in {self.encoding}: byte {err.start + 1} is "
                f"0x{content[err.start]:02x}. Say what it is with #encoding=, or read content instead."
            ) from err


def _is_left_out(name: str) -> bool:
    """Return whether a file is an editor's or a system's own; a camera's begin with ``_`` and are not."""
    return any(part.startswith((".", "~$")) or part == "__MACOSX" for part in name.split("/"))
