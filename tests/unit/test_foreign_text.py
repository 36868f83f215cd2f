"""What others wrote cannot make the operator's terminal do anything, whichever command shows it."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.table import Table
from rich.text import Text
from typer.testing import CliRunner

from bundle_samples import PRODUCT, write_bundle
from launchyard.bundle.manifest import open_bundle
from launchyard.cli import answers
from launchyard.cli.console import PlainConsole
from launchyard.cli.main import build_app
from launchyard.cli.streams import echo, print_json
from launchyard.client import Answers
from launchyard.foreign_text import find_unprintable, make_printable
from launchyard.records.records import Feedback, Records
from launchyard.settings import Settings

EVIL = "\x1b[2J\x1b]0;owned\x07 \x9b31m \u202egpj.exe\u2066 \u200b\u2028 \r\x08\x7f \U000e0041"
"""Clears the screen, sets its title, turns the direction, hides, overwrites."""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", r"\x1b[31mred"),
        ("a\rb\x00\x7f\x9b", r"a\rb\x00\x7f\x9b"),
        ("\u202e\u2066\u200f\u061c", r"\u202e\u2066\u200f\u061c"),
        ("half \ud83d", r"half \ud83d"),
        ("\U000e0041\ufeff", r"\U000e0041\ufeff"),
        ("two\n\tlines", "two\n\tlines"),
        ("好 é 👩\u200d🚀 می\u200cخواهم", "好 é 👩\u200d🚀 می\u200cخواهم"),
    ],
)
def test_only_what_a_terminal_would_obey_or_hide_is_escaped(text: str, shown: str) -> None:
    assert make_printable(text) == shown


def test_in_a_table_a_text_cannot_begin_a_line_of_its_own() -> None:
    assert make_printable("a\n\tb", keep_lines=False) == r"a\n\tb"


def test_a_console_escapes_in_every_way_to_show_something() -> None:
    console = PlainConsole(file=io.StringIO(), force_terminal=True, width=200, color_system="truecolor")
    table = Table(EVIL, title=EVIL)
    table.add_row(Text(EVIL, "red"))
    table.add_row(EVIL)

    console.print(EVIL, Text(EVIL, "bold"), markup=False)
    console.print(f"[yellow]note[/yellow] {make_printable(EVIL)}")
    console.print(table)

    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    codes = [code.partition("m")[0] for code in shown.split("\x1b[")[1:]]
    assert all(code.replace(";", "").isdigit() for code in codes), codes
    assert find_unprintable(shown.replace("\x1b[", "")) == []
    assert shown.count("owned") == 7


def test_lines_and_json_hold_no_code_and_json_loses_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    echo(EVIL)
    lines = capsys.readouterr().out
    print_json({"comment": EVIL})
    document = capsys.readouterr().out

    assert find_unprintable(lines) == []
    assert find_unprintable(document) == []
    assert json.loads(document) == {"comment": EVIL}


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A home with a product whose feedback holds what a terminal would obey."""
    monkeypatch.setenv("LAUNCHYARD_HOME", str(tmp_path / "home"))
    settings = Settings(home=tmp_path / "home")
    records = Records(settings)
    records.add_version(open_bundle(write_bundle(tmp_path / "bundle")), "bundles/x")
    said = {"product": PRODUCT, "version": 1, "predicted_at": datetime(2026, 11, 22, tzinfo=UTC)}
    records.add_feedback(Feedback.model_validate({"output_id": "a", "label": EVIL, "comment": f"x\n{EVIL}", **said}))
    return settings


@pytest.mark.parametrize("arguments", [["feedback", PRODUCT], ["feedback", PRODUCT, "--json"], ["status", EVIL]])
def test_commands_show_what_others_wrote_without_its_codes(settings: Settings, arguments: list[str]) -> None:
    result = CliRunner().invoke(build_app(), arguments, env={"COLUMNS": "400"})

    shown = result.stdout
    assert find_unprintable(shown) == []
    assert not shown or "u202egpj.exe" in shown


def test_answers_of_a_server_are_shown_without_their_codes(capsys: pytest.CaptureFixture[str]) -> None:
    outputs = ({"id": "a", "label": EVIL, "scores": {EVIL: 0.5}, "items": [{"title": EVIL}]},)

    answers.show([EVIL], [Answers(1, "d", outputs)], as_json=False)

    assert find_unprintable(capsys.readouterr().out) == []
