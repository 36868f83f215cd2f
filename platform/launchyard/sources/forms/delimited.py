"""Comma and tab separated files.

Every value is a string: what looks like a number, a date or ``NA`` in one block may not in the next, and a text
``007`` is not 7. A kind turns strings into what it needs. An empty field is null, a quoted empty one is the empty
string. Quotes follow RFC 4180: a quoted field may hold delimiters, line breaks and doubled quotes. Where the source
does not say otherwise, quotation marks of a tab separated file are text as soon as one of them fits into no such field,
and such a mark in a comma separated file is an error if rows would be lost.
"""

from __future__ import annotations

import csv
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv

from launchyard.errors import SourceError
from launchyard.sources.forms.layout import (
    QUOTE,
    SAMPLE_CHARACTERS,
    Layout,
    SampleValues,
    find_layout,
    find_stray_quote,
    is_row,
    iter_rows,
)
from launchyard.sources.forms.text import is_compressed, iter_bytes, iter_text, open_bytes
from launchyard.sources.uri_options import TableOptions

BLOCK_BYTES = 2 << 20
"""Longest row; the reader holds about forty blocks at a time."""
_MARKS = re.compile(r"[,;|:^~\t\x01]")
"""What separates fields somewhere, recognised or not."""


@dataclass(frozen=True)
class DelimitedFile:
    """One file of rows, a line each."""

    path: Path
    encoding: str
    shown: str
    ending_delimiter: str
    """What the file's ending stands for: a comma, or a tab."""
    options: TableOptions

    @cached_property
    def layout(self) -> Layout:
        """How the file is written; takes a pass over it where quotes are not told by the source.

        Raises:
            SourceError: a quotation mark would swallow rows, or the file is not of its encoding.
        """
        layout = find_layout(self._start, self.ending_delimiter, self.options)
        if self.options.quote is not None or not self._may_hold_quotes():
            return layout
        body = _skip_lines(self._start, layout)
        num_columns = len(layout.names or next(iter_rows([body], layout), []))
        texts = iter_text(self.path, self.encoding, self.shown)
        values = SampleValues(body, layout)
        stray = find_stray_quote(texts, layout, num_columns, values, in_line=layout.delimiter == "\t")
        if stray is None:
            return layout
        if layout.delimiter == "\t":
            return replace(layout, quote="")
        raise SourceError(
            f"{self.shown}: {self.path.name}, line {stray.line:,}: a field begins with a quotation mark, and the next "
            f"{stray.num_lines:,} lines would be a part of it and no rows. If quotation marks are text in this file, "
            "add #quote=none to the source. If not, write each inside a quoted field twice, and close every quote; a "
            'file that is right as it is can be read with #quote=".'
        )

    def _may_hold_quotes(self) -> bool:
        """Return False when there is no byte of a quotation mark, which is quick to tell."""
        # In other character sets the mark may be other bytes.
        return self.encoding != "utf-8" or any(QUOTE.encode() in chunk for chunk in iter_bytes(self.path, self.shown))

    @cached_property
    def _start(self) -> str:
        start = ""
        for text in iter_text(self.path, self.encoding, self.shown):
            start += text
            if len(start) >= SAMPLE_CHARACTERS:
                break
        return start[:SAMPLE_CHARACTERS]

    def read_schema(self, columns: tuple[str, ...] | None) -> pa.Schema:
        """Return the header as a schema of strings.

        Raises:
            SourceError: the file is empty or not of its encoding, a wanted column stands there twice, or is not there
                because the first line is a row.
        """
        names = _trim(self._read_names())
        repeated = sorted({name for name in (columns or names) if names.count(name) > 1})
        if repeated:
            raise SourceError(f"{self.shown}: the header names column '{repeated[0]}' twice. Rename one.")
        missing = [name for name in columns or () if name not in names]
        if missing and self.layout.names is None:
            self._explain_missing(missing[0], names)
        return pa.schema([(name, pa.string()) for name in dict.fromkeys(names)])

    def _explain_missing(self, missing: str, names: list[str]) -> None:
        """Return when there is nothing to say but which columns there are.

        Raises:
            SourceError: the first line is a row, or is split at the wrong character.
        """
        if is_row(names, self._body, self.layout):
            raise SourceError(
                f"{self.shown}: no column '{missing}': the first line of {self.path.name} reads like a row of "
                f"{len(names)} fields, not like names of columns. Put a header line before it, or add "
                "#header=<name>,<name>,... to the source, with a name for each field in order."
            )
        parts = _MARKS.split(self.layout.delimiter.join(names))
        if missing in (part.strip(" \"'") for part in parts) or (len(names) == 1 and missing in names[0].split()):
            raise SourceError(
                f"{self.shown}: no column '{missing}' where the header line of {self.path.name} is split at "
                f"'{self.layout.delimiter}', though the name stands in it. Name what its fields are separated by: add "
                "#delimiter=semicolon to the source, or tab, pipe, space, or the character itself."
            )

    def _read_names(self) -> list[str]:
        if not self._body.strip():
            raise SourceError(f"{self.shown}: {self.path.name} is empty. A header line and rows are needed.")
        if (names := self.layout.names) is not None:
            if names == self.options.header and next(iter_rows([self._body], self.layout), None) == [*names]:
                raise SourceError(
                    f"{self.shown}: the first line of {self.path.name} is the names that #header= gives, and would be "
                    "read as a row. Remove #header= from the source: the file has a header line."
                )
            return list(names)
        try:
            return next(iter_rows([self._body], self.layout))
        except csv.Error as err:
            raise SourceError(f"{self.shown}: {self.path.name} has no readable header line: {err}.") from err

    @property
    def _body(self) -> str:
        """The start of the file from its header line on."""
        return _skip_lines(self._start, self.layout)

    def iter_tables(self, schema: pa.Schema) -> Iterator[pa.Table]:
        """Yield the columns of ``schema``, block by block.

        Raises:
            SourceError: a row has too few or too many fields, or is not of the encoding; with its line.
        """
        bad_rows: list[pa_csv.InvalidRow] = []
        raw_names = self._read_names()
        raw_by_name = dict(zip(_trim(raw_names), raw_names, strict=True))
        wanted = [raw_by_name.get(name, name) for name in schema.names]
        with self._explain(bad_rows), self._open() as stream:
            reader = pa_csv.open_csv(
                stream,
                read_options=pa_csv.ReadOptions(
                    block_size=BLOCK_BYTES,
                    use_threads=False,
                    skip_rows=self.layout.num_skipped_lines,
                    column_names=self.layout.names,
                ),
                parse_options=pa_csv.ParseOptions(
                    delimiter=self.layout.delimiter,
                    quote_char=self.layout.quote or False,
                    newlines_in_values=bool(self.layout.quote),
                    invalid_row_handler=_keep(bad_rows),
                ),
                convert_options=pa_csv.ConvertOptions(
                    column_types=dict.fromkeys(wanted, pa.string()),
                    include_columns=wanted,
                    # Of a folder of files one may lack a column, and then has null there.
                    include_missing_columns=True,
                    null_values=[""],
                    strings_can_be_null=True,
                    quoted_strings_can_be_null=False,
                ),
            )
            for batch in reader:
                yield pa.Table.from_batches([batch]).rename_columns(schema.names)

    def _open(self) -> pa.NativeFile:
        if is_compressed(self.path):
            # Not Arrow's own decompression, which refuses the zeros that some tools pad a gzip file with.
            stream = pa.PythonFile(open_bytes(self.path, self.shown), mode="r")
        else:
            # Arrow would go by the ending of the name, which may be wrong.
            stream = pa.input_stream(str(self.path), compression=None)
        return stream if self.encoding == "utf-8" else pa.transcoding_input_stream(stream, self.encoding, "utf-8")

    @contextmanager
    def _explain(self, bad_rows: list[pa_csv.InvalidRow]) -> Iterator[None]:
        """Turn the reader's errors, which quote raw rows, into messages that do not."""
        try:
            yield
        except (pa.ArrowInvalid, OSError, EOFError, UnicodeDecodeError, zipfile.BadZipFile, zlib.error) as err:
            # It is an OSError too, and says what is wrong already.
            if isinstance(err, SourceError):
                raise
            # Ends in an error of its own when the file is not of its encoding, or damaged.
            for _ in iter_text(self.path, self.encoding, self.shown):
                pass
            raise SourceError(f"{self.shown}: {self.path.name}: {_describe(err, bad_rows)}") from err


def _trim(names: list[str]) -> list[str]:
    """Return a header's names without white space around them, unless two would become one."""
    trimmed = [name.strip() for name in names]
    return trimmed if len(set(trimmed)) == len(set(names)) else names


def _skip_lines(start: str, layout: Layout) -> str:
    skipped = layout.num_skipped_lines
    return start if not skipped else start.split("\n", skipped)[skipped]


def _keep(bad_rows: list[pa_csv.InvalidRow]) -> Callable[[pa_csv.InvalidRow], str]:
    """Return a handler that notes the bad row and ends the reading."""

    def handle(row: pa_csv.InvalidRow) -> str:
        bad_rows.append(row)
        return "error"

    return handle


def _describe(error: Exception, bad_rows: list[pa_csv.InvalidRow]) -> str:
    if bad_rows:
        row = bad_rows[0]
        return (
            f"row {row.number} has {row.actual_columns} fields, the header {row.expected_columns}. "
            'Put fields that hold delimiters in quotes ("), and close every quote.'
        )
    # pyarrow 25: "straddling object straddles two block boundaries".
    if "straddl" in str(error):
        return f"a row is longer than {BLOCK_BYTES:,} bytes, or a quote is never closed. Check the quotes."
    return f"cannot be read as a table ({type(error).__name__}). Check its form."
