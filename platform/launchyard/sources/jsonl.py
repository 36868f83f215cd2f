"""JSON lines: one object a line.

A column's type comes from all lines, so it never depends on where a block ends: numbers are whole only if all are,
a key that is missing is null, and text stays text even where it looks like a date.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.json as pa_json

from launchyard.errors import SourceError
from launchyard.sources.rows import unify_schemas
from launchyard.sources.text import iter_blocks

BLOCK_CHARACTERS = 4 << 20
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
            SourceError: a line is no JSON object, or a wanted column holds more than one type.
        """
        schema = pa.schema([])
        line = 1
        for block in self._iter_blocks():
            found = pa.schema([(f.name, _plain_type(f.type)) for f in self._infer(block, line, columns)])
            wanted = found if columns is None else pa.schema([f for f in found if f.name in columns])
            others = [field for field in found if field.name not in wanted.names]
            schema = unify_schemas((schema, wanted), self.shown)
            for field in others:
                if field.name not in schema.names:
                    schema = schema.append(field)
            line += block.count("\n")
        return schema

    def iter_tables(self, schema: pa.Schema) -> Iterator[pa.Table]:
        """Yield the columns of ``schema``, block by block."""
        line = 1
        for block in self._iter_blocks():
            if block.strip():
                try:
                    yield _parse(block, schema)
                except pa.ArrowInvalid as err:
                    raise SourceError(self._describe(block, line, err)) from err
            line += block.count("\n")

    def _iter_blocks(self) -> Iterator[str]:
        return iter_blocks(self.path, self.encoding, self.shown, size=BLOCK_CHARACTERS)

    def _infer(self, block: str, line: int, columns: tuple[str, ...] | None) -> pa.Schema:
        if not block.strip():
            return pa.schema([])
        try:
            return _parse(block, None).schema
        except pa.ArrowInvalid as err:
            rows = self._load_rows(block, line)
            if columns is None:
                raise SourceError(self._describe(block, line, err)) from err
            # A column that nobody asked for may be as mixed as it likes.
            kept = "\n".join(json.dumps({name: row[name] for name in columns if name in row}) for row in rows)
            try:
                schema = _parse(kept, None).schema
            except pa.ArrowInvalid as again:
                raise SourceError(self._describe(kept, line, again)) from again
            others = sorted({name for row in rows for name in row} - set(schema.names))
            return pa.schema([*schema, *((name, pa.null()) for name in others)])

    def _load_rows(self, block: str, line: int) -> list[dict[str, object]]:
        rows = []
        for number, text in enumerate(block.split("\n"), start=line):
            if not text.strip():
                continue
            try:
                row = json.loads(text)
            except json.JSONDecodeError as err:
                raise SourceError(
                    f"{self.shown}: {self.path.name}, line {number:,}, column {err.colno}: not JSON ({err.msg}). "
                    "Write one object a line."
                ) from err
            if not isinstance(row, dict):
                raise SourceError(
                    f"{self.shown}: {self.path.name}, line {number:,}: a {type(row).__name__}, not an object. "
                    'Write one object a line, such as {"text": "...", "label": "..."}.'
                )
            rows.append(row)
        return rows

    def _describe(self, block: str, line: int, error: pa.ArrowInvalid) -> str:
        self._load_rows(block, line)
        match = _MIXED.search(str(error))
        column = f"column '{match[1]}'" if match else "a column"
        last = line + block.rstrip("\n").count("\n")
        return (
            f"{self.shown}: {self.path.name}, lines {line:,} to {last:,}: {column} holds values of more than one "
            "type. Give it one, for example by quoting its numbers."
        )


def _parse(block: str, schema: pa.Schema | None) -> pa.Table:
    data = block.encode()
    return pa_json.read_json(
        io.BytesIO(data),
        # One block of the reader: its own blocks would have types of their own.
        read_options=pa_json.ReadOptions(use_threads=False, block_size=len(data) + 1),
        parse_options=pa_json.ParseOptions(
            explicit_schema=schema,
            newlines_in_values=False,
            unexpected_field_behavior="infer" if schema is None else "ignore",
        ),
    )


def _plain_type(kind: pa.DataType) -> pa.DataType:
    """Return a type with text in place of the timestamps that the reader guesses from text."""
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_time(kind):
        return pa.string()
    if pa.types.is_list(kind):
        return pa.list_(_plain_type(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, _plain_type(field.type)) for field in kind])
    return kind
