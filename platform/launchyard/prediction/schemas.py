"""What inputs and outputs look like, read from a predictor's schemas: a pydantic model, or a union of several."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Literal

from pydantic import TypeAdapter

from launchyard.contract.predictor import Schema

Part = Mapping[str, Any]
Mode = Literal["validation", "serialization"]
DEFINITION = "#/$defs/{model}"


def describe_schema(schema: Schema, mode: Mode, ref_template: str = DEFINITION) -> dict[str, Any]:
    """Return the JSON schema of an input (``validation``) or an output (``serialization``)."""
    return TypeAdapter(schema).json_schema(mode=mode, ref_template=ref_template)


@lru_cache(maxsize=64)
def list_fields(schema: Schema) -> Mapping[str, bool]:
    """Return each field that an input may have -> whether every input must have it.

    >>> from pydantic import BaseModel
    >>> class Named(BaseModel):
    ...     name: str
    >>> class Numbered(BaseModel):
    ...     name: str
    ...     number: int
    >>> list_fields(Named | Numbered)
    {'name': True, 'number': False}
    """
    shapes = list_shapes(schema)
    names = dict.fromkeys(name for shape in shapes for name in shape["properties"])
    return {name: all(name in shape.get("required", ()) for shape in shapes) for name in names}


@lru_cache(maxsize=64)
def list_shapes(schema: Schema) -> tuple[Part, ...]:
    """Return the JSON schema of each form of object that an input may be; the union of one model is that model."""
    document = describe_schema(schema, "validation")
    return tuple(part for part in iter_choices(document, document.get("$defs", {})) if "properties" in part)


@lru_cache(maxsize=64)
def list_json_fields(schema: Schema) -> frozenset[str]:
    """Return the fields of an input that take no text, in none of its shapes."""
    document = describe_schema(schema, "validation")
    definitions = document.get("$defs", {})
    takes_text: dict[str, bool] = {}
    for shape in iter_choices(document, definitions):
        for name, part in shape.get("properties", {}).items():
            is_text = any(choice.get("type") == "string" for choice in iter_choices(part, definitions))
            takes_text[name] = takes_text.get(name, False) or is_text
    return frozenset(name for name, is_text in takes_text.items() if not is_text)


def iter_choices(part: Part, definitions: Mapping[str, Part]) -> Iterator[Part]:
    """Yield what a part of a JSON schema may be, references followed and unions taken apart."""
    if "$ref" in part:
        yield from iter_choices(definitions[part["$ref"].rpartition("/")[2]], definitions)
    elif choices := part.get("anyOf", part.get("oneOf")):
        for choice in choices:
            yield from iter_choices(choice, definitions)
    else:
        yield part
