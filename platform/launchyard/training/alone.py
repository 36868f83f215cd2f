"""Training by one worker, in the process that asks for it; several are started by Ray Train."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from threadpoolctl import threadpool_limits

from launchyard.errors import LaunchyardError, TrainError
from launchyard.evaluation.results import TRAINING_NAME, GradientRecord
from launchyard.files.atomic import sync, write_text
from launchyard.kinds import get_kind
from launchyard.training.context import TrainJob, TrainProgress

NEWEST_NAME = "newest"
"""File that names the newest whole checkpoint: a worker may die while it writes the next one."""


@dataclass
class LocalContext:
    """A :class:`~launchyard.training.context.TrainContext` in this very process.

    Its newest checkpoint outlives it: a second context on the same folder goes on from there.
    """

    scratch_dir: Path
    device: str = "cpu"
    threads: int = 1
    on_progress: Callable[[TrainProgress], None] = lambda _progress: None
    rank: int = field(default=0, init=False)
    world_size: int = field(default=1, init=False)

    def latest_checkpoint(self) -> Path | None:
        """Return the newest checkpoint that was reported."""
        newest = self.scratch_dir / NEWEST_NAME
        return self.scratch_dir / newest.read_text(encoding="utf-8") if newest.is_file() else None

    def report(self, metrics: Mapping[str, float], checkpoint_dir: Path | None = None) -> None:
        """Let the checkpoint take the place of the one before; the metrics are in the history of the training."""
        if checkpoint_dir is None:
            return
        older = self.latest_checkpoint()
        # On the disk before it is named: a power cut must not leave the name of half a checkpoint.
        for path in (*checkpoint_dir.iterdir(), checkpoint_dir):
            sync(path)
        write_text(self.scratch_dir / NEWEST_NAME, checkpoint_dir.name)
        if older is not None and older != checkpoint_dir:
            shutil.rmtree(older)

    def progress(self, progress: TrainProgress) -> None:
        """Pass on how far it is."""
        self.on_progress(progress)


def train_alone(context: LocalContext, job: TrainJob) -> GradientRecord:
    """Train by gradients in this process and return the record, which is left in ``job.output_dir``, too.

    Called again with the same ``context.scratch_dir`` after this process died, it goes on from the newest checkpoint.
    A training that is refused leaves nothing there: its checkpoints are of no use.

    Raises:
        TrainError: the kind has no training by gradients, or the job cannot be trained.
    """
    train = get_kind(job.spec.kind).load_train_function()
    if train is None:
        raise TrainError(f"kind: '{job.spec.kind}' has no training by gradients. Give the kind one.")
    context.scratch_dir.mkdir(parents=True, exist_ok=True)
    try:
        with threadpool_limits(context.threads):
            train(context, job)
    except LaunchyardError:
        shutil.rmtree(context.scratch_dir)
        raise
    return GradientRecord.model_validate_json((job.output_dir / TRAINING_NAME).read_text(encoding="utf-8"))
