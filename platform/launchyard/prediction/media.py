"""Files in inputs and outputs: which fields hold them, and how they are written where only JSON can stand."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from launchyard.contract.media import ENCODING, Media, encode
from launchyard.contract.predictor import Schema
from launchyard.prediction.schemas import Mode, describe_schema, iter_choices


@lru_cache(maxsize=64)
def list_media_fields(schema: Schema, mode: Mode) -> Mapping[str, tuple[str, ...]]:
    """Return each field at the top that holds a file -> the media types that it may be of."""
    document = describe_schema(schema, mode)
    definitions = document.get("$defs", {})
    found: dict[str, dict[str, None]] = {}
    for shape in iter_choices(document, definitions):
        for name, part in shape.get("properties", {}).items():
            for choice in iter_choices(part, definitions):
                if choice.get("contentEncoding") == ENCODING:
                    found.setdefault(name, {})[choice["contentMediaType"]] = None
    return {name: tuple(types) for name, types in found.items()}


def spell_media(value: Any) -> Any:
    """Return a value with base64 in the place of files, as JSON holds them."""
    if isinstance(value, Media):
        return encode(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Mapping):
        # The keys of a map in a column of a table may be bytes.
        return {key if isinstance(key, str) else spell_media(key): spell_media(part) for key, part in value.items()}
    return [spell_media(part) for part in value] if isinstance(value, list | tuple) else value
