"""A program that searches on Ray Tune, for tests that end it: ``python tune_driver.py FOLDER``."""

from __future__ import annotations

import sys
from pathlib import Path

from launchyard.evaluation.results import TrialResult
from launchyard.settings import set_process_defaults
from launchyard.training.context import TrainJob
from tiny_candidate import make_spec

EPOCHS = 6
GRACE_EPOCHS = 3
"""The good rate needs three epochs to be seen."""
GOOD_RATE, BAD_RATE = 3e-3, 1e-6
SEED = 6
"""Proposes a good rate first, so that each bad one has a better rival, whenever the first process was killed."""


def make_job(folder: Path, *, trials: int) -> TrainJob:
    """Return a search between a learning rate that learns and one that does not."""
    train = {"epochs": EPOCHS, "batch_size": 16, "precision": "fp32", "early_stopping": None}
    tune = {
        "trials": trials,
        "grace_epochs": GRACE_EPOCHS,
        "reduction_factor": 2,
        "seed": SEED,
        "parameters": {
            "train.learning_rate": {"values": [GOOD_RATE, BAD_RATE]},
            "model.dropout": {"min": 0, "max": 0.1},
        },
    }
    # More cores than there are: a search takes those that are there, and never waits for others.
    spec = make_spec(train=train, tune=tune, resources={"tune": {"cpus": 1000}})
    return TrainJob(
        spec=spec, dataset_dir=folder / "rows", base_dir=folder / "base", output_dir=folder / "unused-output"
    )


def main(folder: Path) -> None:
    """Search until the end, or until somebody ends this process; say each trial's end on stdout."""
    from launchyard_pipelines.ray_train.tune import search  # noqa: PLC0415 - after the process has its environment

    def show(trial: TrialResult) -> None:
        sys.stdout.write(trial.model_dump_json() + "\n")
        sys.stdout.flush()

    search(make_job(folder, trials=6), bases={"base": folder / "base"}, storage_dir=folder / "killed", on_trial=show)


if __name__ == "__main__":
    set_process_defaults()
    main(Path(sys.argv[1]))
