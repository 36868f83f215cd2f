"""Fields of inputs and outputs that hold a file's content, such as a picture."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from launchyard.media import sniff_media_type

ENCODING = "base64"
DATA_URI = "data:"


@dataclass(frozen=True)
class Media:
    """The content of a file, and what it is."""

    data: bytes
    type: str
    """Its media type, such as ``image/png``, by its bytes."""


@dataclass(frozen=True, init=False)
class MediaTypes:
    """What files a field takes: ``image: Annotated[Media, MediaTypes("image/png", "image/jpeg")]``.

    In JSON the content stands as base64, or as a data URI; in a form (multipart/form-data) as a file; as the whole body
    where it is the one field that an input must have. What it is, is told by its first bytes.
    """

    types: tuple[str, ...]

    def __init__(self, *types: str) -> None:
        object.__setattr__(self, "types", types)

    def read(self, value: object) -> Media:
        """Return the content of a file, given as such, as bytes or as base64.

        Raises:
            ValueError: it is none, or of another type.
        """
        media = value if isinstance(value, Media) else _read_bytes(value)
        if media.type not in self.types:
            raise ValueError(f"must be {' or '.join(self.types)}, is {media.type}")
        return media

    def __get_pydantic_core_schema__(self, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return how pydantic reads and writes the field."""
        written = core_schema.plain_serializer_function_ser_schema(
            encode, return_schema=core_schema.str_schema(), when_used="json"
        )
        return core_schema.no_info_plain_validator_function(self.read, serialization=written)

    def __get_pydantic_json_schema__(self, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Return the field's JSON schema, see "The Contents Vocabulary" of JSON Schema 2020-12."""
        choices = [{"type": "string", "contentEncoding": ENCODING, "contentMediaType": found} for found in self.types]
        return choices[0] if len(choices) == 1 else {"anyOf": choices}


def encode(media: Media) -> str:
    """Return the content of a file as base64."""
    return base64.b64encode(media.data).decode()


def _read_bytes(value: object) -> Media:
    if isinstance(value, str):
        try:
            value = base64.b64decode(value.partition(",")[2] if value.startswith(DATA_URI) else value, validate=True)
        except binascii.Error as err:
            raise ValueError("must be the content of a file as base64") from err
    if not isinstance(value, bytes):
        raise ValueError(f"must be the content of a file, got {type(value).__name__}")
    return Media(value, sniff_media_type(value) or "of a type that is not known")
