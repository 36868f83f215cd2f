"""The command's entry point: every command, one place where errors become messages and exit codes."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from importlib.metadata import entry_points, version
from typing import Annotated

import typer

from launchyard.cli import (
    cache_commands,
    client_commands,
    feature_commands,
    forget_command,
    registry_commands,
    spec_commands,
)
from launchyard.cli.streams import accept_any_text, echo
from launchyard.credentials import mask_text
from launchyard.errors import LaunchyardError
from launchyard.settings import load_settings, set_process_defaults

COMMANDS_GROUP = "launchyard.commands"
EXIT_FAILED = 1
# As shells say it of a command that SIGINT has ended: 128 + 2.
EXIT_INTERRUPTED = 130

EPILOG = """
Examples:

  launchyard init KIND my-product

  launchyard run my-product

  launchyard serve my-product

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused by a gate, 130 cancelled.
"""


def _show_version(is_asked: bool) -> None:
    """Print the version and leave, when asked to."""
    if is_asked:
        echo(f"launchyard {version('launchyard')}")
        raise typer.Exit


def _accept_global_options(
    show_version: Annotated[
        bool,
        typer.Option("--version", help="Show the version and leave.", is_eager=True, callback=_show_version),
    ] = False,
) -> None:
    """Take the options that stand before a command."""


def build_app() -> typer.Typer:
    """Return the command line with the core's commands and those of every installed package."""
    app = typer.Typer(
        name="launchyard",
        help="From raw data to a monitored, explained endpoint with one file.",
        epilog=EPILOG,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    # Each module imports what its commands need inside them: --help and validate load nothing heavy.
    # The order is that of --help, from the spec to what serves.
    app.callback()(_accept_global_options)
    spec_commands.add_commands(app)
    for entry in sorted(entry_points(group=COMMANDS_GROUP), key=lambda found: found.name):
        entry.load()(app)
    registry_commands.add_commands(app)
    feature_commands.add_commands(app)
    forget_command.add_commands(app)
    cache_commands.add_commands(app)
    client_commands.add_commands(app)
    return app


def main(build: Callable[[], typer.Typer] = build_app) -> None:
    """Run the command line and leave the process; no traceback for a mistake of the user's."""
    try:
        # First of all: an error is printed, too.
        accept_any_text()
        # Before any command is loaded: Ray and MLflow read the environment when they are imported.
        set_process_defaults()
        build()(prog_name="launchyard")
    except LaunchyardError as err:
        echo(str(err), err=True)
        sys.exit(err.exit_code)
    except OSError as err:
        # Behind our own errors, for a SourceError is an OSError too.
        _show_traceback(err)
        echo(f"{err.filename or 'launchyard'}: {err.strerror or err}.", err=True)
        sys.exit(EXIT_FAILED)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    except Exception as err:  # noqa: BLE001 - the outermost boundary: a bug must not look like a crash
        _report_bug(err)
        sys.exit(EXIT_FAILED)
    finally:
        _flush_stdout()


def _report_bug(err: Exception) -> None:
    """Tell of an error that nobody foresaw, and how to get what a maintainer needs to find it."""
    _show_traceback(err)
    echo(
        f"launchyard: unexpected error: {type(err).__name__}: {mask_text(str(err))}\n"
        "This is a bug in Launchyard. Run the command again with LAUNCHYARD_DEBUG=1 and report what it prints.",
        err=True,
    )


def _show_traceback(err: Exception) -> None:
    """Print where an error comes from, if wanted; a wrong setting does not hide the error that is being reported."""
    try:
        is_wanted = load_settings().debug
    except LaunchyardError:
        return
    if is_wanted:
        echo("".join(traceback.format_exception(err)).rstrip(), err=True)


def _flush_stdout() -> None:
    """Write out what is buffered; a reader that has gone, as in ``launchyard kinds | head -1``, is no error."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes once more when it ends, and would complain of the pipe then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
