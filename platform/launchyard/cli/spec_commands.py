"""Commands that need nothing but a spec: ``init`` and ``validate``."""

from __future__ import annotations

import typer


def add_commands(app: typer.Typer) -> None:
    """Add this module's commands to the command line."""
