"""Rows that come from a query or a hub data set, written down as one parquet file in constant memory."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from launchyard.errors import SourceError


def write_rows(tables: Iterable[pa.Table], path: Path, *, shown: str, advance: Callable[[int], None]) -> str:
    """Write rows to a parquet file; return the digest of the rows: of their column names and JSON values.

    The tables may differ in type where one holds only nulls, or whole numbers and another fractions: a column
    gets the one type that holds all its values.

    Args:
        tables: The rows, in order.
        path: The file; a folder beside it is used while the types are not known yet.
        shown: URI for messages.
        advance: Told the bytes written so far.

    Raises:
        SourceError: there is no row, or a column's values have no common type.
    """
    spool = path.with_suffix(".spool")
    # What an interrupted fetch has left.
    shutil.rmtree(spool, ignore_errors=True)
    spool.mkdir(parents=True)
    schema = _spool(tables, spool, shown, advance)
    # Of the rows, because the bytes of a parquet file change with the version of its writer.
    digest = hashlib.sha256(json.dumps(schema.names).encode())
    num_rows = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in _iter_spool(spool):
            table = cast_rows(pa.Table.from_batches([batch]), schema, shown)
            _hash_rows(table, digest.update)
            writer.write_table(table)
            num_rows += table.num_rows
    shutil.rmtree(spool)
    if not num_rows:
        raise SourceError(f"{shown}: gives no rows. Check the query or the split.")
    return digest.hexdigest()


def _spool(tables: Iterable[pa.Table], spool: Path, shown: str, advance: Callable[[int], None]) -> pa.Schema:
    """Write each table as it is, one file per table; return the schema that fits all."""
    schema: pa.Schema | None = None
    size_bytes = 0
    for number, table in enumerate(tables):
        path = spool / f"{number:08d}.arrow"
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table)
        size_bytes += path.stat().st_size
        advance(size_bytes)
        bare = table.schema.remove_metadata()
        schema = bare if schema is None else unify_schemas((schema, bare), shown)
    if schema is None:
        raise SourceError(f"{shown}: gives no rows. Check the query or the split.")
    return schema


def unify_schemas(schemas: Iterable[pa.Schema], shown: str) -> pa.Schema:
    """Return the schema whose columns hold the values of all the given ones.

    Raises:
        SourceError: a column has no such type; the message names it.
    """
    types: dict[str, pa.DataType] = {}
    for schema in schemas:
        for column in schema:
            known = types.setdefault(column.name, column.type)
            if known == column.type:
                continue
            try:
                # A text is a text, however a writer has encoded it.
                types[column.name] = _name_common_type(known, column.type)
            except (pa.ArrowInvalid, pa.ArrowTypeError) as err:
                raise SourceError(
                    f"{shown}: column '{column.name}' is {known} in some rows and {column.type} in others. "
                    "Give it one type where the rows come from."
                ) from err
    return pa.schema(list(types.items()))


def _plain(kind: pa.DataType) -> pa.DataType:
    """Return the type of the values of a type that stores them in a way of its own."""
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(_plain(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, _plain(field.type)) for field in kind])
    return kind


def _name_common_type(first: pa.DataType, second: pa.DataType) -> pa.DataType:
    """Return the type that holds the values of both."""
    kinds = (_plain(first), _plain(second))
    integers = [kind for kind in kinds if pa.types.is_integer(kind)]
    decimals = [kind for kind in kinds if pa.types.is_decimal(kind)]
    if integers and decimals:
        # Arrow's own answer is too small for the integers.
        return pa.decimal128(38, decimals[0].scale)
    if len(integers) == len(kinds) and pa.uint64() in integers:
        # Arrow would keep 63 bits.
        return pa.decimal128(20, 0)
    pair = [pa.schema([("", kind)]) for kind in kinds]
    return pa.unify_schemas(pair, promote_options="permissive").field(0).type


def cast_rows(table: pa.Table, schema: pa.Schema, shown: str) -> pa.Table:
    """Return a table with the types of ``schema``; a column that it lacks is null.

    Raises:
        SourceError: a value is lost by it; the message names the column.
    """
    columns = []
    for field in schema:
        if field.name not in table.column_names:
            columns.append(pa.nulls(table.num_rows, field.type))
            continue
        column = table[field.name]
        try:
            columns.append(column.cast(field.type))
        except pa.ArrowInvalid as err:
            raise SourceError(
                f"{shown}: column '{field.name}' is {column.type} in some rows and {field.type} in others, which does "
                "not hold each value. Give the column one type."
            ) from err
    return pa.table(columns, schema=schema)


def _iter_spool(spool: Path) -> Iterator[pa.RecordBatch]:
    for path in sorted(spool.iterdir()):
        with pa.OSFile(str(path)) as file:
            reader = pa.ipc.open_file(file)
            for number in range(reader.num_record_batches):
                yield reader.get_batch(number)


def _hash_rows(table: pa.Table, update: Callable[[bytes], None]) -> None:
    for row in table.to_pylist():
        update(json.dumps(list(row.values()), default=str, separators=(",", ":")).encode() + b"\n")
