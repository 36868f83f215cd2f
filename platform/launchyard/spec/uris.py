"""The sources that a spec names, wherever in it they stand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, get_args

from pydantic import AfterValidator
from pydantic.fields import FieldInfo

from launchyard.spec.blocks import Block, check_uri

AnyBlock = TypeVar("AnyBlock", bound=Block)


def list_uris(block: Block) -> list[str]:
    """Return every source URI below ``block``, in the order of its keys."""
    found: list[str] = []

    def collect(uri: str) -> str:
        found.append(uri)
        return uri

    map_uris(block, collect)
    return found


def map_uris(block: AnyBlock, change: Callable[[str], str]) -> AnyBlock:
    """Return ``block`` with each source URI below it replaced by what ``change`` makes of it."""
    fields = type(block).model_fields
    return block.model_copy(
        update={name: _map_value(getattr(block, name), change, _takes_uri(field)) for name, field in fields.items()}
    )


def _map_value(value: Any, change: Callable[[str], str], is_uri: bool) -> Any:
    if isinstance(value, Block):
        return map_uris(value, change)
    if isinstance(value, dict):
        return {key: _map_value(inner, change, is_uri) for key, inner in value.items()}
    return change(value) if is_uri and isinstance(value, str) else value


def _takes_uri(field: FieldInfo) -> bool:
    return _is_checked(field.metadata) or _names_uri(field.annotation)


def _names_uri(annotation: Any) -> bool:
    """Return whether a type is a source URI, or a union or mapping of such."""
    return _is_checked(getattr(annotation, "__metadata__", ())) or any(map(_names_uri, get_args(annotation)))


def _is_checked(metadata: Any) -> bool:
    return any(isinstance(mark, AfterValidator) and mark.func is check_uri for mark in metadata)
