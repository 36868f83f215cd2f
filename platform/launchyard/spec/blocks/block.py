"""What every part of a spec is: immutable, without unknown keys, each key with a description."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

from launchyard.sources.uri import parse_uri

HEADLINE = "headline"
"""What a spec writes for the metric that its kind leads with."""


class Block(BaseModel):
    """One mapping of the spec: immutable, and an unknown key is an error."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True, hide_input_in_errors=True
    )


@dataclass(frozen=True)
class Unit:
    """What a number counts; ``docs/spec.md`` shows it."""

    name: str


def is_set(block: Block, name: str) -> bool:
    """Return whether a key has another value than its default."""
    return bool(getattr(block, name) != type(block).model_fields[name].default)


def check_uri(uri: str) -> str:
    """Return ``uri`` unchanged.

    Raises:
        ValueError: it is empty, malformed, or of a scheme that no resolver exists for.
    """
    parse_uri(uri)
    return uri


SourceUri = Annotated[str, AfterValidator(check_uri)]
"""A path, or a URI: ``file pypi hf s3 https sql``; ``#sha256=<hex>`` pins its content."""
Ineffective = tuple[tuple[str, ...], str]
"""A key by its path, and why nothing reads it."""
