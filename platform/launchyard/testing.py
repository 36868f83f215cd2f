"""Stand-ins for the world around the core, for tests of kinds and of the platform."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from launchyard.errors import TrainError
from launchyard.training import alone
from launchyard.training.alone import train_alone
from launchyard.training.context import TrainJob, TrainProgress
from launchyard.training.fit import LocalFit, fit_model


@dataclass
class LocalContext(alone.LocalContext):
    """A worker in this very process that keeps what it is told, and may be one of several."""

    rank: int = 0
    world_size: int = 1
    on_report: Callable[[Mapping[str, float]], None] | None = None
    """Called by each report once its checkpoint is safe; may raise, as when a worker dies at that moment."""
    reports: list[Mapping[str, float]] = field(default_factory=list)
    shown: list[TrainProgress] = field(default_factory=list)

    def report(self, metrics: Mapping[str, float], checkpoint_dir: Path | None = None) -> None:
        """Keep the metrics, too."""
        super().report(metrics, checkpoint_dir)
        self.reports.append(metrics)
        if self.on_report is not None:
            self.on_report(metrics)

    def progress(self, progress: TrainProgress) -> None:
        """Keep what would be shown."""
        self.shown.append(progress)


def train_here(context: LocalContext, job: TrainJob) -> None:
    """Train in this process, in the way that the job's spec says.

    Raises:
        TrainError: the kind lacks what the spec needs, or the model cannot be trained.
    """
    if job.spec.trains_by == "fit":
        fit_model(LocalFit(context.device, context.threads), job)
    elif job.spec.trains_by == "gradients":
        train_alone(context, job)
    else:
        raise TrainError(f"kind: '{job.spec.kind}' trains nothing for this spec.")
