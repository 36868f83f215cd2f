"""A program that trains on Ray, for tests that end it: ``python train_driver.py FOLDER``."""

from __future__ import annotations

import sys
from pathlib import Path

from launchyard.settings import set_process_defaults
from launchyard.training.context import TrainJob
from tiny_candidate import make_spec

EPOCHS = 20
STEPS_PER_EPOCH = 20
"""320 training rows in batches of 16."""


def make_job(folder: Path, output: str, *, epochs: int = EPOCHS) -> TrainJob:
    """Return a job on the base model and rows in ``folder``; without dropout, so that workers can be compared."""
    train = {"epochs": epochs, "batch_size": 16, "learning_rate": 1e-3, "precision": "fp32", "early_stopping": None}
    spec = make_spec(train=train, model={"base": "base", "max_length": 32, "dropout": 0.0})
    return TrainJob(spec=spec, dataset_dir=folder / "rows", base_dir=folder / "base", output_dir=folder / output)


def main(folder: Path) -> None:
    """Train until the end, or until somebody ends this process."""
    from launchyard.spec.blocks import Resource  # noqa: PLC0415 - after the process has its environment
    from launchyard_pipelines.ray_train.fit import fit  # noqa: PLC0415 - after the process has its environment

    fit(
        make_job(folder, "killed"),
        storage_dir=folder / "storage",
        resources=Resource(cpus=1),
        on_progress=lambda _: None,
    )


if __name__ == "__main__":
    set_process_defaults()
    main(Path(sys.argv[1]))
