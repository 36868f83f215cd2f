"""What a person sees of a run: one line a step, then the metrics table and what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from launchyard.cli.console import PlainConsole
from launchyard.cli.metric_choice import choose_metrics
from launchyard.evaluation.results import GateResult
from launchyard.kind import Kind
from launchyard_pipelines.run_events import RunEvent
from launchyard_pipelines.run_record import RunRecord

MARKS = {
    "succeeded": "[green]done[/green]",
    "reused": "[cyan]reused[/cyan]",
    "refused": "[red]refused[/red]",
    "failed": "[red]failed[/red]",
    "cancelled": "[yellow]cancelled[/yellow]",
    "skipped": "[dim]skipped[/dim]",
}


class RunDisplay:
    """Shows events as they come: a live bar on a terminal, a line per step elsewhere."""

    def __init__(self, console: PlainConsole, planned: list[str]) -> None:
        self._console = console
        self._planned = planned
        self._shown: set[str] = set()
        self._task: TaskID | None = None
        columns = (
            TextColumn("  {task.description:<10}"),
            BarColumn(24),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}", markup=False),
        )
        self._progress = Progress(*columns, console=console, transient=True)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._progress.start()
        return self

    def __exit__(
        self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, event: RunEvent) -> None:
        """Show one event."""
        if event.step not in self._planned:
            return
        if event.type == "started":
            self._mark_reused_before(event.step)
            self._task = self._progress.add_task(event.step, total=None, note="")
        elif event.type == "progress" and self._task is not None:
            completed, total = event.data.get("done", 0), event.data.get("total")
            lasting = event.data.get("lasting", False)
            self._progress.update(self._task, completed=completed, total=total, note="" if lasting else event.message)
            if lasting:
                self._console.print(f"             {event.message}", markup=False, highlight=False, soft_wrap=True)
        elif event.type != "progress":
            self._end_step(event)

    def _mark_reused_before(self, step: str) -> None:
        # A reused step tells nothing: it is known by a later one that starts.
        for name in self._planned[: self._planned.index(step)]:
            if name not in self._shown:
                self._shown.add(name)
                self._print_line(name, "reused", 0.0, "nothing it depends on has changed")

    def _end_step(self, event: RunEvent) -> None:
        if self._task is not None:
            self._progress.remove_task(self._task)
            self._task = None
        self._shown.add(event.step)
        self._print_line(event.step, event.type, event.seconds, event.message if event.type == "succeeded" else "")
        for warning in event.data.get("warnings", []):
            self._console.print(f"             [yellow]note[/yellow] {escape(warning)}", highlight=False)

    def _print_line(self, step: str, status: str, seconds: float, note: str) -> None:
        mark = MARKS[status]
        self._console.print(
            f"  {step:<10} {mark:<22} {seconds:6.1f} s  {escape(note)}", highlight=False, soft_wrap=True
        )


def build_metrics_table(record: RunRecord, kind: Kind) -> Table:
    """Return one table of test metrics with n, interval, validation value and gates in green or red."""
    table = Table(
        title=f"{record.product}: test metrics", title_justify="left", title_style="bold", caption_justify="left"
    )
    for column in ("metric", "value", "interval", "n", "valid.", "gate"):
        table.add_column(column, justify="left" if column in ("metric", "gate") else "right", no_wrap=column != "gate")
    gates: dict[str, list[GateResult]] = {}
    for gate in record.gates:
        gates.setdefault(gate.metric, []).append(gate)
    validation = record.metrics.get("validation", {})
    measured = record.metrics.get("test", {})
    names, table.caption = choose_metrics(measured, kind.find_direction, gated=gates.keys())
    for name in names:
        value = measured[name]
        low, high = record.intervals["test"][name]
        on_validation = f"{validation[name]:.3f}" if name in validation else ""
        verdicts = "\n".join(_format_gate(gate) for gate in gates.pop(name, []))
        n = f"{record.n['test'][name]:,}"
        table.add_row(escape(name), f"{value:.3f}", f"{low:.3f}-{high:.3f}", n, on_validation, verdicts)
    # A gate on what was not measured has a line, too: it may be what refused the model.
    for name, others in gates.items():
        shown = "" if others[0].value is None else f"{others[0].value:.3f}"
        table.add_row(escape(name), shown, "", "", "", "\n".join(_format_gate(gate) for gate in others))
    return table


def _format_gate(gate: GateResult) -> str:
    return f"[green]pass {gate.rule}[/green]" if gate.passed else f"[red]FAIL {gate.rule}[/red]"


def print_summary(console: PlainConsole, record: RunRecord, arguments: Sequence[str], kind: Kind) -> None:
    """Print how a run ended, its metrics, where its report is and the commands to try next.

    Args:
        console: Where to print.
        record: How it ended.
        arguments: Those that the run was started with: path and overrides.
        kind: Of the product.
    """
    if record.metrics:
        console.print()
        console.print(build_metrics_table(record, kind))
    if record.error is not None:
        console.print(f"\n[red]{record.error.step}[/red]: ", end="")
        # What others worded may have brackets, which rich would take for markup.
        console.print(record.error.message, markup=False, highlight=False, soft_wrap=True)
    if record.report is not None:
        console.print(f"\nreport   {record.report}", markup=False, highlight=False, soft_wrap=True)
    if record.version is not None:
        console.print(f"version  {record.version}", highlight=False)
    for line in list_next_commands(record, arguments, kind.example_input):
        console.print(f"next     {line}", markup=False, highlight=False, soft_wrap=True)


def list_next_commands(record: RunRecord, arguments: Sequence[str], example_input: str) -> list[str]:
    """Return the commands that make sense after a run that ended so."""
    again = shlex.join(["launchyard", "run", *arguments])
    if record.status == "succeeded" and record.aliases:
        return [
            f"launchyard serve {record.product}",
            f"launchyard predict {record.product} {shlex.quote(example_input)}",
            f"launchyard status {record.product}",
        ]
    if record.status == "succeeded":
        return [f"launchyard promote {record.product} {record.version}"]
    if record.status == "refused":
        return [f"open the report, change the spec or the data, then: {again}"]
    if record.error is None:
        return []
    return [f"{again} --from {record.error.step}"]
