"""Large JSON bodies, taken apart so that no step holds the interpreter for long.

``from_json`` holds it for as long as a body asks: half a second for 4 MiB of empty lists. So a body is first cut at the
ends of its elements, which takes as long but lets other threads run, and each element is then parsed by itself. What no
kind accepts is refused while it is cut: values nested deep, elements of more values than a request can need, numbers of
hundreds of digits, objects of thousands of keys.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

MAX_DEPTH = 16
"""Deeper than any input of a kind; a parser recurses once for each level."""
MAX_VALUES = 80_000
"""Most values in one element; a user's 10,000 events and 20,000 ids to filter by are fewer."""
MAX_KEYS = 1000
"""Most keys of one object: each that is not known becomes an error."""
MAX_MEMBERS = 100
"""Most keys of a body."""

# Each match is of a few ten thousand bytes at most, and between two of them other threads run.
_PLAIN = re.compile(rb"(?:[^\"\[\]{},0-9]{1,1024}+|[0-9]{1,400}+(?![0-9])){0,64}+")
"""What is neither a string nor a bracket nor a comma; it ends before endless numbers, too."""
_SPACE = re.compile(rb"[ \t\n\r]{0,65536}+")
_OPEN, _CLOSE, _COMMA = frozenset(b"[{"), frozenset(b"]}"), ord(",")


class TooMuch(ValueError):  # noqa: N818 - a request that is refused, not a fault
    """A value asks for more work than any request needs."""


class TooMany(Exception):  # noqa: N818 - a request that is refused, not a fault
    """The list ``name`` has more elements than are taken."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


@dataclass(frozen=True)
class Slice:
    """A value that is not parsed yet."""

    body: bytes
    start: int
    end: int
    num_values: int

    def parse(self) -> Any:
        """Return the value.

        Raises:
            ValueError: it is not JSON, or an object in it has too many keys.
        """
        value = from_json(self.body[self.start : self.end], allow_inf_nan=False)
        if self.num_values > MAX_KEYS:
            _check_keys(value)
        return value


Members = dict[str, "Slice | list[Slice]"]


def slice_body(body: bytes, most_elements: int) -> Members | Slice:
    """Return the members of the object that ``body`` is, lists in it as their elements; the whole if it is no object.

    Raises:
        ValueError: it is not JSON as far as can be told without parsing it, or more than any request needs.
        TooMany: a list has more than ``most_elements``.
    """
    position = _skip_space(body, 0)
    if body[position : position + 1] != b"{":
        whole = _slice_value(body, position)
        _check_end(body, whole.end)
        return whole
    members: Members = {}
    position = _skip_space(body, position + 1)
    is_last = body[position : position + 1] == b"}"
    while not is_last:
        if len(members) == MAX_MEMBERS:
            raise TooMuch(f"more than {MAX_MEMBERS} keys at byte {position}")
        name, start = _read_key(body, position)
        if body[start : start + 1] == b"[":
            members[name], position = _slice_list(body, start, name, most_elements)
        else:
            members[name] = value = _slice_value(body, start)
            position = value.end
        is_last = _is_last(body, position, b"}")
        position += 1
    _check_end(body, position if members else position + 1)
    return members


def _check_end(body: bytes, position: int) -> None:
    if _skip_space(body, position) != len(body):
        raise ValueError(f"something follows its end at byte {position}")


def _read_key(body: bytes, position: int) -> tuple[str, int]:
    """Return the key that stands at ``position`` or behind, and where its value begins."""
    start = _skip_space(body, position)
    if body[start : start + 1] != b'"':
        raise ValueError(f"expected a key at byte {start}")
    end = _skip_string(body, start)
    colon = _skip_space(body, end)
    if body[colon : colon + 1] != b":":
        raise ValueError(f"expected ':' at byte {colon}")
    name: str = from_json(body[start:end])
    return name, _skip_space(body, colon + 1)


def _slice_list(body: bytes, start: int, name: str, most_elements: int) -> tuple[list[Slice], int]:
    """Return the elements of the list that begins at ``start``, and where it has ended."""
    elements: list[Slice] = []
    position = _skip_space(body, start + 1)
    is_last = body[position : position + 1] == b"]"
    if is_last:
        return elements, _skip_space(body, position + 1)
    while not is_last:
        if len(elements) == most_elements:
            raise TooMany(name)
        element = _slice_value(body, position)
        elements.append(element)
        is_last = _is_last(body, element.end, b"]")
        position = element.end + 1
    return elements, _skip_space(body, position)


def _is_last(body: bytes, position: int, close: bytes) -> bool:
    found = body[position : position + 1]
    if found not in (b",", close):
        raise ValueError(f"expected ',' or '{close.decode()}' at byte {position}")
    return found == close


def _slice_value(body: bytes, start: int) -> Slice:
    """Return the value that begins at ``start``, up to the comma or bracket behind it."""
    position, depth, num_values = start, 0, 1
    while True:
        position = _skip(body, position)
        found = body[position] if position < len(body) else None
        if depth == 0 and (found is None or found == _COMMA or found in _CLOSE):
            return Slice(body, start, position, num_values)
        if found == _COMMA:
            num_values += 1
        elif found in _OPEN:
            depth, num_values = depth + 1, num_values + 1
        elif found in _CLOSE:
            depth -= 1
        else:
            is_number = found is not None and chr(found).isdigit()
            raise ValueError(
                f"{'a number of more than 400 digits' if is_number else 'it does not end'} at byte {position}"
            )
        if depth > MAX_DEPTH or num_values > MAX_VALUES:
            raise TooMuch(f"more than {MAX_DEPTH} levels or {MAX_VALUES:,} values in what begins at byte {start}")
        position += 1


def _skip(body: bytes, position: int) -> int:
    """Return where the next bracket or comma stands, or what is no JSON."""
    while True:
        start, position = position, _match(_PLAIN, body, position)
        if body[position : position + 1] == b'"':
            position = _skip_string(body, position)
        elif position == start:
            return position


def _skip_string(body: bytes, start: int) -> int:
    """Return where the string has ended that begins at ``start``."""
    last = start
    while (end := body.find(b'"', last + 1)) >= 0:
        part = body[last + 1 : end]
        # Behind an even number of backslashes, a quotation mark is none that they escape.
        if (len(part) - len(part.rstrip(b"\\"))) % 2 == 0:
            return end + 1
        last = end
    raise ValueError(f"the string that begins at byte {start} does not end")


def _skip_space(body: bytes, position: int) -> int:
    while (end := _match(_SPACE, body, position)) > position:
        position = end
    return position


def _match(pattern: re.Pattern[bytes], body: bytes, position: int) -> int:
    match = pattern.match(body, position)
    return match.end() if match else position


def _check_keys(value: object) -> None:
    waiting = [value]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            if len(found) > MAX_KEYS:
                raise TooMuch(f"an object has {len(found)} keys, at most {MAX_KEYS} are read")
            waiting += found.values()
        elif isinstance(found, list):
            waiting += found
