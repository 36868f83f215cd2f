"""The ``launchyard`` command."""

from launchyard.cli.main import main

__all__ = ["main"]
