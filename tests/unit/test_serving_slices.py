"""Large bodies are taken apart as they would be parsed whole."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import from_json

from launchyard_serving.requests.slices import MAX_DEPTH, MAX_KEYS, MAX_VALUES, Slice, TooMany, TooMuch, slice_body

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=20,
)


def parse(body: bytes) -> Any:
    members = slice_body(body, most_elements=1000)
    if isinstance(members, Slice):
        return members.parse()
    return {
        name: [part.parse() for part in value] if isinstance(value, list) else value.parse()
        for name, value in members.items()
    }


@given(VALUES, st.sampled_from([None, 1]), st.booleans())
def test_a_body_is_what_it_is_when_parsed_whole(value: Any, indent: int | None, ascii_only: bool) -> None:
    body = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "replace")

    assert parse(body) == from_json(body)


@given(st.binary(max_size=12) | st.text(alphabet='{}[]",:1a\\ \n', max_size=14).map(str.encode))
def test_what_is_no_json_is_refused_whole_or_in_slices(body: bytes) -> None:
    try:
        expected: Any = from_json(body, allow_inf_nan=False)
    except ValueError:
        expected = ValueError

    try:
        found: Any = parse(body)
    except ValueError:
        found = ValueError

    assert found == expected


def test_a_list_is_cut_no_further_than_the_most_that_is_taken() -> None:
    # What comes after the limit is not even looked at: it is no JSON.
    with pytest.raises(TooMany, match="inputs"):
        slice_body(b'{"inputs": [' + b"1," * 10 + b"}", most_elements=10)


@pytest.mark.parametrize(
    "value",
    [
        b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1),
        b"[" + b"1," * MAX_VALUES + b"1]",
        b"{" + b",".join(b'"%d":0' % number for number in range(MAX_KEYS + 1)) + b"}",
    ],
)
def test_more_than_any_request_needs_is_refused(value: bytes) -> None:
    with pytest.raises(TooMuch):
        parse(b'{"inputs": [' + value + b"]}")


def test_a_number_of_thousands_of_digits_is_never_read_but_a_text_of_them_is() -> None:
    with pytest.raises(ValueError, match="more than 400 digits at byte 12"):
        parse(b'{"inputs": [' + b"1" * 4000 + b"]}")

    assert parse(b'{"inputs": ["' + b"1" * 4000 + b'"]}') == {"inputs": ["1" * 4000]}


def test_no_piece_that_is_parsed_at_once_holds_more_than_one_element() -> None:
    elements = [b'"a"', b'{"events": [{"item": 1}, {"item": "],["}]}', b"[[1], {}]"] * 300
    members = slice_body(b'{"inputs": [' + b",".join(elements) + b"]}", most_elements=1000)

    assert isinstance(members, dict)
    parts = members["inputs"]
    assert isinstance(parts, list)
    assert [part.body[part.start : part.end] for part in parts] == elements
