"""Commands this package adds to the ``launchyard`` command line."""

from __future__ import annotations

import typer


def add_commands(app: typer.Typer) -> None:
    """Add this package's commands to the command line."""
