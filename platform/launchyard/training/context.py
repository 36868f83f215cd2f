"""What a training worker knows of its surroundings; whoever starts workers implements it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from launchyard.spec.blocks import Product


@dataclass(frozen=True)
class TrainProgress:
    """How far a training is, for people to watch."""

    step: int
    num_steps: int
    epoch: float
    """Passes over the training rows so far."""
    loss: float
    """Training loss of the last optimiser steps."""
    learning_rate: float
    samples_per_second: float
    metrics: Mapping[str, float] = field(default_factory=dict)
    """The newest validation's metrics; empty before the first."""


@dataclass(frozen=True)
class TrainJob:
    """One training, the same for all its workers; picklable.

    It leaves in ``output_dir`` what evaluation takes further: ``model/``, ``preprocess.json`` where there is one, and
    a :class:`~launchyard.evaluation.results.TrainingRecord`.
    """

    spec: Product
    dataset_dir: Path
    base_dir: Path | None
    """Folder (or file) of the base model, already fetched; None for a model that starts from nothing."""
    output_dir: Path


class TrainContext(Protocol):
    """The surroundings of one data-parallel worker.

    With more than one worker a ``torch.distributed`` process group is up when training starts.
    """

    rank: int
    world_size: int
    device: str
    """Torch device of this worker, such as ``cpu`` or ``cuda:0``."""
    threads: int
    """CPU threads this worker may compute on."""
    scratch_dir: Path
    """Folder of this worker alone, for checkpoints that are about to be reported."""

    def latest_checkpoint(self) -> Path | None:
        """Return the newest checkpoint folder that every rank reported, or None at the start."""
        ...

    def report(self, metrics: Mapping[str, float], checkpoint_dir: Path | None = None) -> None:
        """Publish this evaluation's metrics and, from rank 0, a checkpoint folder; all ranks call it alike.

        Among the metrics are ``step`` and ``best_step``, the step whose weights would be kept if training ended now.
        Returns once the checkpoint is safe; not at all in a trial that its search stops here.
        """
        ...

    def progress(self, progress: TrainProgress) -> None:
        """Tell the user how far training is; cheap, called after each optimiser step by rank 0."""
        ...
