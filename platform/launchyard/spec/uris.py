"""The sources that a spec names, wherever in it they stand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, get_args

from pydantic import AfterValidator
from pydantic.fields import FieldInfo

from launchyard.spec.blocks import Block, Choice, Range, Tune, check_uri
from launchyard.spec.keys import find_key, split_path

Path = tuple[str, ...]
Change = Callable[[Path, str], str]
"""From the path of a URI and the URI to what takes its place."""
AnyBlock = TypeVar("AnyBlock", bound=Block)


def list_uris(block: Block) -> list[str]:
    """Return every source URI below ``block``, in the order of its keys."""
    return [uri for _, uri in name_uris(block)]


def name_uris(block: Block) -> list[tuple[str, str]]:
    """Return every source URI below ``block`` with the last key above it that says more than 'source'."""
    return [(next((name for name in reversed(path) if name != "source"), ""), uri) for path, uri in locate_uris(block)]


def locate_uris(block: Block) -> list[tuple[Path, str]]:
    """Return every source URI below ``block`` with its path, in the order of the keys."""
    found: list[tuple[Path, str]] = []

    def collect(path: Path, uri: str) -> str:
        found.append((path, uri))
        return uri

    _map_spec(block, collect)
    return found


def map_uris(block: AnyBlock, change: Callable[[str], str]) -> AnyBlock:
    """Return ``block`` with each source URI below it replaced by what ``change`` makes of it."""
    return _map_spec(block, lambda _, uri: change(uri))


def _map_spec(block: AnyBlock, change: Change) -> AnyBlock:
    """Return ``block`` with its URIs changed, those too that a search chooses from."""
    mapped = _map_block(block, change, ())
    tune = getattr(mapped, "tune", None)
    if not isinstance(tune, Tune):
        return mapped
    parameters = {name: _map_candidates(type(block), name, found, change) for name, found in tune.parameters.items()}
    return mapped.model_copy(update={"tune": tune.model_copy(update={"parameters": parameters})})


def _map_candidates(spec: type[Block], name: str, candidates: Range | Choice, change: Change) -> Range | Choice:
    key = find_key(spec, split_path(spec, name))
    if key is None or not _takes_uri(key.field) or not isinstance(candidates, Choice):
        return candidates
    path = ("tune", "parameters", name)
    values = tuple(change(path, value) if isinstance(value, str) else value for value in candidates.values)
    return candidates.model_copy(update={"values": values})


def _map_block(block: AnyBlock, change: Change, path: Path) -> AnyBlock:
    fields = type(block).model_fields.items()
    return block.model_copy(
        update={
            name: _map_value((*path, name), getattr(block, name), change, _takes_uri(field)) for name, field in fields
        }
    )


def _map_value(path: Path, value: Any, change: Change, is_uri: bool) -> Any:
    if isinstance(value, Block):
        return _map_block(value, change, path)
    if isinstance(value, dict):
        return {key: _map_value((*path, key), inner, change, is_uri) for key, inner in value.items()}
    return change(path, value) if is_uri and isinstance(value, str) else value


def _takes_uri(field: FieldInfo) -> bool:
    return _is_checked(field.metadata) or _names_uri(field.annotation)


def _names_uri(annotation: Any) -> bool:
    """Return whether a type is a source URI, or a union or mapping of such."""
    return _is_checked(getattr(annotation, "__metadata__", ())) or any(map(_names_uri, get_args(annotation)))


def _is_checked(metadata: Any) -> bool:
    return any(isinstance(mark, AfterValidator) and mark.func is check_uri for mark in metadata)
