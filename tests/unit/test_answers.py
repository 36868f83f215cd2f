from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from launchyard.cli.answers import read_inputs, show
from launchyard.client import Answers
from launchyard.errors import SourceError

OUTPUT: dict[str, Any] = {
    "id": "default.reviews.2.x",
    "label": "positive",
    "scores": {"negative": 0.1, "positive": 0.9},
    "abstained": False,
}
EXPLAINED = OUTPUT | {
    "explanation": {"target": "positive", "words": [{"word": "warm", "start": 2, "end": 6, "attribution": 1.25}]}
}


def test_inputs_are_texts_then_the_files_lines_as_json_where_they_begin_like_it(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"text": "good"}\n\n"quoted"\nplain, 12\n', encoding="utf-8")

    assert read_inputs(["first"], str(file)) == ["first", {"text": "good"}, "quoted", "plain, 12"]


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"text": "good"}\n{"text": \n', encoding="utf-8")

    with pytest.raises(SourceError, match=r"rows\.jsonl: line 2: not valid JSON"):
        read_inputs([], str(file))


@pytest.mark.parametrize("value", ["[" * 50_000, "9" * 5_000])
def test_json_that_python_cannot_hold_is_named_too(tmp_path: Path, value: str) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(f'{{"k": {value}', encoding="utf-8")

    with pytest.raises(SourceError, match=r"rows\.jsonl: line 1: not valid JSON"):
        read_inputs([], str(file))
    assert read_inputs([file.read_text(encoding="utf-8")], None) == [file.read_text(encoding="utf-8")]


def test_a_file_that_is_not_there_or_not_utf8_is_refused(tmp_path: Path) -> None:
    binary = tmp_path / "rows.txt"
    binary.write_bytes(b"\xff\xfe\x00")

    for path in (binary, tmp_path / "absent.txt"):
        with pytest.raises(SourceError, match="cannot be read"):
            read_inputs([], str(path))


def test_the_table_shows_answers_and_reasons_but_no_ids(capsys: pytest.CaptureFixture[str]) -> None:
    show(["a [warm] film"], [Answers(2, "d", (EXPLAINED,))], as_json=False)

    shown = " ".join(capsys.readouterr().out.split())
    assert "version 2" in shown
    assert "[warm]" in shown
    assert "+1.250" in shown
    assert "default.reviews" not in shown


def test_json_names_every_version_that_answered(capsys: pytest.CaptureFixture[str]) -> None:
    show(["a", "b"], [Answers(2, "d", (OUTPUT,)), Answers(3, "e", (OUTPUT,))], as_json=True)

    document = json.loads(capsys.readouterr().out)
    assert [model["version"] for model in document["models"]] == [2, 3]
    assert document["outputs"] == [OUTPUT, OUTPUT]


def test_a_text_that_is_a_json_object_is_one_and_any_other_is_text() -> None:
    assert read_inputs(['{"user": "42", "k": 5}', "{not json", "plain"], None) == [
        {"user": "42", "k": 5},
        "{not json",
        "plain",
    ]


def test_the_table_names_the_items_of_a_list(capsys: pytest.CaptureFixture[str]) -> None:
    items = [{"item": "7", "title": "Toy Story", "score": 1.5}, {"item": "9", "score": 1.0}]

    show([{"user": "42"}], [Answers(2, "d" * 64, ({"id": "x", "items": items, "notes": []},))], as_json=False)

    shown = " ".join(capsys.readouterr().out.split())
    assert "Toy Story, 9" in shown


def test_only_a_line_feed_ends_a_line_and_a_byte_order_mark_is_none(tmp_path: Path) -> None:
    texts = ["one\u2028line", "another\x0cone\x85here", "last\rline"]
    plain, lines = tmp_path / "three.txt", tmp_path / "bom.jsonl"
    plain.write_bytes("\r\n".join(texts).encode())
    lines.write_bytes(b"\xef\xbb\xbf" + b'{"text": "same"}\n{"text": "same"}\n')

    assert read_inputs([], str(plain)) == texts
    assert read_inputs([], str(lines)) == [{"text": "same"}, {"text": "same"}]
