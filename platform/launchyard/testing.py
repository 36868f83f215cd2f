"""Stand-ins for the world around the core, for tests of kinds and of the platform."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from launchyard.errors import TrainError
from launchyard.kinds import get_kind
from launchyard.training.context import TrainJob, TrainProgress
from launchyard.training.fit import LocalFit, fit_model


@dataclass
class LocalContext:
    """The surroundings of a training in this very process: a :class:`~launchyard.training.context.TrainContext`.

    Checkpoints stay where the training wrote them, below ``scratch_dir``; a second context on the same
    folder resumes from the newest one, as after a crash.
    """

    scratch_dir: Path
    rank: int = 0
    world_size: int = 1
    device: str = "cpu"
    threads: int = 1
    on_report: Callable[[Mapping[str, float]], None] | None = None
    """Called by each report once its checkpoint is safe; may raise, as when a worker dies at that moment."""
    reports: list[Mapping[str, float]] = field(default_factory=list)
    shown: list[TrainProgress] = field(default_factory=list)

    def latest_checkpoint(self) -> Path | None:
        """Return the newest checkpoint that was reported."""
        marker = self.scratch_dir / "latest"
        return Path(marker.read_text(encoding="utf-8")) if marker.is_file() else None

    def report(self, metrics: Mapping[str, float], checkpoint_dir: Path | None = None) -> None:
        """Keep the metrics, and remember the checkpoint as the newest."""
        self.reports.append(metrics)
        if checkpoint_dir is not None:
            (self.scratch_dir / "latest").write_text(str(checkpoint_dir), encoding="utf-8")
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
        return
    train = get_kind(job.spec.kind).load_train_function()
    if job.spec.trains_by is None or train is None:
        raise TrainError(f"kind: '{job.spec.kind}' has no training by gradients for this spec.")
    train(context, job)
