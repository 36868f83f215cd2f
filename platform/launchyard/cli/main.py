"""The command's entry point: every command, one place where errors become messages and exit codes."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points

import click
import typer
from rich.console import Console

from launchyard.cli import cache_commands, registry_commands, spec_commands
from launchyard.errors import LaunchyardError
from launchyard.settings import set_offline_defaults

COMMANDS_GROUP = "launchyard.commands"
EXIT_WRONG_USAGE = 2
EXIT_INTERRUPTED = 130

EPILOG = """
Start with:  launchyard init text-classification my-product;  launchyard run my-product/product.yaml
"""


def build_app() -> typer.Typer:
    """Return the command line with the core's commands and those of every installed package."""
    app = typer.Typer(
        name="launchyard",
        help="From raw data to a monitored, explained endpoint with one file.",
        epilog=EPILOG,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    spec_commands.add_commands(app)
    registry_commands.add_commands(app)
    cache_commands.add_commands(app)
    for entry in sorted(entry_points(group=COMMANDS_GROUP), key=lambda found: found.name):
        entry.load()(app)
    return app


def main() -> None:
    """Run the command line; never shows a traceback for a mistake of the user's."""
    set_offline_defaults()
    try:
        build_app()(standalone_mode=False)
    except LaunchyardError as err:
        Console(stderr=True, soft_wrap=True, markup=False, highlight=False).print(str(err))
        sys.exit(err.exit_code)
    except click.exceptions.Exit as err:
        sys.exit(err.exit_code)
    except click.ClickException as err:
        err.show()
        sys.exit(EXIT_WRONG_USAGE)
    except (KeyboardInterrupt, click.exceptions.Abort):
        sys.exit(EXIT_INTERRUPTED)
