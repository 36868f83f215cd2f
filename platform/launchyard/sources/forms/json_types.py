"""The types of JSON columns, from block to block: whole numbers stay exact, whatever their size."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pa_json

from launchyard.sources.fetch.rows import unify_schemas
from launchyard.sources.forms.json_rows import replace_lone_surrogates, replace_nan

Path = tuple[str, ...]
"""Name of a column, and of the keys that lead to a value inside it."""
# Beyond it doubles leave whole numbers out.
EXACT_IN_DOUBLE = 2.0**53
EXACT_TYPES = tuple(pa.decimal128(38, scale) for scale in (0, 9, 18))
"""What a column of large whole numbers becomes: the first that holds all of its numbers."""


class ColumnTypes:
    """The types of a file's columns as far as it has been read.

    Args:
        columns: Those of which only one type will do; None: all of them.
        shown: The source, for messages.
    """

    def __init__(self, columns: tuple[str, ...] | None, shown: str) -> None:
        self._columns = columns
        self._shown = shown
        self._schema = pa.schema([])
        self._large: set[Path] = set()
        """Where there is a number that a double may not hold."""
        self._rounded: set[Path] = set()
        """Where some block has doubles."""
        self._nan: set[Path] = set()
        """Where some block has nothing but NaN, which is written for what is missing and says nothing of the type."""

    def add(self, block: str, table: pa.Table) -> None:
        """Take in a block, as it is written and as it was parsed.

        Raises:
            SourceError: a wanted column has no type that holds its values.
        """
        found = pa.schema([(name, self._find_type((name,), table[name], block)) for name in table.column_names])
        wanted = [field for field in found if self._is_wanted(field.name)]
        self._schema = unify_schemas((self._schema, pa.schema(wanted)), self._shown)
        for field in found:
            if field.name not in self._schema.names:
                self._schema = self._schema.append(field)

    def finish(self, iter_blocks: Callable[[], Iterable[str]]) -> pa.Schema:
        """Return the schema; ``iter_blocks`` reads the file again, which only mixed columns of large numbers need."""
        common = {path: _find_common_type(path, iter_blocks) for path in self._large & self._rounded}
        return pa.schema([(field.name, self._settle((field.name,), field.type, common)) for field in self._schema])

    def _is_wanted(self, name: str) -> bool:
        return self._columns is None or name in self._columns

    def _find_type(self, path: Path, values: pa.ChunkedArray, block: str) -> pa.DataType:
        kind = values.type
        if pa.types.is_struct(kind):
            parts = [(field.name, pc.struct_field(values, [place])) for place, field in enumerate(kind)]
            return pa.struct([(name, self._find_type((*path, name), part, block)) for name, part in parts])
        if kind == pa.float64() and pc.all(pc.is_nan(values)).as_py() is not False:
            self._nan.add(path)
            return pa.null()
        if self._is_wanted(path[0]) and _has_large(values):
            self._large.add(path)
            if kind == pa.float64() and _can_parse(block, path, EXACT_TYPES[0]):
                return EXACT_TYPES[0]
        if kind == pa.float64():
            self._rounded.add(path)
        return _name_plain_type(kind)

    def _settle(self, path: Path, kind: pa.DataType, common: dict[Path, pa.DataType]) -> pa.DataType:
        if pa.types.is_struct(kind):
            return pa.struct([(part.name, self._settle((*path, part.name), part.type, common)) for part in kind])
        # What is NaN in all lines is a number after all.
        return common.get(path, pa.float64() if kind == pa.null() and path in self._nan else kind)


def parse_json(block: str, schema: pa.Schema | None) -> pa.Table:
    """Return lines of JSON as a table of all columns, or of those of ``schema`` in its types.

    Half of a surrogate pair becomes U+FFFD.

    Raises:
        pyarrow.ArrowInvalid: a line is no object, or a value is not of its column's type.
    """
    try:
        return _parse_valid(block, schema)
    except pa.ArrowInvalid as err:
        # pyarrow 25 has no option for either, and mending every block beforehand would cost a pass over each.
        if "surrogate" in str(err):
            return _parse_valid(replace_lone_surrogates(block), schema)
        if "'NaN' is not a valid decimal" in str(err):
            return _parse_valid(replace_nan(block), schema)
        raise


def _parse_valid(block: str, schema: pa.Schema | None) -> pa.Table:
    if block.lstrip().startswith("null"):
        # pyarrow 25 ends the process where null comes first and no object follows.
        return _parse_valid("{}\n" + block, schema).slice(1)
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


def _has_large(values: pa.ChunkedArray) -> bool:
    """Return whether there are numbers that a double may not hold."""
    if values.type not in (pa.int64(), pa.float64()):
        return False
    smallest, largest = (bound.as_py() for bound in pc.min_max(values).values())
    return smallest is not None and max(-smallest, largest) > EXACT_IN_DOUBLE


def _can_parse(block: str, path: Path, kind: pa.DataType) -> bool:
    """Return whether all values of one column, or of one key inside it, are of this type."""
    for name in reversed(path[1:]):
        kind = pa.struct([(name, kind)])
    try:
        parse_json(block, pa.schema([(path[0], kind)]))
    except pa.ArrowInvalid:
        return False
    return True


def _find_common_type(path: Path, iter_blocks: Callable[[], Iterable[str]]) -> pa.DataType:
    """Return the type that holds all numbers of a column exactly; double if none does."""
    fits = (kind for kind in EXACT_TYPES if all(_can_parse(block, path, kind) for block in iter_blocks()))
    return next(fits, pa.float64())


def _name_plain_type(kind: pa.DataType) -> pa.DataType:
    """Return a type with text in place of the timestamps that the reader guesses from text."""
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_time(kind):
        return pa.string()
    if pa.types.is_list(kind):
        return pa.list_(_name_plain_type(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, _name_plain_type(field.type)) for field in kind])
    return kind
