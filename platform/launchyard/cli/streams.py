"""What the commands write to: a terminal or a pipe of any encoding."""

from __future__ import annotations

import codecs
import io
import json
import sys

import typer

from launchyard.foreign_text import find_unprintable, make_printable

ESCAPE = "launchyard.json"
"""Name of the error handler that writes what an encoding lacks as JSON escapes."""


def accept_any_text() -> None:
    """Let standard output and error show ``?`` for a character that their encoding lacks, instead of failing.

    Labels and texts are of any language, terminals are not: a good run must not end in an error of encoding.
    """
    for stream in (sys.stdout, sys.stderr):
        # A test or an embedding program may have put something else there.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def echo(text: str, *, err: bool = False) -> None:
    """Print a line, or several, on standard output or error; what is in it cannot make the terminal do anything."""
    typer.echo(make_printable(text), err=err)


def print_json(document: object) -> None:
    """Print one JSON document on standard output, whole, though characters are escaped that its encoding lacks.

    So are those that must not reach a terminal.

    Args:
        document: What ``json`` can write, or a text that is JSON already.
    """
    text = document if isinstance(document, str) else json.dumps(document, indent=2, ensure_ascii=False)
    # Each of them stands in a string: between strings JSON has none.
    for character in find_unprintable(text):
        text = text.replace(character, json.dumps(character)[1:-1])
    # Escaped here, where accept_any_text would have a "?" written: who reads JSON wants the character.
    encoding = sys.stdout.encoding or "utf-8"
    typer.echo(text.encode(encoding, ESCAPE).decode(encoding))


def _escape(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    # Only strings hold such characters in JSON, so an escape is right wherever one stands.
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end


codecs.register_error(ESCAPE, _escape)
