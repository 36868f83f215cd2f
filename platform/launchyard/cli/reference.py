"""Write ``docs/commands.md``: every command with its arguments, options and examples, as ``--help`` shows them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from typer.main import get_command

from launchyard.cli.main import build_app
from launchyard.files.atomic import write_text

REFERENCE_NAME = "commands.md"
WIDTH = 100

INTRODUCTION = """\
# The commands

<!-- Generated from the command line. Do not edit: change the command and run `make docs`. -->

Commands that read a spec take PATH; all others take PRODUCT. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused by
a gate, 130 cancelled.
"""


def render_commands() -> str:
    """Return the reference of all commands in Markdown, in the order of ``launchyard --help``."""
    root = get_command(build_app())
    sections = (
        f"## {title}\n\n```text\n{text}\n```\n"
        for title, text in _iter_help(root, typer.Context(root, info_name="launchyard", **root.context_settings))
    )
    return "\n".join((INTRODUCTION, *sections))


def _iter_help(command: Any, context: typer.Context) -> Iterator[tuple[str, str]]:
    """Yield the path and the help text of a command and of those below it."""
    # Else the file would depend on the width of the terminal in which it is written.
    context.terminal_width = context.max_content_width = WIDTH
    yield context.command_path, command.get_help(context).rstrip()
    for name, inner in getattr(command, "commands", {}).items():
        yield from _iter_help(inner, typer.Context(inner, info_name=name, parent=context, **inner.context_settings))


def write_commands(folder: Path) -> Path:
    """Write the reference into ``folder`` and return its path."""
    path = folder / REFERENCE_NAME
    write_text(path, render_commands())
    return path


if __name__ == "__main__":
    sys.stdout.write(f"wrote {write_commands(Path('docs'))}\n")
