"""Write what the spec classes say for people and for editors: ``docs/spec.md`` and ``docs/product.schema.json``."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic.json_schema import models_json_schema

from launchyard.files.atomic import write_text
from launchyard.kind import Kind
from launchyard.kinds import iter_built_in_kinds
from launchyard.spec.blocks import HEADLINE, Product, Unit
from launchyard.spec.keys import ANY, Key, iter_options, known_keys

REFERENCE_NAME = "spec.md"
SCHEMA_NAME = "product.schema.json"

INTRODUCTION = """\
# The product spec

<!-- Generated from the spec classes. Do not edit: change the class and run `make docs`. -->

`product.yaml` describes one product, from its rows to its endpoint. An unknown key, a key without effect and a value
that does not fit are errors; `launchyard validate PATH` shows all of them at once. Any key can be given on the command
line too: `--set train.epochs=1`.

YAML is read by version 1.2: only `true` and `false` are booleans, `1e-4` is a number, dates are text, keys are text.
`<name>` stands for a key that you choose, such as a label, a metric or a tuned key. A key of type *block* holds the
keys listed below it; its default is what stands there unless you write the block.
"""

PLAIN_TYPES = {int: "whole number", float: "number", str: "text", bool: "true or false", types.NoneType: "null"}


def build_json_schema(kinds: Sequence[Kind]) -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of the kinds' specs; ``kind`` chooses among them."""
    references, definitions = models_json_schema([(kind.spec, "validation") for kind in kinds])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Launchyard product",
        "type": "object",
        "required": ["api", "product", "kind"],
        "properties": {"kind": {"enum": [kind.name for kind in kinds], "description": "What sort of product it is."}},
        "allOf": [
            {
                "if": {"properties": {"kind": {"const": kind.name}}, "required": ["kind"]},
                "then": references[kind.spec, "validation"],
            }
            for kind in kinds
        ],
        "$defs": definitions["$defs"],
    }


def render_json_schema(kinds: Sequence[Kind]) -> str:
    """Return the JSON schema as the text of its file."""
    return json.dumps(build_json_schema(kinds), indent=2, ensure_ascii=False) + "\n"


def render_reference() -> str:
    """Return the reference of every key of the built-in kinds, in Markdown: what they share, then what each adds."""
    shared = known_keys(Product)
    parts = [INTRODUCTION, "## Every kind\n", *_render_tables(shared.values())]
    for kind in iter_built_in_kinds():
        own = [key for path, key in known_keys(kind.spec).items() if _row(key) != _row_or_none(shared.get(path))]
        metrics = ", ".join(f"`{metric.replace(ANY, '<label>')}`" for metric in kind.metrics)
        headline = f"`{HEADLINE}`, which comparisons and searches go by, is `{kind.headline}`"
        parts += [f"## {kind.name}\n", f"{kind.summary} Metrics for gates and searches: {metrics}; {headline}.\n"]
        parts += _render_tables(own)
    return "\n".join(parts)


def write_reference(folder: Path) -> tuple[Path, ...]:
    """Write both files into ``folder`` and return their paths."""
    texts = {
        folder / REFERENCE_NAME: render_reference(),
        folder / SCHEMA_NAME: render_json_schema(iter_built_in_kinds()),
    }
    for path, text in texts.items():
        write_text(path, text)
    return tuple(texts)


def _render_tables(keys: Iterable[Key]) -> Iterator[str]:
    """Yield one table for each top-level block, and one for the single keys before them."""
    tables: dict[str, list[Key]] = {}
    for key in keys:
        is_single = len(key.path) == 1 and not _is_block(key.field.annotation)
        tables.setdefault("" if is_single else key.path[0], []).append(key)
    for block, rows in tables.items():
        title = f"### {block}\n\n" if block else ""
        head = "| key | type | default | unit | effect |\n|---|---|---|---|---|\n"
        yield title + head + "".join(f"{_row(key)}\n" for key in rows)


def _row(key: Key) -> str:
    """Return a key's row of the table."""
    name = ".".join("<name>" if part == ANY else part for part in key.path)
    unit = next((part.name for part in key.field.metadata if isinstance(part, Unit)), "")
    cells = (f"`{name}`", _describe_field(key.field), _describe_default(key.field), unit, key.description)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _row_or_none(key: Key | None) -> str | None:
    return None if key is None else _row(key)


def _describe_field(field: FieldInfo) -> str:
    """Return a field's type in words, with its limits."""
    options = [option for option in iter_options(field.annotation) if option is not types.NoneType]
    words = ", ".join(dict.fromkeys(_describe_type(option) for option in options)) + _describe_limits(field.metadata)
    return f"{words}, or null" if len(options) < len(list(iter_options(field.annotation))) else words


def _describe_type(annotation: Any) -> str:
    """Return a type in words."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        inner, *metadata = arguments
        return _describe_type(inner) + _describe_limits(metadata)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    inside = [_describe_options(argument) for argument in arguments if argument is not Ellipsis]
    if origin is tuple:
        return f"list of {inside[0]}" if Ellipsis in arguments else f"[{', '.join(inside)}]"
    if origin is dict:
        return f"mapping to {inside[1]}"
    return PLAIN_TYPES.get(annotation, "block")


def _describe_options(annotation: Any) -> str:
    """Return the alternatives of a type in words."""
    return " or ".join(dict.fromkeys(_describe_type(option) for option in iter_options(annotation)))


def _describe_limits(metadata: Iterable[Any]) -> str:
    """Return the limits of a number in words, with a space before them."""
    words = {"gt": "above", "ge": "from", "lt": "below", "le": "to"}
    limits = [limit for part in metadata for limit in (part.metadata if isinstance(part, FieldInfo) else [part])]
    return "".join(
        f" {word} {getattr(limit, name):g}" for limit in limits for name, word in words.items() if hasattr(limit, name)
    )


def _describe_default(field: FieldInfo) -> str:
    """Return a default as YAML would spell it; of a block, what differs from the defaults of its keys."""
    if field.is_required():
        return "required"
    default = field.default
    if isinstance(default, BaseModel):
        differing = default.model_dump(mode="json", exclude_defaults=True)
        inside = ", ".join(f"{name}: {json.dumps(value)}" for name, value in differing.items())
        return f"`{{{inside}}}`"
    return f"`{json.dumps(default)}`"


def _is_block(annotation: Any) -> bool:
    """Return whether a value of this type may hold keys."""
    return "block" in _describe_options(annotation)


if __name__ == "__main__":
    for written in write_reference(Path("docs")):
        sys.stdout.write(f"wrote {written}\n")
