"""What a run tells while it runs: one JSON line per event, appended by steps, followed by the command line."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from rich.filesize import decimal

from launchyard.credentials import mask_text
from launchyard.errors import GateRefused, LaunchyardError, RunError
from launchyard.files.full_disk import is_disk_full
from launchyard.settings import Settings

EVENTS_NAME = "events.jsonl"
PROGRESS_INTERVAL_S = 0.5

EventType = Literal["started", "progress", "succeeded", "refused", "failed"]


class RunEvent(BaseModel):
    """One thing that happened in a step."""

    model_config = ConfigDict(frozen=True)

    step: str
    type: EventType
    seconds: float = 0.0
    message: str = ""
    data: dict[str, Any] = {}


def append_event(run_dir: Path | None, event: RunEvent) -> None:
    """Append ``event`` to the run's events, whole or not at all; without a run folder print it as a log line."""
    line = event.model_dump_json() + "\n"
    if run_dir is None:
        # Past Python's buffer, where a killed step would leave it.
        os.write(1, line.encode())
        return
    # Appended by one write: lines of two processes do not mix.
    descriptor = os.open(run_dir / EVENTS_NAME, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


class EventReader:
    """Reads a run's events as they are appended."""

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / EVENTS_NAME
        self._offset = 0

    def read_new(self) -> list[RunEvent]:
        """Return the events that came since the last call; a line that is still being written waits."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            whole, newline, _ = file.read().rpartition(b"\n")
        self._offset += len(whole) + len(newline)
        return [RunEvent.model_validate_json(line) for line in whole.splitlines() if line]


@dataclass
class StepReport:
    """What a running step says of itself: progress on the way, results at its end."""

    step: str
    run_dir: Path | None
    data: dict[str, Any] = field(default_factory=dict)
    message: str = ""
    _last_progress_s: float = 0.0

    def progress(self, done: float, total: float | None, message: str = "", *, lasting: bool = False) -> None:
        """Tell how far the step is; more than two calls a second are dropped, but never the last one.

        ``total`` is None when nobody knows it. A ``lasting`` message, such as a finished trial, is never dropped and
        stays on the screen.
        """
        now_s = time.monotonic()
        if (total is None or done < total) and not lasting and now_s - self._last_progress_s < PROGRESS_INTERVAL_S:
            return
        self._last_progress_s = now_s
        data = {"done": done, "total": total, "lasting": lasting}
        append_event(self.run_dir, RunEvent(step=self.step, type="progress", message=message, data=data))

    def download(self, done_bytes: int, total_bytes: int | None) -> None:
        """Tell how much of a download has arrived."""
        of_all = "" if total_bytes is None else f" of {decimal(total_bytes)}"
        self.progress(done_bytes, total_bytes, f"{decimal(done_bytes)}{of_all} fetched")


@contextmanager
def reported_step(step: str, settings: Settings, *, started_s: float) -> Iterator[StepReport]:
    """Run a block as the step ``step``: its start, end, refusal or failure become events; errors pass on.

    ``started_s`` is when its time began, by the monotonic clock.

    Raises:
        RunError: the block met a full disk; the message says where and how to go on.
    """
    report = StepReport(step, settings.run_dir)
    append_event(settings.run_dir, RunEvent(step=step, type="started"))

    def end(type_: EventType, message: str) -> None:
        seconds = round(time.monotonic() - started_s, 3)
        event = RunEvent(step=step, type=type_, seconds=seconds, message=message, data=report.data)
        append_event(settings.run_dir, event)

    try:
        yield report
    except GateRefused as err:
        end("refused", str(err))
        raise
    except LaunchyardError as err:
        end("failed", str(err))
        raise
    # The boundary of a step: whatever ends it becomes an event.
    except Exception as err:
        if is_disk_full(err):
            explained = explain_full_disk(err, step, settings)
            # The disk may have no room for the event either: the error must be heard all the same.
            with suppress(OSError):
                end("failed", str(explained))
            raise explained from err
        end("failed", f"{type(err).__name__}: {mask_text(str(err))}")
        raise
    end("succeeded", report.message)


def explain_full_disk(error: BaseException, step: str, settings: Settings) -> RunError:
    """Return what a person is told of a step that met a full disk."""
    # A copy names its source first; where nothing is named, a step writes below the home folder.
    named = [path for name in ("filename2", "filename") if isinstance(path := getattr(error, name, None), str)]
    place = named[0] if named else settings.root
    return RunError(f"{step}: the disk is full at {place}. Free some space, then run again with --from {step}.")
