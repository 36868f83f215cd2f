"""What ``launchyard batch`` does between reading its arguments and its exit code."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import typer
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from launchyard.cli.console import PlainConsole
from launchyard.cli.streams import echo, print_json
from launchyard.errors import LaunchyardError
from launchyard.settings import load_settings
from launchyard_pipelines.batch.batch import BatchRequest, BatchSummary, run_batch
from launchyard_pipelines.batch.output import WRITERS

LINE_INTERVAL_S = 10.0
"""Time between two lines of progress where there is no terminal."""


class BatchDisplay:
    """Shows on stderr how far it is: one live line on a terminal, a line now and then elsewhere."""

    def __init__(self, console: PlainConsole) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description}"), TimeElapsedColumn(), console=console, transient=True
        )
        self._task = self._progress.add_task("fetching the input")
        self._next_line_s = time.monotonic() + LINE_INTERVAL_S

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._progress.start()
        return self

    def __exit__(
        self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show_download(self, done_bytes: int, total_bytes: int | None) -> None:
        """Show the bytes that have arrived of the input."""
        total = "" if total_bytes is None else f" of {total_bytes / 2**20:,.1f}"
        self._progress.update(self._task, description=f"{done_bytes / 2**20:,.1f}{total} MiB fetched")

    def show_rows(self, num_rows: int, num_errors: int) -> None:
        """Show the rows that are answered, and how many of them have an error instead."""
        message = f"{num_rows:,} rows, {num_errors:,} errors"
        self._progress.update(self._task, description=message)
        if not self._console.is_terminal and time.monotonic() >= self._next_line_s:
            self._console.print(message)
            self._next_line_s = time.monotonic() + LINE_INTERVAL_S

    def show_note(self, message: str) -> None:
        """Show what a person should know."""
        self._console.print(f"note     {message}")


def batch_command(request: BatchRequest, *, as_json: bool) -> None:
    """Answer the rows; progress goes to stderr, the summary, as JSON if asked for, to stdout.

    Raises:
        LaunchyardError: it could not be done; with ``as_json`` the document says so too.
    """
    try:
        with BatchDisplay(PlainConsole(stderr=True, highlight=False, markup=False, soft_wrap=True)) as display:
            summary = run_batch(request, load_settings(), display)
    except (LaunchyardError, OSError, KeyboardInterrupt) as err:
        if as_json:
            failed = BatchSummary(product=request.product, status="failed", error=str(err) or "interrupted")
            print_json(failed.model_dump_json(indent=2))
        raise
    if as_json:
        print_json(summary.model_dump_json(indent=2))
    else:
        echo(describe(summary))


def describe(summary: BatchSummary) -> str:
    """Return a summary in words."""
    return (
        f"{summary.product}: version {summary.version} answered {summary.rows - summary.errors:,} of {summary.rows:,} "
        f"rows in {summary.seconds:.1f} s ({summary.rows_per_s:,.0f} rows/s).\nwrote    {summary.output}"
    )


def parse_columns(given: Sequence[str]) -> dict[str, str]:
    """Return field -> column of arguments such as ``text=review``.

    Raises:
        typer.BadParameter: one is of another form, or a field is named twice.
    """
    columns: dict[str, str] = {}
    for text in given:
        name, equals, column = text.partition("=")
        if not equals or not name or name in columns:
            raise typer.BadParameter(f"give each field once, as FIELD=COLUMN, got {text!r}", param_hint="--column")
        columns[name] = column
    return columns


def check_output(path: Path) -> Path:
    """Return the path of an output whose ending says how it is written.

    Raises:
        typer.BadParameter: it does not.
    """
    if path.suffix not in WRITERS:
        raise typer.BadParameter(f"must end in {' or '.join(WRITERS)}, got {path}", param_hint="--output")
    return path
