"""Rows of a fetched source as Arrow tables, in constant memory.

Known are csv, tsv, jsonl, json and parquet, each also gzipped or alone in a zip archive, and folders of such files.
Every table of a source has the same columns and types, whatever its size; see ``delimited`` and ``jsonl`` for what
decides the types. A name with dots, such as ``review.text``, is that of a column, or else of a key inside one.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from launchyard.errors import SourceError
from launchyard.sources.fetch.request import describe_nearest
from launchyard.sources.fetch.rows import cast_rows, unify_schemas
from launchyard.sources.folders import iter_files
from launchyard.sources.forms.delimited import DelimitedFile
from launchyard.sources.forms.files import FileCollection
from launchyard.sources.forms.json_array import JsonFile
from launchyard.sources.forms.jsonl import JsonLinesFile
from launchyard.sources.forms.nested import find_columns, has_key, list_names, take_keys
from launchyard.sources.forms.text import (
    MAX_EXPANDED_BYTES,
    SUFFIXES,
    find_zip_member,
    is_compressed,
    is_hidden,
    is_zip,
    iter_bytes,
    iter_lines,
)
from launchyard.sources.resolve import Fetched
from launchyard.sources.uri_options import FILES, FORMATS

READ_AHEAD_BYTES = 1 << 20
MANY_ROWS, FEW_ROWS = 65_536, 64
"""Rows of a parquet file that are read at once; few where they may be large."""
MOST_BYTES = 2**26
"""Rows of one table, as far as one is not larger."""


class TableFile(Protocol):
    """One file of rows."""

    @property
    def path(self) -> Path:
        """Where it lies."""
        ...

    def read_schema(self, columns: tuple[str, ...] | None) -> pa.Schema:
        """Return the types of at least the wanted columns, and the names of all."""
        ...

    def iter_tables(self, schema: pa.Schema) -> Iterator[pa.Table]:
        """Yield the columns of ``schema``, in tables of any length."""
        ...


@dataclass(frozen=True)
class ParquetFile:
    """One parquet file, read page by page."""

    path: Path
    shown: str

    def read_schema(self, columns: tuple[str, ...] | None) -> pa.Schema:
        """Return the file's schema.

        Raises:
            SourceError: it is damaged, or a wanted column stands there twice.
        """
        with self._open() as file:
            schema = file.schema_arrow.remove_metadata()
        names = schema.names
        if repeated := sorted({name for name in (columns or names) if names.count(name) > 1}):
            raise SourceError(f"{self.shown}: {self.path.name} names column '{repeated[0]}' twice. Rename one.")
        return schema

    def iter_tables(self, schema: pa.Schema) -> Iterator[pa.Table]:
        """Yield the columns of ``schema``, cast to its types; one that the file lacks is null.

        Raises:
            SourceError: it is damaged, or a value is lost by the cast.
        """
        with self._open() as file:
            columns = [name for name in schema.names if name in file.schema_arrow.names]
            # A cell may be a whole picture.
            has_bytes = any(pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type) for field in schema)
            for batch in file.iter_batches(FEW_ROWS if has_bytes else MANY_ROWS, columns=columns):
                yield cast_rows(pa.Table.from_batches([batch]), schema, self.shown)

    @contextmanager
    def _open(self) -> Iterator[pq.ParquetFile]:
        try:
            with (
                self._open_plain() as source,
                pq.ParquetFile(
                    # Pre-buffering would load whole row groups, which some writers make as large as the file.
                    source,
                    pre_buffer=False,
                    buffer_size=READ_AHEAD_BYTES,
                ) as file,
            ):
                yield file
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as err:
            raise SourceError(f"{self.shown}: {self.path.name} cannot be read as parquet: {err}") from err

    @contextmanager
    def _open_plain(self) -> Iterator[IO[bytes]]:
        if not is_compressed(self.path):
            with pa.OSFile(str(self.path)) as file:
                yield file
            return
        # Has no name, so nothing raw stays behind.
        with tempfile.TemporaryFile() as expanded:
            size_bytes = 0
            for chunk in iter_bytes(self.path, self.shown):
                size_bytes += len(chunk)
                if size_bytes > MAX_EXPANDED_BYTES:
                    raise SourceError(
                        f"{self.shown}: {self.path.name} expands to more than {MAX_EXPANDED_BYTES:,} bytes. Store "
                        "parquet as it is: it compresses by itself."
                    )
                expanded.write(chunk)
            yield expanded


def iter_tables(
    fetched: Fetched,
    columns: tuple[str, ...] | None,
    *,
    batch_rows: int = 20_000,
    advice: Mapping[str, str] | None = None,
) -> Iterator[pa.Table]:
    """Yield a source's rows, in order, in tables of ``batch_rows`` rows; of fewer where rows are large, and at the end.

    Args:
        fetched: A file, or a folder of files of one format, taken in the order of their names.
        columns: The columns to load, in this order; None loads all.
        batch_rows: Rows of each table.
        advice: Column -> what to do where a source has no such column, for the message.

    Raises:
        SourceError: it holds no table, lacks a column, has no row, or a row is damaged.
    """
    shown = fetched.record.uri
    columns = _limit_columns(columns, fetched)
    files = [_open_table(path, fetched) for path in _find_tables(fetched)]
    # A key inside a column is asked for by the column's name too.
    asked = None if columns is None else tuple(dict.fromkeys((*columns, *(name.split(".")[0] for name in columns))))
    schemas = [file.read_schema(asked) for file in files]
    if columns is not None:
        _check_columns(files, schemas, columns, shown, advice or {})
    names = columns if columns is not None else tuple(dict.fromkeys(name for s in schemas for name in s.names))
    tops = find_columns(names, schemas)
    if columns is not None:
        _check_same_form(files, schemas, tops, shown)
    # Of the wanted columns alone: what nobody reads may differ from file to file.
    schema = unify_schemas((pa.schema([f for f in s if f.name in tops.values()]) for s in schemas), shown)
    wanted = pa.schema([schema.field(name) for name in dict.fromkeys(tops.values())])
    tables = (table for file in files for table in file.iter_tables(wanted))
    num_rows = 0
    for table in _rebatch((take_keys(table, tops) for table in tables), batch_rows):
        num_rows += table.num_rows
        yield table
        # The allocator would keep the memory of freed blocks, more of it the longer the file is.
        pa.default_memory_pool().release_unused()
    if not num_rows:
        raise SourceError(f"{shown}: holds no rows. Check that it is the right source.")


def iter_class_tables(classes: Mapping[str, Fetched], *, batch_rows: int = 20_000) -> Iterator[pa.Table]:
    """Yield the lines of one text file per class, class by class, as columns ``text`` and ``label``.

    Blank lines are no rows.

    Raises:
        SourceError: a file has no line, is a folder, or is not of its encoding.
    """
    for label, fetched in classes.items():
        shown = fetched.record.uri
        if fetched.path.is_dir():
            raise SourceError(f"{shown}: a folder, where class '{label}' needs a text file. Name the file.")
        lines = iter_lines(fetched.path, fetched.encoding, shown)
        is_empty = True
        while texts := list(islice(lines, batch_rows)):
            is_empty = False
            yield pa.table({"text": texts, "label": [label] * len(texts)}, schema=CLASS_SCHEMA)
        if is_empty:
            raise SourceError(f"{shown}: holds no line of class '{label}'. Check that it is the right source.")


CLASS_SCHEMA = pa.schema([("text", pa.string()), ("label", pa.string())])


def _find_tables(fetched: Fetched) -> list[Path]:
    if fetched.path.is_file() or fetched.format == FILES:
        return [fetched.path]
    folder = fetched.path
    files = sorted(path for path in iter_files(folder) if not is_hidden(path.relative_to(folder).as_posix()))
    # Beside tables, an archive is what they were unpacked from, and .json is what describes them.
    tables = [path for path in files if not is_zip(path) and (fetched.format or _find_format(path) or "json") != "json"]
    tables = tables or [path for path in files if fetched.format or _find_format(path)]
    if not tables:
        nearest = describe_nearest("", (path.name for path in files))
        raise SourceError(
            f"{fetched.record.uri}: no table in this folder. {nearest} Known: {', '.join(SUFFIXES)}. If each file is a "
            f"row, add #format={FILES}."
        )
    formats = sorted({found for path in tables if (found := fetched.format or _find_format(path))})
    if len(formats) > 1:
        raise SourceError(
            f"{fetched.record.uri}: files of more than one format in this folder: {', '.join(formats)}. "
            "Name one file, or a folder of one format."
        )
    return tables


def _find_format(path: Path) -> str | None:
    name = path.name.lower().removesuffix(".gz")
    if name.endswith(".zip"):
        # A name such as reviews.csv.zip says it; for any other, the archive is opened.
        name = (
            name.removesuffix(".zip")
            if Path(name[:-4]).suffix in SUFFIXES
            else find_zip_member(path, path.name).filename
        )
    return SUFFIXES.get(Path(name.lower()).suffix)


def _open_table(path: Path, fetched: Fetched) -> TableFile:
    shown = fetched.record.uri
    found = fetched.format or _find_format(path)
    if found == "csv":
        return DelimitedFile(path, fetched.encoding, shown, ",", fetched.table)
    if found == "tsv":
        return DelimitedFile(path, fetched.encoding, shown, "\t", fetched.table)
    if found == "jsonl":
        return JsonLinesFile(path, fetched.encoding, shown)
    if found == "json":
        return JsonFile(path, fetched.encoding, shown)
    if found == "parquet":
        return ParquetFile(path, shown)
    if found == FILES:
        return FileCollection(path, fetched.encoding, shown)
    raise SourceError(
        f"{shown}: '{path.name}' does not say what it is. Known endings: {', '.join(SUFFIXES)}, each also with .gz or "
        f".zip. Or add #format=<name> to the source, one of {', '.join(FORMATS)}."
    )


def _limit_columns(columns: tuple[str, ...] | None, fetched: Fetched) -> tuple[str, ...] | None:
    """Return the columns to load, of those that the source lets be read."""
    readable = fetched.table.columns
    if columns is None or readable is None:
        return columns or readable
    if missing := [name for name in columns if name not in readable]:
        raise SourceError(
            f"{fetched.record.uri}: column '{missing[0]}' is not among the #columns of the source. Add it there."
        )
    return columns


def _check_columns(
    files: Iterable[TableFile],
    schemas: Iterable[pa.Schema],
    columns: tuple[str, ...],
    shown: str,
    advice: Mapping[str, str],
) -> None:
    for file, schema in zip(files, schemas, strict=True):
        missing = [name for name in columns if not has_key(schema, name)]
        if missing:
            nearest = describe_nearest(missing[0], list_names(schema))
            told = f"{nearest} {advice.get(missing[0], '')}".rstrip()
            raise SourceError(f"{shown}: no column '{missing[0]}' in {file.path.name}. {told}")


def _check_same_form(
    files: Iterable[TableFile], schemas: Iterable[pa.Schema], tops: Mapping[str, str], shown: str
) -> None:
    for file, schema in zip(files, schemas, strict=True):
        for name, top in tops.items():
            if top not in schema.names:
                raise SourceError(
                    f"{shown}: '{name}' is a column in some files and a key inside one in {file.path.name}. "
                    "Give all files one form."
                )


def _rebatch(tables: Iterable[pa.Table], batch_rows: int) -> Iterator[pa.Table]:
    """Yield the same rows in tables of ``batch_rows``, of fewer where they would be more than ``MOST_BYTES``."""
    pending: list[pa.Table] = []
    num_pending = 0
    for table in tables:
        start = 0
        while start < table.num_rows:
            piece = table.slice(start, batch_rows - num_pending)
            start += piece.num_rows
            num_pending += piece.num_rows
            pending.append(piece)
            if num_pending == batch_rows or sum(waiting.nbytes for waiting in pending) >= MOST_BYTES:
                # A copy, because a slice would keep its whole block in memory.
                yield pa.concat_tables(pending).combine_chunks()
                pending, num_pending = [], 0
    if pending:
        yield pa.concat_tables(pending).combine_chunks()
