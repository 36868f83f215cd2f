"""What a run's events add up to."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from launchyard.errors import GateRefused, SourceError
from launchyard.settings import Settings
from launchyard_pipelines.run_events import EventReader, RunEvent, append_event, reported_step
from launchyard_pipelines.run_record import make_run_id, summarise_run

PLANNED = ["prepare", "train", "evaluate", "register", "deploy"]


def ended(step: str, type_: str = "succeeded", **data: object) -> list[RunEvent]:
    return [
        RunEvent(step=step, type="started"),
        RunEvent.model_validate({"step": step, "type": type_, "seconds": 1.5, "message": "why", "data": data}),
    ]


def test_steps_without_events_before_the_last_one_were_reused() -> None:
    events = [*ended("evaluate"), *ended("register", version=3), *ended("deploy", aliases={"champion": 3})]

    record = summarise_run("r1", "p", PLANNED, events, cancelled=False)

    assert [step.status for step in record.steps] == ["reused", "reused", "succeeded", "succeeded", "succeeded"]
    assert (record.status, record.exit_code, record.version, record.aliases) == ("succeeded", 0, 3, {"champion": 3})


def test_a_refused_gate_ends_the_run_with_exit_code_3_and_skips_what_follows() -> None:
    events = [*ended("prepare"), *ended("train"), *ended("evaluate", "refused")]

    record = summarise_run("r1", "p", PLANNED, events, cancelled=False)

    assert [step.status for step in record.steps] == ["succeeded", "succeeded", "refused", "skipped", "skipped"]
    assert (record.status, record.exit_code) == ("refused", 3)
    assert record.error is not None and record.error.step == "evaluate"


def test_a_step_that_only_started_was_cut_off() -> None:
    events = [*ended("prepare"), RunEvent(step="train", type="started")]

    failed = summarise_run("r1", "p", PLANNED, events, cancelled=False)
    cancelled = summarise_run("r1", "p", PLANNED, events, cancelled=True)

    assert (failed.status, failed.exit_code) == ("failed", 1)
    assert (cancelled.status, cancelled.exit_code) == ("cancelled", 130)
    assert cancelled.error is not None and cancelled.error.step == "train"


def test_a_run_without_any_event_failed_at_its_first_step() -> None:
    record = summarise_run("r1", "p", PLANNED, [], cancelled=False)

    assert (record.status, record.error and record.error.step) == ("failed", "prepare")


def test_run_ids_sort_by_time_and_differ() -> None:
    ids = {make_run_id() for _ in range(50)}

    assert len(ids) > 45
    assert sorted(ids)[0][:8].isdigit()


@pytest.mark.parametrize(
    ("error", "type_"), [(GateRefused("no"), "refused"), (SourceError("gone"), "failed"), (KeyError("x"), "failed")]
)
def test_an_error_in_a_step_becomes_an_event_and_passes_on(tmp_path: Path, error: Exception, type_: str) -> None:
    settings = Settings(run_dir=tmp_path)

    with pytest.raises(type(error)), reported_step("train", settings, started_s=time.monotonic()):
        raise error

    events = EventReader(tmp_path).read_new()
    assert [event.type for event in events] == ["started", type_]


def test_a_reader_waits_for_the_end_of_a_line(tmp_path: Path) -> None:
    reader = EventReader(tmp_path)
    append_event(tmp_path, RunEvent(step="a", type="started"))
    with (tmp_path / "events.jsonl").open("a") as file:
        file.write('{"step": "b", ')

    first = reader.read_new()
    with (tmp_path / "events.jsonl").open("a") as file:
        file.write('"type": "started"}\n')
    second = reader.read_new()

    assert [event.step for event in first] == ["a"]
    assert [event.step for event in second] == ["b"]


def test_progress_is_thinned_out_but_never_loses_the_end(tmp_path: Path) -> None:
    with reported_step("train", Settings(run_dir=tmp_path), started_s=time.monotonic()) as report:
        for step in range(1, 101):
            report.progress(step, 100)

    done = [event.data["done"] for event in EventReader(tmp_path).read_new() if event.type == "progress"]
    assert done[-1] == 100
    assert len(done) < 20
