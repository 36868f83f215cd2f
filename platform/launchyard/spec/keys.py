"""Every key a spec class knows, as paths: for errors that name the nearest, for overrides and for the reference."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

ANY = "*"
"""Stands in a known path for a key that the user chooses, such as a label or a metric."""

Path = tuple[str | int, ...]
"""Where a value stands in a spec; an integer is a position in a list."""


@dataclass(frozen=True)
class Key:
    """One key of a spec class; ``path`` holds :data:`ANY` where the user chooses the key."""

    path: tuple[str, ...]
    field: FieldInfo

    @property
    def description(self) -> str:
        """What the key does, one sentence."""
        return self.field.description or ""


def iter_keys(spec: type[BaseModel], parent: tuple[str, ...] = ()) -> Iterator[Key]:
    """Yield every key of a spec class, a block before the keys inside it."""
    for name, field in spec.model_fields.items():
        path = (*parent, name)
        yield Key(path, field)
        for inner, block in _iter_blocks(field.annotation, path):
            yield from iter_keys(block, inner)


def _iter_blocks(annotation: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], type[BaseModel]]]:
    """Yield each block that a value of this type may be, with the path of its keys."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield path, annotation
        return
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from _iter_blocks(arguments[0], path)
    elif origin in (Union, types.UnionType):
        for argument in arguments:
            yield from _iter_blocks(argument, path)
    elif origin is dict:
        yield from _iter_blocks(arguments[1], (*path, ANY))


@cache
def known_keys(spec: type[BaseModel]) -> Mapping[tuple[str, ...], Key]:
    """Return every key of a spec class by its path; of two blocks with one key, the first."""
    found: dict[tuple[str, ...], Key] = {}
    for key in iter_keys(spec):
        found.setdefault(key.path, key)
    return found


def find_key(spec: type[BaseModel], path: Path) -> Key | None:
    """Return the key that the value at ``path`` belongs to, or None where the spec class has none."""
    return next((key for known, key in known_keys(spec).items() if _fits(known, path)), None)


def _fits(known: tuple[str, ...], path: Path) -> bool:
    """Return whether a path is this known one, any text standing for :data:`ANY`."""
    return len(known) == len(path) and all(part in (ANY, other) for part, other in zip(known, path, strict=True))


def children(spec: type[BaseModel], parent: Path) -> list[str]:
    """Return the names that may stand directly under ``parent``, as declared."""
    paths = (path for path in known_keys(spec) if len(path) == len(parent) + 1 and _fits(path[:-1], parent))
    return [path[-1] for path in paths]


def find_nearest(spec: type[BaseModel], path: Path) -> str | None:
    """Return the known key that a wrong path most likely means, or None when none is near.

    A neighbour with a like name comes first, then the same name elsewhere, then a like path.
    """
    *parent, name = (str(part) for part in path)
    near = get_close_matches(name, children(spec, tuple(parent)), n=1)
    if near:
        return ".".join((*parent, near[0]))
    known = [key for key in known_keys(spec) if ANY not in key]
    elsewhere = [key for key in known if key[-1] == name]
    if elsewhere:
        return ".".join(elsewhere[0])
    near = get_close_matches(".".join((*parent, name)), [".".join(key) for key in known], n=1, cutoff=0.75)
    return near[0] if near else None


def split_path(spec: type[BaseModel], text: str) -> tuple[str, ...]:
    """Return the path that dotted text means; a key the user chooses may hold dots itself.

    ``tune.parameters.train.learning_rate.min`` is four keys long, because what is tuned is called
    ``train.learning_rate``.
    """
    path: tuple[str, ...] = ()
    rest = text.split(".")
    known = known_keys(spec)
    while rest and (*path, rest[0]) in known:
        path, rest = (*path, rest[0]), rest[1:]
    inner = children(spec, (*path, ANY))
    if not rest or (not inner and not _is_free(known.get(path))):
        return (*path, *rest)
    tail = rest[-1:] if len(rest) > 1 and rest[-1] in inner else []
    return (*path, ".".join(rest[: len(rest) - len(tail)]), *tail)


def _is_free(key: Key | None) -> bool:
    """Return whether the user chooses the keys under this one."""
    return key is not None and any(get_origin(part) is dict for part in iter_options(key.field.annotation))


def iter_options(annotation: Any) -> Iterator[Any]:
    """Yield the alternatives of a type; a type without any is its own."""
    if get_origin(annotation) in (Union, types.UnionType):
        for argument in get_args(annotation):
            yield from iter_options(argument)
    else:
        yield annotation


def join_path(path: Sequence[str | int]) -> str:
    """Return a path as a user writes it: dots between keys, brackets around positions."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")
