"""The one text of a value, whatever type a file, a query or a request gives it.

A whole number is written without a fraction, whether it came as 5, 5.0 or a decimal 5.000000000; truths are ``true``
and ``false``, UUIDs and moments have their usual form, bytes are the text that they spell. What is text already stays
as it is, but for ids: those lose white space around them and a fraction of zeros, and are in Unicode form NFC.

Values are formatted one by one or as a column of any Arrow type, with the same result.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any, TypeVar
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc

from launchyard.text.normal_form import normalize

UUID_BYTES = 16
USUAL_SCALES = (*range(1, 11), 12, 18, 38)
"""Digits behind the point that decimal columns have in practice."""

LONGEST_NUMBER = 40

Value = TypeVar("Value")

_EXACT_IN_DOUBLE = 2**53
_WHOLE = re.compile(r"(-?(?:0|[1-9][0-9]*))\.0+\Z")
_TIDY_ID = r"^[!-~]([ -~]*[!-~])?$"
_ENDS_IN_ZEROS = r"\.0+$"
_ZEROS_OF_SECONDS = r"(:[0-9]{2})(?:\.0+|(\.[0-9]*[1-9])0+)(Z?)$"


def format_value(value: object) -> str | None:
    """Return the text of a value; None for what is unknown: None and NaN.

    >>> format_value(5.0), format_value(Decimal("5.00")), format_value(True), format_value("5.0")
    ('5', '5', 'true', '5.0')

    Raises:
        TypeError: it is a list, a record or something else that has no text of its own.
    """
    if value is None or isinstance(value, str):
        return value
    for kind, make in _FORMATS:
        if isinstance(value, kind):
            return make(value)
    raise TypeError(f"a {type(value).__name__} has no text")


def format_id(value: object) -> str | None:
    """Return the text of an id; None for what is unknown or blank.

    >>> format_id(" 7 "), format_id("7.0"), format_id(7.0), format_id("007"), format_id("1e5")
    ('7', '7', '7', '007', '1e5')

    Raises:
        TypeError: as for :func:`format_value`.
    """
    text = format_value(value)
    return None if text is None else _tidy_id(text)


def format_column(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return the text of each value of a column, as :func:`format_value` gives it.

    Raises:
        TypeError: the column holds lists, records or something else that has no text of its own.
    """
    array = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    if pa.types.is_dictionary(array.type):
        return format_column(array.dictionary).take(array.indices)
    if isinstance(array.type, pa.BaseExtensionType) and array.type.extension_name != "arrow.uuid":
        return format_column(array.storage)
    for is_of_kind, make in _COLUMN_FORMATS:
        if is_of_kind(array.type):
            return make(array)
    return _format_each(array.to_pylist(), format_value)


def format_id_column(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return a column of ids as text, as :func:`format_id` gives it.

    Raises:
        TypeError: as for :func:`format_column`.
    """
    texts = format_column(values)
    if pa.types.is_integer(values.type):
        return texts
    is_tidy = pc.and_(
        pc.match_substring_regex(texts, _TIDY_ID), pc.invert(pc.match_substring_regex(texts, _ENDS_IN_ZEROS))
    )
    is_odd = pc.invert(pc.fill_null(is_tidy, True))
    odd = texts.filter(is_odd).dictionary_encode()
    if not len(odd):
        return texts
    tidied = _format_each(odd.dictionary.to_pylist(), _tidy_id).take(odd.indices)
    return pc.replace_with_mask(texts, is_odd, tidied)


def list_former_ids(given: str) -> tuple[str, ...]:
    """Return the id that ``given`` is, first, and the other texts that homes may hold of it.

    Before there was one text, what a file or a request wrote was kept: fractions of zeros, another Unicode form, large
    numbers as doubles.
    """
    found = format_id(given)
    if found is None:
        return ()
    forms = [found, given.strip(), unicodedata.normalize("NFD", found)]
    if len(found) < LONGEST_NUMBER and re.fullmatch(r"-?[0-9]+", found):
        forms += [f"{found}.{'0' * scale}" for scale in USUAL_SCALES]
        forms += _list_doubles(int(found))
        forms += [f"0E-{scale}" for scale in USUAL_SCALES if found == "0" and scale > 6]
    elif decimals := re.fullmatch(r"-?[0-9]+\.([0-9]+)", found):
        forms += [found + "0" * (scale - len(decimals[1])) for scale in USUAL_SCALES if scale > len(decimals[1])]
    return tuple(dict.fromkeys(forms))


def _list_doubles(number: int) -> list[str]:
    """Return how a whole number was kept that a file's other numbers had made a double."""
    if abs(number) <= _EXACT_IN_DOUBLE or abs(number) > 2**64:
        return []
    rounded = int(float(number))
    # What no 64-bit integer holds became the smallest one.
    return [str(rounded if -(2**63) <= rounded < 2**63 else -(2**63))]


def _tidy_id(text: str) -> str | None:
    if not text.isascii():
        text = normalize(text)
    text = text.strip()
    if text.endswith("0") and (whole := _WHOLE.match(text)):
        return "0" if whole[1] == "-0" else whole[1]
    return text or None


def _format_number(value: float | Decimal) -> str | None:
    if math.isnan(value):
        return None
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if value == int(value):
        return str(int(value))
    return repr(value) if isinstance(value, float) else format(value, "f").rstrip("0")


def _format_truth(value: bool) -> str:
    return "true" if value else "false"


def _format_moment(value: datetime) -> str:
    if value.tzinfo is None:
        return _cut_zeros(value.isoformat(" "))
    return _cut_zeros(value.astimezone(UTC).replace(tzinfo=None).isoformat(" ")) + "Z"


def _format_bytes(value: bytes) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = "\0"
    if not any(unicodedata.category(letter) == "Cc" for letter in text):
        return text
    return str(UUID(bytes=value)) if len(value) == UUID_BYTES else value.hex()


def _cut_zeros(moment: str) -> str:
    return moment.rstrip("0").rstrip(".") if "." in moment else moment


def _format_floats(array: pa.Array) -> pa.Array:
    # A float of 32 bits is the number that its own shortest text says, not the double beside it.
    numbers = array if array.type == pa.float64() else array.cast(pa.float32()).cast(pa.string()).cast(pa.float64())
    whole = pc.and_(pc.equal(pc.floor(numbers), numbers), pc.less(pc.abs(numbers), 2.0**63))
    texts = pc.cast(pc.cast(pc.if_else(whole, numbers, None), pa.int64()), pa.string())
    is_other = pc.invert(pc.fill_null(whole, True))
    others = numbers.filter(is_other)
    return (
        pc.replace_with_mask(texts, is_other, _format_each(others.to_pylist(), format_value)) if len(others) else texts
    )


def _format_decimals(array: pa.Array) -> pa.Array:
    try:
        return array.cast(pa.decimal256(76, 0)).cast(pa.string())
    except pa.ArrowInvalid:
        return _format_each(array.to_pylist(), format_value)


def _format_moments(array: pa.Array) -> pa.Array:
    if pa.types.is_timestamp(array.type) and array.type.tz is not None:
        array = array.cast(pa.timestamp(array.type.unit, "UTC"))
    return pc.replace_substring_regex(pc.cast(array, pa.string()), _ZEROS_OF_SECONDS, r"\1\2\3")


def _format_each(values: Iterable[Value], make: Callable[[Value], str | None]) -> pa.Array:
    return pa.array([make(value) for value in values], pa.string())


def _write(array: pa.Array) -> pa.Array:
    return pc.cast(array, pa.string())


_FORMATS: tuple[tuple[Any, Callable[[Any], str | None]], ...] = (
    (bool, _format_truth),
    (int, str),
    ((float, Decimal), _format_number),
    (bytes, _format_bytes),
    (UUID, str),
    (datetime, _format_moment),
    (date, date.isoformat),
    (time, lambda value: _cut_zeros(value.isoformat())),
)
"""How the values of a type are written; the first that fits counts."""

_COLUMN_FORMATS: tuple[tuple[Callable[[pa.DataType], bool], Callable[[pa.Array], pa.Array]], ...] = (
    (pa.types.is_string, _write),
    (pa.types.is_integer, _write),
    (pa.types.is_floating, _format_floats),
    (pa.types.is_decimal, _format_decimals),
    (pa.types.is_timestamp, _format_moments),
    (pa.types.is_time, _format_moments),
    (pa.types.is_boolean, _write),
    (pa.types.is_date, _write),
    (pa.types.is_large_string, _write),
    (pa.types.is_string_view, _write),
    (pa.types.is_null, _write),
)
"""The same for whole columns; those of any other type are written value by value."""
