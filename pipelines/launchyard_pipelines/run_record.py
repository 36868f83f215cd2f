"""The record of one run: what ``launchyard run --json`` prints and ``run.json`` keeps."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from launchyard.errors import GateRefused, RunError
from launchyard.evaluation.results import Evaluation, GateResult
from launchyard.files.atomic import write_text
from launchyard_pipelines.run_events import EventType, RunEvent

RUN_NAME = "run.json"

RunStatus = Literal["running", "succeeded", "refused", "failed", "cancelled"]
StepStatus = Literal["succeeded", "reused", "refused", "failed", "cancelled", "skipped"]
EXIT_CODES: dict[RunStatus, int] = {
    "succeeded": 0,
    "refused": GateRefused.exit_code,
    "cancelled": 130,
}
"""Exit code of ``launchyard run`` by status; any other status is 1."""

ENDINGS: dict[EventType, StepStatus] = {"succeeded": "succeeded", "refused": "refused", "failed": "failed"}
"""How a step stands after its last event."""


class StepState(BaseModel):
    """One step of a run and how it ended."""

    name: str
    status: StepStatus
    seconds: float = 0.0


class RunFailure(BaseModel):
    """Where a run ended early, and why."""

    step: str
    message: str


class RunRecord(BaseModel):
    """One execution of the pipeline, as far as it got."""

    run_id: str
    product: str
    status: RunStatus = "running"
    error: RunFailure | None = None
    steps: list[StepState] = []
    metrics: dict[str, dict[str, float]] = {}
    intervals: dict[str, dict[str, tuple[float, float]]] = {}
    n: dict[str, dict[str, int]] = {}
    gates: list[GateResult] = []
    bundle: str | None = None
    report: str | None = None
    version: int | None = None
    aliases: dict[str, int] = {}

    @property
    def exit_code(self) -> int:
        """Exit code of the command that executed the run."""
        return EXIT_CODES.get(self.status, RunError.exit_code)

    def write(self, run_dir: Path) -> None:
        """Write the record as ``run.json``."""
        write_text(run_dir / RUN_NAME, self.model_dump_json(indent=2))


def make_run_id(now: datetime | None = None) -> str:
    """Return a new run id: sorts by time, unique without asking anyone."""
    return f"{(now or datetime.now(UTC)):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def summarise_run(
    run_id: str, product: str, planned: list[str], events: list[RunEvent], *, cancelled: bool
) -> RunRecord:
    """Return the record that follows from a finished run's events.

    A planned step without events before the last step that has some was reused; after it, skipped.
    """
    ended = {event.step: event for event in events if event.type in ENDINGS}
    started = {event.step for event in events}
    # KFP tells nothing of a step that it reuses or leaves out: where it stands among the others does.
    last = max((index for index, name in enumerate(planned) if name in started), default=-1)
    steps: list[StepState] = []
    for index, name in enumerate(planned):
        if name in ended:
            event = ended[name]
            steps.append(StepState(name=name, status=ENDINGS[event.type], seconds=event.seconds))
        elif name in started:
            steps.append(StepState(name=name, status="cancelled" if cancelled else "failed"))
        else:
            steps.append(StepState(name=name, status="reused" if index < last else "skipped"))
    record = RunRecord(run_id=run_id, product=product, steps=steps)
    for event in events:
        _take_results(record, event)
    _conclude(record, ended, cancelled=cancelled)
    return record


def _take_results(record: RunRecord, event: RunEvent) -> None:
    """Copy what a step published into the record."""
    record.bundle = event.data.get("bundle", record.bundle)
    record.report = event.data.get("report", record.report)
    record.version = event.data.get("version", record.version)
    record.aliases = event.data.get("aliases", record.aliases)
    if "evaluation" in event.data:
        evaluation = Evaluation.model_validate_json(Path(event.data["evaluation"]).read_text(encoding="utf-8"))
        for split, measures in evaluation.metrics.items():
            record.metrics[split] = {name: measure.value for name, measure in measures.items()}
            record.intervals[split] = {name: (measure.low, measure.high) for name, measure in measures.items()}
            record.n[split] = {name: measure.n for name, measure in measures.items()}
        record.gates = list(evaluation.gates)


def _conclude(record: RunRecord, ended: dict[str, RunEvent], *, cancelled: bool) -> None:
    """Set the run's status and, if it ended early, where and why."""
    # Looked for before anything else: cancelled after its last step, a run has succeeded.
    bad = next((step for step in record.steps if step.status not in ("succeeded", "reused")), None)
    if bad is None:
        record.status = "succeeded"
    elif cancelled:
        record.status = "cancelled"
        record.error = RunFailure(step=bad.name, message="cancelled")
    else:
        record.status = "refused" if bad.status == "refused" else "failed"
        message = ended[bad.name].message if bad.name in ended else "the step ended without a word"
        record.error = RunFailure(step=bad.name, message=message)
