"""Runs on a laptop: start the pipeline in a child process, follow its events, end it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from launchyard.credentials import mask_text
from launchyard.files.atomic import write_text
from launchyard.records.records import opening_records
from launchyard.rollout.run_lock import hold_product
from launchyard.settings import PREFIX, Settings
from launchyard.spec.blocks import Product
from launchyard_pipelines.code_version import compute_code_version
from launchyard_pipelines.plan import PLAN_NAME, PipelineOptions, RunPlan, list_reusable, list_steps
from launchyard_pipelines.reuse import describe_events, describe_sources
from launchyard_pipelines.run_events import EventReader, RunEvent
from launchyard_pipelines.run_record import RunFailure, RunRecord, make_run_id, summarise_run
from launchyard_pipelines.snapshot import write_snapshot

POLL_INTERVAL_S = 0.1
STOP_TIMEOUT_S = 10.0
LOG_NAME = "run.log"
LOG_TAIL_LINES = 15
"""Lines of the log that are shown when a run ended without a step saying why."""


@dataclass(frozen=True)
class RunRequest:
    """What a user asks to be run."""

    spec: Product
    base_dir: Path
    from_step: str | None = None
    release: bool = True

    def list_steps(self) -> list[str]:
        """Return the names of the steps that this run has, in order."""
        return [name for name in list_steps(self.spec) if self.release or name != "deploy"]


def execute_run(request: RunRequest, settings: Settings, on_event: Callable[[RunEvent], None]) -> RunRecord:
    """Execute the pipeline of a spec and return its record, which is also written to the run's folder.

    A keyboard interrupt ends the run with everything it started; the record then says ``cancelled``.

    Raises:
        SpecError: ``from_step`` is not a step of this product.
        RunError: another run of the same product is under way.
    """
    spec = request.spec
    # Raises for a step that is not there, before anything is written.
    list_reusable(spec, request.from_step)
    run_id = make_run_id()
    run_dir = settings.runs_dir(spec.product) / run_id
    with hold_product(settings, spec.product, run_id):
        write_plan(request, settings, run_dir)
        # Until it is replaced it says "running", also of a run that was killed.
        RunRecord(run_id=run_id, product=spec.product).write(run_dir)
        events, cancelled = _follow_child(run_dir, settings, on_event)
        record = summarise_run(run_id, spec.product, request.list_steps(), events, cancelled=cancelled)
        if record.status == "failed" and record.error is not None and not _has_ended(events, record.error.step):
            message = f"ended without a result. The last lines of {run_dir / LOG_NAME}:\n{read_log_tail(run_dir)}"
            # A step that was killed could not say why; the log may.
            record.error = RunFailure(step=record.error.step, message=message)
        record.write(run_dir)
    return record


def write_plan(request: RunRequest, settings: Settings, run_dir: Path) -> None:
    """Write what the child is to execute, with the state of everything that finished steps depend on."""
    snapshot = write_snapshot(request.spec, request.base_dir, settings)
    with opening_records(settings) as records:
        rollout = records.find_rollout(request.spec.product)
    options = PipelineOptions(
        spec_uri=str(snapshot.path),
        spec_sha256=snapshot.sha256,
        code_version=compute_code_version(),
        sources=describe_sources(request.spec, request.base_dir) + describe_events(request.spec, settings),
        champion="" if rollout is None or rollout.champion is None else rollout.champion.digest,
        from_step=request.from_step,
    )
    cache_dir = settings.runs_dir(request.spec.product) / "reuse"
    plan = RunPlan(spec_path=snapshot.path, options=options, release=request.release, cache_dir=cache_dir)
    write_text(run_dir / PLAN_NAME, plan.model_dump_json(indent=2))


def _has_ended(events: list[RunEvent], step: str) -> bool:
    return any(event.step == step and event.type in ("failed", "refused") for event in events)


def _follow_child(
    run_dir: Path, settings: Settings, on_event: Callable[[RunEvent], None]
) -> tuple[list[RunEvent], bool]:
    """Run the child to its end and return its events, and whether the user interrupted it."""
    # -P: a ray.py of the user's, in the working folder, is not taken for the library.
    command = [sys.executable, "-P", "-m", "launchyard_pipelines.local.child", str(run_dir), str(os.getpid())]
    environment = {
        **os.environ,
        f"{PREFIX}RUN_DIR": str(run_dir),
        # Absolute by now: workers run in folders of their own.
        f"{PREFIX}HOME": str(settings.home),
        # Its log is read as UTF-8, whatever the terminal is.
        "PYTHONIOENCODING": "utf-8:backslashreplace",
    }
    reader = EventReader(run_dir)
    events: list[RunEvent] = []

    def pass_on() -> None:
        for event in reader.read_new():
            events.append(event)
            on_event(event)

    with (run_dir / LOG_NAME).open("wb") as log:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
        )
        cancelled = False
        try:
            while child.poll() is None:
                pass_on()
                with suppress(subprocess.TimeoutExpired):
                    child.wait(POLL_INTERVAL_S)
        except KeyboardInterrupt:
            cancelled = True
        finally:
            # After a good end too, for what steps have started may still run.
            stop_group(child)
            # What came between the last look and the end.
            pass_on()
    return events, cancelled


def stop_group(child: subprocess.Popen[bytes]) -> None:
    """End a child and everything it started; returns when the child is gone."""
    for signal_ in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal_)
        with suppress(subprocess.TimeoutExpired):
            child.wait(STOP_TIMEOUT_S)


def read_log_tail(run_dir: Path) -> str:
    """Return the last lines of a run's log."""
    lines = (run_dir / LOG_NAME).read_text(encoding="utf-8", errors="replace").splitlines()
    # Libraries print URLs with the passwords in them.
    return mask_text("\n".join([line for line in lines if line.strip()][-LOG_TAIL_LINES:]))
