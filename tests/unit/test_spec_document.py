"""Reading a spec file: strict syntax, YAML 1.2 types, errors with a place."""

from __future__ import annotations

from pathlib import Path

import pytest

from launchyard.errors import SpecError
from launchyard.spec.document import locate_spec, parse_yaml, read_document


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1.0e-4", 1e-4),
        (".5", 0.5),
        ("-3", -3),
        ("012", 12),
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("2024-01-01", "2024-01-01"),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("null", None),
        ("~", None),
        ("", None),
        ("'1'", "1"),
        ("[1, 2.0, a]", [1, 2.0, "a"]),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    parsed = parse_yaml(f"key: {text}", "product.yaml")["key"]

    assert parsed == value
    assert type(parsed) is type(value)


def test_keys_are_always_text() -> None:
    assert parse_yaml("{1: a, true: b, null: c, 2.50: d}", "product.yaml") == {
        "1": "a",
        "true": "b",
        "null": "c",
        "2.50": "d",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb:\n  c: 1\n  c: 2", "line 4, column 3: 'c' is given twice, first in line 3. Remove one of them."),
        ("a:\n\tb: 1", "line 2, column 1: a tab cannot indent. Use spaces."),
        ("a: b: c", "line 1, column 5: a ':' where none can stand."),
        ("a: 1\nb\nc: 2", "line 3, column 1: a line that is neither 'key: value' nor part of the text before."),
        ("a: @x", "line 1, column 4: text that starts with this character is ambiguous. Put it in quotes."),
        ("a: *x", "line 1, column 4: text that starts with '*' refers to an anchor"),
        ("a: &a [*a]", "line 1, column 4: an alias (*) holds itself."),
        ("a: !!python/name:os.system x", "line 1, column 4: a tag (!) has no meaning here. Write plain values."),
        ("---\na: 1\n---\nb: 2", "line 3, column 1: a second document after '---'."),
        ("? [a]\n: 1", "line 1, column 3: a key must be plain text."),
        ("a: [1", "line 1, column 6: expected ',' or ']'"),
        ("a: \x01", "is not YAML: unacceptable character #x0001"),
        ("[" * 1200, "is nested too deeply to be a spec."),
    ],
)
def test_yaml_mistakes_say_where_they_are_in_plain_words(text: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_yaml(text, "product.yaml")

    assert str(caught.value).startswith(f"product.yaml: {message}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty. Write a spec with: launchyard init"),
        (b"# only a comment\n", "is empty."),
        (b"just text", "must be a mapping of keys such as 'api: launchyard/v1', got str."),
        (b"- a\n- b\n", "must be a mapping of keys such as 'api: launchyard/v1', got list."),
        ("name: köln".encode("latin-1"), "is not UTF-8 text, byte 7 is 0xf6. Save it as UTF-8."),
        ("a: 1".encode("utf-16"), "is not UTF-8 text, byte 0 is 0xff."),
        (b'{"a": {"b": 1, "b": 2}}', "'b' is given twice. Remove one of them."),
    ],
)
def test_a_file_that_is_no_spec_says_what_it_is(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "product.yaml"
    path.write_bytes(content)

    with pytest.raises(SpecError) as caught:
        read_document(path)

    assert str(caught.value).startswith(f"{path}: {message}")


def test_a_json_file_that_is_not_json_says_where(tmp_path: Path) -> None:
    path = tmp_path / "product.json"
    path.write_text('{"a": 1,\n "b": }', encoding="utf-8")

    with pytest.raises(SpecError, match=r"product\.json: line 2, column 7: is not JSON: Expecting value\."):
        read_document(path)


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    path = tmp_path / "product.yaml"
    path.write_bytes(b"\xef\xbb\xbfapi: launchyard/v1\n")

    assert read_document(path) == {"api": "launchyard/v1"}


def test_json_keeps_characters_that_yaml_would_fold(tmp_path: Path) -> None:
    path = tmp_path / "spec"
    path.write_text('{"a": "one\u2028two \U0001f600", "b": "\\ud83d\\ude00"}', encoding="utf-8")

    assert read_document(path) == {"a": "one\u2028two \U0001f600", "b": "\U0001f600"}


def test_a_folder_stands_for_the_spec_in_it(tmp_path: Path) -> None:
    path = tmp_path / "product.yaml"
    path.write_text("api: launchyard/v1", encoding="utf-8")

    assert locate_spec(tmp_path) == path
    assert locate_spec(path) == path


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"product\.yaml: no such file\. Write one with: launchyard init"):
        locate_spec(tmp_path)
