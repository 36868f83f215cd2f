"""A finished training in words and numbers, for the report and the registry."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from launchyard.evaluation.figures import Series
from launchyard.evaluation.results import TRAINING_NAME, GradientRecord, TrainingRecord
from launchyard.files.atomic import write_text

if TYPE_CHECKING:
    # For types alone: a fit writes a record, too, and needs no torch.
    from torch import nn

    from launchyard.training.loop import TrainingLoop


@dataclass(frozen=True)
class ModelFacts:
    """What the kind knows about the model before it is trained."""

    model_type: str
    num_parameters: int
    fresh_weights: tuple[str, ...]
    warnings: tuple[str, ...]


def count_parameters(model: nn.Module, *, trained: bool = False) -> int:
    """Return how many numbers the model holds, or how many of them training changes."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trained)


def describe_training(loop: TrainingLoop, facts: ModelFacts) -> GradientRecord:
    """Return the record of a training that has run."""
    history = loop.history
    return GradientRecord(
        model_type=facts.model_type,
        num_parameters=facts.num_parameters,
        num_trained_parameters=count_parameters(loop.task.model, trained=True),
        num_steps=history.step,
        num_samples=history.num_samples,
        seconds=history.total_seconds,
        samples_per_second=history.samples_per_second,
        precision=loop.precision,
        workers=loop.context.world_size,
        device=loop.context.device,
        best_step=history.best_step,
        stopped_early=loop.stopped_early,
        resumed_from_step=history.resumed_from_step,
        fresh_weights=facts.fresh_weights,
        validation=history.best_metrics,
        curves=_draw_curves(loop),
        warnings=facts.warnings,
    )


def write_record(output_dir: Path, record: TrainingRecord) -> None:
    """Write the record of a training. It comes last: where the record is, everything else is too."""
    write_text(output_dir / TRAINING_NAME, record.model_dump_json(indent=2) + "\n")


def _draw_curves(loop: TrainingLoop) -> tuple[Series, ...]:
    """Return the curves by step; metrics of single labels, such as ``f1[spam]``, would drown the others."""
    history = loop.history
    curves = [_series("train_loss", history.losses), _series("learning_rate", history.learning_rates)]
    for name in history.best_metrics:
        if "[" not in name:
            points = [(step, metrics[name]) for step, metrics in history.validations if name in metrics]
            curves.append(_series(f"validation_{name}", points))
    return tuple(curves)


def _series(name: str, points: list[tuple[int, float]]) -> Series:
    return Series(name=name, x=tuple(step for step, _ in points), y=tuple(value for _, value in points))
