"""Keys inside a column: ``review.text`` is the key ``text`` of the objects in column ``review``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pyarrow as pa
import pyarrow.compute as pc


def find_columns(names: Iterable[str], schemas: Iterable[pa.Schema]) -> dict[str, str]:
    """Return name -> the column that holds it: one of that name, else the one that its first part names."""
    known = {name for schema in schemas for name in schema.names}
    return {name: name if name in known else name.partition(".")[0] for name in names}


def take_keys(table: pa.Table, tops: Mapping[str, str]) -> pa.Table:
    """Return the columns called by the keys of ``tops``, each the column of its value or a key inside that."""
    if all(name == top for name, top in tops.items()):
        return table
    arrays = [
        table[name] if name == top else pc.struct_field(table[top], name.split(".")[1:]) for name, top in tops.items()
    ]
    return pa.table(arrays, names=list(tops))


def has_key(schema: pa.Schema, name: str) -> bool:
    """Return whether a schema has a column of this name, or a key inside one that the dots of the name lead to."""
    if name in schema.names:
        return True
    top, *keys = name.split(".")
    kind = schema.field(top).type if keys and top in schema.names else None
    for key in keys:
        if kind is None or not pa.types.is_struct(kind) or kind.get_field_index(key) < 0:
            return False
        kind = kind.field(key).type
    return kind is not None


def list_names(schema: pa.Schema) -> list[str]:
    """Return the names of a schema's columns; of one that holds keys, the names of these."""
    names: list[str] = []
    for field in schema:
        keys = list_names(pa.schema(list(field.type))) if pa.types.is_struct(field.type) else []
        names += [f"{field.name}.{key}" for key in keys] or [field.name]
    return names
