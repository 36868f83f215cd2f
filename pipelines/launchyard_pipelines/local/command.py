"""What ``launchyard run`` does between reading its arguments and its exit code."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from launchyard.cli.console import PlainConsole
from launchyard.cli.streams import print_json
from launchyard.errors import LaunchyardError
from launchyard.kinds import get_kind
from launchyard.settings import load_settings
from launchyard.spec.load import load_spec
from launchyard_pipelines.local.progress import RunDisplay, print_summary
from launchyard_pipelines.local.run import RunRequest, execute_run
from launchyard_pipelines.run_record import RunFailure, RunRecord


def run_command(
    path: Path, overrides: Sequence[str], *, from_step: str | None, release: bool, console: PlainConsole, as_json: bool
) -> RunRecord:
    """Run the product at ``path``, show it on ``console`` and return its record; JSON goes to stdout.

    Raises:
        LaunchyardError: the run could not start; with ``as_json`` the document says so too.
    """
    try:
        record = _run(path, overrides, from_step=from_step, release=release, console=console)
    except (LaunchyardError, OSError, KeyboardInterrupt) as err:
        if as_json:
            failure = RunFailure(step="start", message=str(err) or "interrupted")
            print_json(RunRecord(run_id="", product="", status="failed", error=failure).model_dump_json(indent=2))
        raise
    if as_json:
        print_json(record.model_dump_json(indent=2))
    return record


def _run(
    path: Path, overrides: Sequence[str], *, from_step: str | None, release: bool, console: PlainConsole
) -> RunRecord:
    settings = load_settings()
    spec = load_spec(path, overrides)
    base_dir = (path if path.is_dir() else path.parent).resolve()
    request = RunRequest(spec=spec, base_dir=base_dir, from_step=from_step, release=release)
    console.print(f"[bold]{spec.product}[/bold]  {spec.kind}")
    with RunDisplay(console, request.list_steps()) as display:
        record = execute_run(request, settings, display.show)
    arguments = [str(path), *(word for text in overrides for word in ("--set", text))]
    print_summary(console, record, arguments, get_kind(spec.kind))
    return record
