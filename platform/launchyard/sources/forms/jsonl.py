"""JSON lines: one object a line.

A column's type comes from all lines, so it never depends on where a block ends: numbers are whole only if all are,
a key that is missing is null, and text stays text even where it looks like a date. Whole numbers are exact, whatever
their size: a column that doubles would round is of decimals. Half of a surrogate pair becomes U+FFFD.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from launchyard.errors import SourceError
from launchyard.sources.forms.json_rows import dump_rows, explain_rows, load_rows
from launchyard.sources.forms.json_types import ColumnTypes, parse_json
from launchyard.sources.forms.text import iter_blocks

BLOCK_CHARACTERS = 4 << 20
# How pyarrow 25 names the column in question.
_MIXED = re.compile(r"Column\(/([^)]*)\) (?:changed|was specified)")


@dataclass(frozen=True)
class JsonLinesFile:
    """One file of objects."""

    path: Path
    encoding: str
    shown: str

    def read_schema(self, columns: tuple[str, ...] | None) -> pa.Schema:
        """Return the type of every column, which takes a pass over the file.

        Raises:
            SourceError: a line is no JSON object or has a wanted key twice, or a wanted column holds more than one
                type.
        """
        types = ColumnTypes(columns, self.shown)
        for line, block in self._number_blocks():
            types.add(block, self._infer(block, line, columns))
        return types.finish(lambda: (block for _, block in self._number_blocks()))

    def iter_tables(self, schema: pa.Schema) -> Iterator[pa.Table]:
        """Yield the columns of ``schema``, block by block."""
        for line, block in self._number_blocks():
            try:
                yield parse_json(block, schema)
            except pa.ArrowInvalid as err:
                raise SourceError(self._describe(block, line, err, tuple(schema.names))) from err

    def _iter_blocks(self) -> Iterator[str]:
        return iter_blocks(self.path, self.encoding, self.shown, size=BLOCK_CHARACTERS)

    def _number_blocks(self) -> Iterator[tuple[int, str]]:
        """Yield the blocks that are not blank, with the number of the first line of each."""
        line = 1
        for block in self._iter_blocks():
            if block.strip():
                yield line, block
            line += block.count("\n")

    def _infer(self, block: str, line: int, columns: tuple[str, ...] | None) -> pa.Table:
        """Return the rows of a block; a column that nobody asked for may be as mixed as it likes."""
        try:
            return parse_json(block, None)
        except pa.ArrowInvalid as err:
            if columns is None:
                raise SourceError(self._describe(block, line, err, None)) from err
            rows = load_rows(block, self._place, line, columns)
            try:
                table = parse_json(dump_rows(rows, columns), None)
            except pa.ArrowInvalid as again:
                raise SourceError(self._describe(block, line, again, columns)) from again
            # Their names are needed for the message when a wanted column is missing; their types are not.
            for name in sorted({name for row in rows.values() for name in row} - set(table.column_names)):
                table = table.append_column(name, pa.nulls(table.num_rows))
            return table

    @property
    def _place(self) -> str:
        return f"{self.shown}: {self.path.name}"

    def _describe(self, block: str, line: int, error: pa.ArrowInvalid, columns: tuple[str, ...] | None) -> str:
        match = _MIXED.search(str(error))
        rows = load_rows(block, self._place, line, columns)
        explain_rows(rows, self._place, match[1].partition("/")[0] if match else None)
        column = f"column '{match[1]}'" if match else "a column"
        last = line + block.rstrip("\n").count("\n")
        return (
            f"{self._place}, lines {line:,} to {last:,}: {column} holds values of more than one type. Give it one, for "
            "example by quoting its numbers."
        )
