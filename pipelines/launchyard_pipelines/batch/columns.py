"""Columns of a batch prediction's output, and what its input's columns hold, read from the predictor's schemas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

import pyarrow as pa
from pydantic_core import to_json

from launchyard.contract.media import ENCODING, Media
from launchyard.contract.predictor import Output, Schema
from launchyard.errors import SpecError
from launchyard.prediction.schemas import Part, describe_schema, iter_choices, list_fields
from launchyard.sources.fetch.request import describe_nearest

EXPLANATION = "explanation"
"""Field of outputs that only the predictor's ``explain`` fills."""
PLAIN_TYPES = {"string": pa.string(), "number": pa.float64(), "integer": pa.int64(), "boolean": pa.bool_()}
INPUT_PREFIX = "input_"
"""Put before a column's name where an answer has that name."""
JSON_TEXT = pa.large_string()
"""What no column has a type for, such as a field that is a text or a number: other values than texts as JSON."""

Definitions = Mapping[str, Part]


def describe_answers(output_schema: Schema) -> pa.Schema:
    """Return the columns that answers fill: lists and objects stay nested, open objects become maps.

    Answers of several shapes have the columns of all. What may be of several types is text, see :data:`JSON_TEXT`.

    Raises:
        TypeError: answers are no objects.
    """
    document = describe_schema(output_schema, "serialization")
    found = _find_type(document, document.get("$defs", {}), ())
    if not pa.types.is_struct(found):
        raise TypeError("output schema: answers must be objects, or each a file could not name its columns.")
    return pa.schema([field for field in found if field.name != EXPLANATION])


def match_columns(input_schema: Schema, columns: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
    """Return field of an input -> its column: the one that ``given`` names, else the one of the same name.

    Raises:
        SpecError: ``given`` names what is not there, or a field that an input must have has no column.
    """
    known = list_fields(input_schema)
    for name, column in given.items():
        if name not in known:
            raise SpecError(f"--column {name}={column}: inputs have no field '{name}'. {describe_nearest(name, known)}")
        if column and column not in columns:
            hint = describe_nearest(column, columns)
            raise SpecError(f"--column {name}={column}: the input has no column '{column}'. {hint}")
    fields = {name: column for name in known if (column := given.get(name, name)) in columns}
    missing = [name for name, is_required in known.items() if is_required and name not in fields]
    if missing or not fields:
        wanted = missing[0] if missing else next(iter(known))
        raise SpecError(
            f"--input: no column is named '{wanted}', found {', '.join(columns)}. Name the column that holds it with "
            f"--column {wanted}=COLUMN. Fields of an input: {', '.join(known)}."
        )
    return fields


def name_carried(columns: Sequence[str], taken: set[str]) -> dict[str, str]:
    """Return column of the output -> column of the input that stands in it, renamed where an answer has its name.

    >>> name_carried(["id", "label"], {"label"})
    {'id': 'id', 'input_label': 'label'}

    Raises:
        SpecError: the other name is taken too.
    """
    carried: dict[str, str] = {}
    for column in columns:
        name = INPUT_PREFIX + column if column in taken else column
        if name in carried or (name != column and name in columns):
            raise SpecError(
                f"--input: columns '{column}' and '{name}' would both be '{name}' in the output. Rename one."
            )
        carried[name] = column
    return carried


def make_column(answered: Sequence[Output], field: pa.Field) -> pa.Array:
    """Return one column of answers; rows without one hold null."""
    values = [output.get(field.name) for output in answered]
    if pa.types.is_binary(field.type):
        values = [value.data if isinstance(value, Media) else value for value in values]
    elif _has_text(field.type):
        values = [_spell(value, field.type) for value in values]
    return pa.array(values, field.type)


def _find_type(part: Part, definitions: Definitions, above: tuple[int, ...]) -> pa.DataType:
    """Return the Arrow type of a part of a JSON schema; ``above`` holds the parts around it."""
    choices = [choice for choice in iter_choices(part, definitions) if choice.get("type") != "null"]
    if any(id(choice) in above for choice in choices):
        return JSON_TEXT
    return reduce(_merge, (_find_plain(choice, definitions, (*above, id(choice))) for choice in choices), pa.null())


def _find_plain(part: Part, definitions: Definitions, above: tuple[int, ...]) -> pa.DataType:
    kind = part.get("type")
    if part.get("contentEncoding") == ENCODING:
        return pa.binary()
    if kind in PLAIN_TYPES:
        return PLAIN_TYPES[kind]
    if kind == "array" and ("items" in part or "prefixItems" in part):
        items = [*part.get("prefixItems", ()), *([part["items"]] if "items" in part else ())]
        return pa.list_(reduce(_merge, (_find_type(item, definitions, above) for item in items)))
    if "properties" in part:
        found = {name: _find_type(inner, definitions, above) for name, inner in part["properties"].items()}
        return pa.struct(list(found.items()))
    if isinstance(part.get("additionalProperties"), dict):
        return pa.map_(pa.string(), _find_type(part["additionalProperties"], definitions, above))
    return JSON_TEXT


def _merge(left: pa.DataType, right: pa.DataType) -> pa.DataType:
    """Return the type of what may be of either."""
    if left == right or pa.types.is_null(right):
        return left
    if pa.types.is_null(left):
        return right
    if {left, right} == {pa.int64(), pa.float64()}:
        return pa.float64()
    if pa.types.is_list(left) and pa.types.is_list(right):
        return pa.list_(_merge(left.value_type, right.value_type))
    if pa.types.is_struct(left) and pa.types.is_struct(right):
        fields = {field.name: field.type for field in left}
        for field in right:
            fields[field.name] = _merge(fields[field.name], field.type) if field.name in fields else field.type
        return pa.struct(list(fields.items()))
    return JSON_TEXT


def _has_text(kind: pa.DataType) -> bool:
    """Tell whether JSON texts stand somewhere in values of a type."""
    return kind == JSON_TEXT or any(_has_text(kind.field(place).type) for place in range(kind.num_fields))


def _spell(value: Any, kind: pa.DataType) -> Any:
    """Return a value with JSON texts where its type asks for them."""
    if value is None:
        return None
    if kind == JSON_TEXT:
        return value if isinstance(value, str) else to_json(value, inf_nan_mode="constants").decode()
    if pa.types.is_list(kind):
        return [_spell(item, kind.value_type) for item in value]
    if pa.types.is_map(kind):
        return {key: _spell(item, kind.item_type) for key, item in value.items()}
    if pa.types.is_struct(kind):
        return {field.name: _spell(value.get(field.name), field.type) for field in kind}
    return value
