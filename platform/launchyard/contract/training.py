"""How a kind's models come about: training, and the files that it leaves for serving."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from launchyard.contract.predictor import Device

if TYPE_CHECKING:
    import pyarrow as pa

    from launchyard.evaluation.results import RuntimeCandidate
    from launchyard.spec.blocks import Product
    from launchyard.training.context import TrainContext, TrainJob


@dataclass(frozen=True)
class ExportJob:
    """Everything that turns trained weights into the files that serving loads."""

    spec: Product
    bundle_dir: Path
    """Holds what training left; the export adds to ``model/`` and may remove from it."""
    dataset_dir: Path
    validation: pa.Table
    """Rows to choose on: the runtime, thresholds, calibration."""
    threads: int
    """CPU threads of one serving replica, for timing."""
    batch_threads: int
    """CPU threads for passes over many rows, where no time is taken."""
    gpus: float = 0.0
    """GPUs of one serving replica; below 1, its share of one."""
    batch_gpus: int = 0
    """GPUs for passes over many rows."""

    @property
    def device(self) -> Device:
        """What one serving replica computes on."""
        return Device(self.threads, self.gpus)

    @property
    def batch_device(self) -> Device:
        """What computes where no time is taken."""
        return Device(self.batch_threads, self.batch_gpus)


class ExportFunction(Protocol):
    """The end of training: choose how the model is computed and write what the predictor loads."""

    def __call__(self, job: ExportJob) -> tuple[RuntimeCandidate, ...]:
        """Return every way of computing the model that was tried; exactly one is chosen."""
        ...


class TrainFunction(Protocol):
    """Training, called once in each data-parallel worker."""

    def __call__(self, context: TrainContext, job: TrainJob) -> None:
        """Train in this worker; rank 0 leaves the result in ``job.output_dir``."""
        ...
