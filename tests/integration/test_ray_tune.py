"""A search on a real Ray Tune: what it stops, what it finds, and what survives its death."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import tune_driver
from launchyard.errors import RunError
from launchyard.evaluation.results import GradientRecord, TrialResult, TuneRecord
from launchyard.kinds.text_classification.train import train_text_classifier
from launchyard.testing import LocalContext
from launchyard.threads import share_threads
from launchyard.training.context import TrainJob
from launchyard.training.search import apply_trial
from launchyard_pipelines.ray_train.tune import search
from tiny_base import write_base
from tiny_candidate import make_spec, write_dataset
from tune_driver import BAD_RATE, EPOCHS, GOOD_RATE, make_job

pytestmark = pytest.mark.integration

TRIALS = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tune")
    write_dataset(folder / "rows")
    write_base(folder / "base")
    return folder


@pytest.fixture(scope="module")
def shown() -> list[TrialResult]:
    return []


@pytest.fixture(scope="module")
def record(folder: Path, shown: list[TrialResult]) -> TuneRecord:
    """A whole search of which the first process was killed after its first trial."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    killed = subprocess.Popen(
        [sys.executable, tune_driver.__file__, str(folder)], stdout=subprocess.PIPE, env=environment, text=True
    )
    assert killed.stdout is not None
    line = next(line for line in killed.stdout if line.startswith("{"))
    killed.kill()
    killed.communicate(timeout=60)
    shown.append(TrialResult.model_validate_json(line))
    return search(
        make_job(folder, trials=TRIALS),
        bases={"base": folder / "base"},
        storage_dir=folder / "killed",
        on_trial=shown.append,
    )


def test_a_search_that_was_killed_goes_on_with_its_finished_trials(
    record: TuneRecord, shown: list[TrialResult]
) -> None:
    before_the_kill = shown[0]

    assert len(record.trials) == TRIALS
    kept = next(trial for trial in record.trials if trial.parameters == before_the_kill.parameters)
    assert (kept.metric, kept.status) == (before_the_kill.metric, before_the_kill.status)
    assert {trial.number for trial in shown} == set(range(1, TRIALS + 1))


def test_asha_stops_bad_trials_early_and_lets_good_ones_finish(record: TuneRecord) -> None:
    stopped = [trial for trial in record.trials if trial.status == "stopped"]
    completed = [trial for trial in record.trials if trial.status == "completed"]

    assert any(trial.parameters["train.learning_rate"] == BAD_RATE for trial in stopped)
    assert all(trial.epochs < EPOCHS for trial in stopped)
    assert completed and all(trial.epochs == EPOCHS for trial in completed)


def test_training_the_best_trial_again_gives_its_validation_score(
    record: TuneRecord, folder: Path, tmp_path: Path
) -> None:
    job: TrainJob = make_job(folder, trials=TRIALS)
    winner = replace(job, spec=apply_trial(job.spec, record.best), output_dir=tmp_path / "winner")

    train_text_classifier(LocalContext(tmp_path, threads=share_threads(None, count=1)), winner)

    training = GradientRecord.model_validate_json((winner.output_dir / "training.json").read_text())
    assert record.best["train.learning_rate"] == GOOD_RATE
    assert training.validation["accuracy"] == pytest.approx(record.best_metric, abs=1e-9)


def test_a_spec_without_a_search_is_refused(tmp_path: Path) -> None:
    job = TrainJob(spec=make_spec(), dataset_dir=tmp_path, base_dir=tmp_path, output_dir=tmp_path)

    with pytest.raises(RunError, match="no tune block"):
        search(job, bases={}, storage_dir=tmp_path, on_trial=lambda _: None)
