"""Inputs from the command line to a served product, and its answers as a table or as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from launchyard.cli.console import PlainConsole
from launchyard.cli.streams import print_json
from launchyard.client import Answers, Client
from launchyard.errors import SourceError, TooLargeError

INPUTS_PER_REQUEST = 200
"""Inputs of the first request; a server that takes fewer is asked for fewer."""
STANDARD_INPUT = "-"
MAX_REASONS = 5
"""Parts of an explanation that the table shows: those that weigh most."""


def read_inputs(texts: Sequence[str], file: str | None) -> list[Any]:
    """Return the inputs given as ``texts``, then those in ``file``, one a line; blank lines are none.

    A line that begins like a JSON object or string is read as JSON, any other is the input itself; so is a text that is
    a JSON object.

    Raises:
        SourceError: the file cannot be read, or a line is not the JSON that it begins like.
    """
    given = [_parse_text(text) for text in texts]
    if file is None:
        return given
    try:
        content = sys.stdin.buffer.read() if file == STANDARD_INPUT else Path(file).read_bytes()
        # What a Windows editor begins a file with is no part of the first input.
        text = content.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as err:
        raise SourceError(f"{file}: cannot be read: {err}. Give a file of UTF-8 lines.") from err
    # Not splitlines(): a form feed or U+2028 belongs to a text.
    lines = text.replace("\r\n", "\n").split("\n")
    parsed = (_parse_line(file, number, line) for number, line in enumerate(lines, 1) if line.strip())
    return [*given, *parsed]


def _parse_text(text: str) -> Any:
    if not text.startswith("{"):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        # A text that merely begins like an object is an input like any other.
        return text


def _parse_line(file: str, number: int, line: str) -> Any:
    if not line.lstrip(" \t").startswith(("{", '"')):
        return line.strip(" \t")
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as err:
        raise SourceError(f"{file}: line {number}: not valid JSON: {err}. Mend or remove it.") from err


def ask(client: Client, inputs: Sequence[Any], *, explain: bool) -> list[Answers]:
    """Return the answers to ``inputs``, in order, sent in requests no larger than the server takes.

    What it takes (``serve.max_inputs``, ``serve.max_body_bytes``, a proxy's limit) is found out by halving a request
    that is refused as too large: nothing of such a one was answered.

    Raises:
        RequestError: an input is wrong; the message says which and why.
        ServerError: the server cannot be reached or failed.
    """
    send = client.explain if explain else client.predict
    replies: list[Answers] = []
    start, size = 0, INPUTS_PER_REQUEST
    while start < len(inputs):
        part = inputs[start : start + size]
        try:
            replies.append(send(part))
        except TooLargeError:
            if len(part) == 1:
                raise
            size = len(part) // 2
        else:
            start += len(part)
    return replies


def show(inputs: Sequence[Any], replies: Sequence[Answers], *, as_json: bool) -> None:
    """Print the answers to ``inputs``; a version that came in between shows in the table's title and in the JSON."""
    outputs = [output for answers in replies for output in answers.outputs]
    models = list(dict.fromkeys((answers.version, answers.digest) for answers in replies))
    if as_json:
        document = {
            "models": [{"version": version, "digest": digest} for version, digest in models],
            "outputs": [dict(output) for output in outputs],
        }
        print_json(document)
        return
    versions = ", ".join(str(version) for version, _ in models)
    PlainConsole(highlight=False, markup=False, emoji=False).print(_draw_table(inputs, outputs, f"version {versions}"))


def _draw_table(inputs: Sequence[Any], outputs: Sequence[Mapping[str, Any]], title: str) -> Table:
    # All outputs are of one kind, so the first tells the columns of all.
    fields = [name for name in outputs[0] if name != "id"]
    table = Table(title=title)
    for name in ("input", *fields):
        table.add_column(name)
    for asked, output in zip(inputs, outputs, strict=True):
        table.add_row(_describe(asked), *(_describe(output.get(name)) for name in fields))
    return table


def _describe(value: Any) -> str:
    """Return a JSON value in the words of a table cell, whatever the kind."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, Mapping):
        return _describe_mapping(value)
    if isinstance(value, list):
        return ", ".join(map(_name, value))
    return "" if value is None else str(value)


def _name(part: Any) -> str:
    """Return what one entry of a list is called: its title, or its first text."""
    if not isinstance(part, Mapping):
        return _describe(part)
    texts = (value for value in part.values() if isinstance(value, str))
    return str(part.get("title") or next(texts, part))


def _describe_mapping(value: Mapping[str, Any]) -> str:
    lists = [part for part in value.values() if isinstance(part, list)]
    if lists:
        return _describe_weights(lists[0])
    ranked = sorted(value.items(), key=lambda item: -item[1] if isinstance(item[1], float) else 0.0)
    return ", ".join(f"{name} {_describe(part)}" for name, part in ranked)


def _describe_weights(parts: Iterable[Mapping[str, Any]]) -> str:
    """Return the heaviest of an explanation's parts: each has one text and one weight among its values."""
    weighted = [
        (next(value for value in part.values() if isinstance(value, str)), weight)
        for part in parts
        for weight in part.values()
        if isinstance(weight, float)
    ]
    heaviest = sorted(weighted, key=lambda part: -abs(part[1]))[:MAX_REASONS]
    return ", ".join(f"{text} {weight:+.3f}" for text, weight in heaviest)
