"""Comma and tab separated files.

Every value is a string: what looks like a number, a date or ``NA`` in one block may not in the next, and a text
``007`` is not 7. A kind turns strings into what it needs. An empty field is null, a quoted empty one is the empty
string. Quotes follow RFC 4180: a quoted field may hold delimiters, line breaks and doubled quotes.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv

from launchyard.errors import SourceError
from launchyard.sources.text import is_gzip, iter_text

BLOCK_BYTES = 2 << 20
"""Longest row; the reader holds about forty blocks at a time."""


@dataclass(frozen=True)
class DelimitedFile:
    """One file with a header line."""

    path: Path
    encoding: str
    shown: str
    delimiter: str

    def read_schema(self, columns: tuple[str, ...] | None) -> pa.Schema:
        """Return the header as a schema of strings.

        Raises:
            SourceError: the file is empty or not of its encoding, or a wanted column stands there twice.
        """
        text = iter_text(self.path, self.encoding, self.shown)
        # The reader takes lines; a header needs no more than the first chunk.
        lines = chain.from_iterable(chunk.splitlines(keepends=True) for chunk in text)
        try:
            names = next((row for row in csv.reader(lines, delimiter=self.delimiter) if row), None)
        except csv.Error as err:
            raise SourceError(f"{self.shown}: {self.path.name} has no readable header line: {err}.") from err
        if names is None:
            raise SourceError(f"{self.shown}: {self.path.name} is empty. A header line and rows are needed.")
        repeated = sorted({name for name in (columns or names) if names.count(name) > 1})
        if repeated:
            raise SourceError(f"{self.shown}: the header names column '{repeated[0]}' twice. Rename one.")
        return pa.schema([(name, pa.string()) for name in dict.fromkeys(names)])

    def iter_tables(self, schema: pa.Schema) -> Iterator[pa.Table]:
        """Yield the columns of ``schema``, block by block.

        Raises:
            SourceError: a row has too few or too many fields, or is not of the encoding; with its line.
        """
        bad_rows: list[pa_csv.InvalidRow] = []
        with self._explain(bad_rows), self._open() as stream:
            reader = pa_csv.open_csv(
                stream,
                read_options=pa_csv.ReadOptions(block_size=BLOCK_BYTES, use_threads=False),
                parse_options=pa_csv.ParseOptions(
                    delimiter=self.delimiter,
                    newlines_in_values=True,
                    invalid_row_handler=_keep(bad_rows),
                ),
                convert_options=pa_csv.ConvertOptions(
                    column_types={name: pa.string() for name in schema.names},
                    include_columns=schema.names,
                    null_values=[""],
                    strings_can_be_null=True,
                    quoted_strings_can_be_null=False,
                ),
            )
            for batch in reader:
                yield pa.Table.from_batches([batch])

    def _open(self) -> pa.NativeFile:
        stream = pa.input_stream(str(self.path), compression="gzip" if is_gzip(self.path) else None)
        return stream if self.encoding == "utf-8" else pa.transcoding_input_stream(stream, self.encoding, "utf-8")

    @contextmanager
    def _explain(self, bad_rows: list[pa_csv.InvalidRow]) -> Iterator[None]:
        """Turn the reader's errors, which quote raw rows, into messages that do not."""
        try:
            yield
        except (pa.ArrowInvalid, OSError, UnicodeDecodeError) as err:
            if isinstance(err, SourceError):
                raise
            # Ends in an error of its own when the file is not of its encoding, or damaged.
            for _ in iter_text(self.path, self.encoding, self.shown):
                pass
            raise SourceError(f"{self.shown}: {self.path.name}: {_describe(err, bad_rows)}") from err


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
    if "straddl" in str(error):
        return f"a row is longer than {BLOCK_BYTES:,} bytes, or a quote is never closed. Check the quotes."
    return f"cannot be read as a table ({type(error).__name__}). Check its form."
