"""Lines of JSON one by one: what is wrong with a block that the reader of whole blocks refuses."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from launchyard.errors import SourceError

REPLACEMENT = "\\ufffd"
# Whole pairs and all other escapes are matched too, so that a half is what is left over.
_ESCAPE = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\."
)


# Strings are matched as a whole: NaN inside one is text.
_NAN = re.compile(r'"(?:[^"\\]|\\.)*"|NaN')


class JsonObject(dict[str, Any]):
    """An object, and the keys that it has more than once."""

    repeated: tuple[str, ...] = ()


class JsonConstant(float):
    """NaN or an infinity, which Python writes although JSON has neither."""


def replace_lone_surrogates(text: str) -> str:
    r"""Return JSON with U+FFFD in place of each half of a surrogate pair.

    >>> replace_lone_surrogates(r'["\ud83d", "\ud83d\ude00", "\\ud83d"]')
    '["\\ufffd", "\\ud83d\\ude00", "\\\\ud83d"]'
    """
    return _ESCAPE.sub(lambda found: REPLACEMENT if found[1] else found[0], text)


def replace_nan(text: str) -> str:
    """Return JSON with null in place of each NaN.

    >>> replace_nan('{"id": NaN, "text": "NaN"}')
    '{"id": null, "text": "NaN"}'
    """
    return _NAN.sub(lambda found: "null" if found[0] == "NaN" else found[0], text)


def load_rows(block: str, place: str, first_line: int, columns: Collection[str] | None) -> dict[int, JsonObject]:
    """Return the object of each line of a block that is not blank, by its number.

    Raises:
        SourceError: a line is no object, or says the same key twice, in a wanted column; None wants all.
    """
    rows = {}
    for number, text in enumerate(block.split("\n"), start=first_line):
        if text.strip():
            row = _load(text, f"{place}, line {number:,}")
            repeated = _find_repeated(row, columns)
            if repeated is not None:
                raise SourceError(
                    f"{place}, line {number:,}: the key '{repeated}' stands twice in one object. Write each key once."
                )
            rows[number] = row
    return rows


def dump_rows(rows: Mapping[int, JsonObject], columns: Iterable[str]) -> str:
    """Return the wanted columns of rows as lines of JSON."""
    return "\n".join(json.dumps({name: row[name] for name in columns if name in row}) for row in rows.values())


def explain_rows(rows: Mapping[int, JsonObject], place: str, column: str | None) -> None:
    """Return when rows hold no number that is none; ``column`` is the one to look into, or None.

    Raises:
        SourceError: they do; the message names the line.
    """
    for number, row in rows.items():
        for name, value in row.items():
            # Where the reader has named the column, a number in another one is not what it complains of.
            if column in row and name != column:
                continue
            for found in _iter_floats(value):
                _require_finite(found, f"{place}, line {number:,}: column '{name}'")


def _iter_floats(value: object) -> Iterator[float]:
    """Yield the numbers with a fraction, and those that are none, inside a value."""
    if isinstance(value, float):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _iter_floats(part)


def _require_finite(value: float, where: str) -> None:
    if isinstance(value, JsonConstant):
        raise SourceError(
            f"{where} is {_name_constant(value)}, which JSON does not have. Write null where a value is missing."
        )
    if math.isinf(value):
        raise SourceError(f"{where} is too large a number. Write it as text.")


def _load(text: str, place: str) -> JsonObject:
    try:
        row = json.loads(text, object_pairs_hook=_make_object, parse_constant=JsonConstant)
    except json.JSONDecodeError as err:
        raise SourceError(f"{place}, column {err.colno}: not JSON ({err.msg}). Write one object a line.") from err
    except (ValueError, RecursionError) as err:
        raise SourceError(
            f"{place}: has a number of thousands of digits, or is nested too deeply. Write it as text."
        ) from err
    if not isinstance(row, JsonObject):
        raise SourceError(
            f'{place}: a {type(row).__name__}, not an object. Write one object a line, such as {{"text": "...", '
            '"label": "..."}.'
        )
    return row


def _make_object(pairs: list[tuple[str, Any]]) -> JsonObject:
    made = JsonObject(pairs)
    if len(made) < len(pairs):
        made.repeated = tuple(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
    return made


def _find_repeated(row: JsonObject, columns: Collection[str] | None) -> str | None:
    if repeated := [name for name in row.repeated if columns is None or name in columns]:
        return repeated[0]
    wanted = (value for name, value in row.items() if columns is None or name in columns)
    return next((found for value in wanted if (found := _find_within(value)) is not None), None)


def _find_within(value: object) -> str | None:
    if isinstance(value, JsonObject):
        return _find_repeated(value, None)
    if isinstance(value, list):
        return next((found for part in value if (found := _find_within(part)) is not None), None)
    return None


def _name_constant(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
