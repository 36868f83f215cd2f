"""``launchyard run`` as a person uses it: a real pipeline in real processes, from a csv file to the rollout record.

One product serves all tests of this file; each continues from the runs before it, as a week of work does.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest
import yaml

from hostile_surroundings import list_imported, make_hostile_environment, write_shadowing_modules
from launchyard.data.manifest import SPLITS
from launchyard.records.records import Records
from launchyard.settings import Settings
from launchyard.training.alone import NEWEST_NAME
from launchyard_pipelines.run_events import EventReader, RunEvent
from tiny_base import write_base

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]

COMMAND = Path(sys.executable).with_name("launchyard")
PRODUCT = "tiny-reviews"
RUN_TIMEOUT_S = 480
POLL_S = 0.05
ARABIC = {"negative": "سلبي", "positive": "إيجابي"}
"""Labels that the terminal of these runs cannot show."""


@dataclass(frozen=True)
class Workplace:
    """A folder with a product in it, and the commands a person types there."""

    folder: Path

    @property
    def settings(self) -> Settings:
        return Settings(home=self.folder / "home")

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        environment = {**os.environ, **make_hostile_environment(self.folder), "LAUNCHYARD_HOME": "home"}
        return subprocess.Popen(
            [COMMAND, "run", "product.yaml", *arguments],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str) -> tuple[int, str, str]:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=RUN_TIMEOUT_S)
        return process.returncode, out, err

    def run_json(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        code, out, err = self.run("--json", *arguments)
        assert out.startswith("{"), f"stdout holds more than the document:\n{out}\n{err}"
        return code, json.loads(out)

    def list_runs(self) -> set[Path]:
        return {path for path in self.settings.runs_dir(PRODUCT).glob("2*") if path.is_dir()}

    def wait_for_event(self, known: set[Path], step: str, type_: str) -> Path:
        """Return the folder of the run that began after ``known`` once it told of such an event."""
        deadline = time.monotonic() + RUN_TIMEOUT_S
        while time.monotonic() < deadline:
            for run_dir in self.list_runs() - known:
                if any((event.step, event.type) == (step, type_) for event in read_events(run_dir)):
                    return run_dir
            time.sleep(POLL_S)
        raise TimeoutError(f"no run told of {step} {type_}")


def read_events(run_dir: Path) -> list[RunEvent]:
    return EventReader(run_dir).read_new()


def list_statuses(record: dict[str, Any]) -> dict[str, str]:
    return {step["name"]: step["status"] for step in record["steps"]}


def find_processes(run_dir: Path) -> list[str]:
    """Return the command lines of processes that belong to a run: they carry its folder in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("LAUNCHYARD_RUN_DIR") == str(run_dir) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(" ".join(process.cmdline()))
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def wait_until_gone(run_dir: Path) -> list[str]:
    """Return what is left of a run's processes, at the latest after ten seconds."""
    deadline = time.monotonic() + 10
    while (left := find_processes(run_dir)) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    return left


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory, tiny_dataset: Path) -> Workplace:
    folder = tmp_path_factory.mktemp("workplace")
    write_base(folder / "base")
    write_shadowing_modules(folder)
    rows = [row for split in SPLITS for row in pq.read_table(tiny_dataset / f"{split}.parquet").to_pylist()]
    lines = "".join(json.dumps({"text": row["text"], "label": row["label"]}) + "\n" for row in rows)
    (folder / "rows.jsonl").write_text(lines)
    spec = {
        "api": "launchyard/v1",
        "product": PRODUCT,
        "kind": "text-classification",
        "data": {"source": "rows.jsonl", "label": {"column": "label", "map": ARABIC}},
        "model": {"base": "base", "max_length": 32},
        "train": {"epochs": 4, "batch_size": 16, "learning_rate": 3e-3, "precision": "fp32", "early_stopping": None},
        "evaluate": {"gates": {"accuracy": ">= 0.6"}, "bootstrap": 200, "beat_baseline": None},
    }
    (folder / "product.yaml").write_text(yaml.safe_dump(spec))
    return Workplace(folder)


@pytest.fixture(scope="module")
def first_run(workplace: Workplace) -> Iterator[tuple[int, dict[str, Any]]]:
    yield workplace.run_json()


def test_one_command_goes_from_rows_to_the_champion(
    workplace: Workplace, first_run: tuple[int, dict[str, Any]]
) -> None:
    code, record = first_run

    assert (code, record["status"], record["error"]) == (0, "succeeded", None)
    assert set(list_statuses(record).values()) == {"succeeded"}
    assert record["metrics"]["test"]["accuracy"] > 0.6
    low, high = record["intervals"]["test"]["accuracy"]
    assert low <= record["metrics"]["test"]["accuracy"] <= high
    assert record["n"]["test"]["accuracy"] > 30
    assert all(gate["passed"] for gate in record["gates"])
    assert Path(record["report"]).is_file() and Path(record["bundle"], "bundle.json").is_file()
    rollout = Records(workplace.settings).find_rollout(PRODUCT)
    assert rollout is not None and rollout.champion is not None
    assert rollout.champion.version == record["version"] == record["aliases"]["champion"] == 1


def test_nothing_in_the_working_folder_is_imported(workplace: Workplace, first_run: tuple[int, dict[str, Any]]) -> None:
    assert first_run[0] == 0
    assert list_imported(workplace.folder) == ""


def test_what_has_not_changed_is_reused_and_the_champion_is_met(
    workplace: Workplace, first_run: tuple[int, dict[str, Any]]
) -> None:
    code, record = workplace.run_json("--no-deploy")

    statuses = list_statuses(record)
    assert code == 0
    assert (statuses["prepare"], statuses["train"]) == ("reused", "reused")
    assert (statuses["evaluate"], statuses["register"]) == ("succeeded", "succeeded")
    assert "deploy" not in statuses
    assert any("champion" in gate["rule"] for gate in record["gates"])


def test_a_refused_gate_is_exit_code_3_with_report_and_without_a_version(
    workplace: Workplace, first_run: tuple[int, dict[str, Any]]
) -> None:
    code, record = workplace.run_json("--set", "evaluate.gates={accuracy: '>= 1.0'}", "--set", "train.epochs=1")

    assert (code, record["status"], record["error"]["step"]) == (3, "refused", "evaluate")
    assert "accuracy" in record["error"]["message"]
    assert Path(record["report"]).is_file()
    assert record["version"] is None
    assert list_statuses(record)["register"] == "skipped"


@pytest.mark.parametrize(
    ("step", "event"),
    [
        ("prepare", "started"),
        ("tune", "progress"),
        ("train", "started"),
        ("train", "progress"),
        ("evaluate", "started"),
        ("register", "started"),
    ],
)
def test_ctrl_c_ends_everything_the_run_started(
    workplace: Workplace, first_run: tuple[int, dict[str, Any]], step: str, event: str
) -> None:
    known = workplace.list_runs()
    search = ("--set", "tune={trials: 50, parameters: {train.learning_rate: {min: 1e-3, max: 5e-3}}}")
    process = workplace.start("--json", "--from", step, *(search if step == "tune" else ()))
    run_dir = workplace.wait_for_event(known, step, event)

    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=RUN_TIMEOUT_S)

    record = json.loads(out)
    assert (process.returncode, record["status"], record["error"]["step"]) == (130, "cancelled", step)
    assert wait_until_gone(run_dir) == []


def test_a_training_killed_with_its_run_goes_on_where_it_was(
    workplace: Workplace, first_run: tuple[int, dict[str, Any]]
) -> None:
    known = workplace.list_runs()
    longer = ("--set", "train.epochs=60", "--set", "train.evaluations_per_epoch=2")
    process = workplace.start(*longer)
    run_dir = workplace.wait_for_event(known, "train", "progress")
    storage = workplace.settings.training_dir(PRODUCT)
    deadline = time.monotonic() + RUN_TIMEOUT_S
    while not list(storage.glob(f"*/{NEWEST_NAME}")) and time.monotonic() < deadline:
        time.sleep(POLL_S)

    process.kill()
    process.communicate(timeout=RUN_TIMEOUT_S)
    assert wait_until_gone(run_dir) == []
    code, record = workplace.run_json("--from", "train", "--no-deploy", *longer)

    assert code == 0, record
    training = json.loads((Path(record["bundle"]) / "training.json").read_text())
    assert training["resumed_from_step"] > 0
    assert list_statuses(record)["prepare"] == "reused"


def test_a_second_run_of_the_same_product_is_turned_away(
    workplace: Workplace, first_run: tuple[int, dict[str, Any]]
) -> None:
    known = workplace.list_runs()
    first = workplace.start("--from", "prepare")
    workplace.wait_for_event(known, "prepare", "started")

    code, record = workplace.run_json()

    first.send_signal(signal.SIGINT)
    first.communicate(timeout=RUN_TIMEOUT_S)
    assert (code, record["status"]) == (1, "failed")
    assert f"process {first.pid}" in record["error"]["message"]


def test_a_wrong_spec_is_exit_code_2_and_still_one_document(workplace: Workplace) -> None:
    code, record = workplace.run_json("--set", "train.epochs=-1")

    assert (code, record["status"]) == (2, "failed")
    assert "train.epochs" in record["error"]["message"]


def test_a_failed_step_is_named_with_its_reason(workplace: Workplace) -> None:
    code, record = workplace.run_json("--set", "data.text=body")

    assert (code, record["error"]["step"]) == (1, "prepare")
    assert "body" in record["error"]["message"] and "text" in record["error"]["message"]
