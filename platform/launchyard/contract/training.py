"""How a kind's models come about: training, and the files that it leaves for serving.

A model learns by gradient descent (:class:`TrainFunction`, in each data-parallel worker, as a rule with the shared
loop), by one computation (:class:`FitFunction`, in one process), or not at all: then the export makes the bundle from
the base model and the prepared rows. ``Product.trains_by`` says which, spec by spec.
"""

from __future__ import annotations

from collections.abc import Mapping
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
    """Everything that turns trained weights, or a base model, into the files that serving loads."""

    spec: Product
    bundle_dir: Path
    """Holds what training left, if anything; the export adds to ``model/`` and may remove from it."""
    dataset_dir: Path
    validation: pa.Table
    """Rows to choose on: the runtime, thresholds, calibration."""
    threads: int
    """CPU threads of one serving replica, for timing."""
    batch_threads: int
    """CPU threads for passes over many rows, where no time is taken."""
    base_dir: Path | None = None
    """The base model, already fetched; None for a model that starts from nothing."""
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
    """The step before serving: choose how the model is computed and write what the predictor loads.

    Where nothing is trained it writes everything that the predictor loads: serving has the bundle alone.
    """

    def __call__(self, job: ExportJob) -> tuple[RuntimeCandidate, ...]:
        """Return every way of computing the model that was tried; exactly one is chosen."""
        ...


class TrainFunction(Protocol):
    """Training, called once in each data-parallel worker."""

    def __call__(self, context: TrainContext, job: TrainJob) -> None:
        """Train in this worker; rank 0 leaves the result in ``job.output_dir``."""
        ...


class FitContext(Protocol):
    """The surroundings of a fit, which is alone in its process."""

    device: str
    """Torch device that the spec's ``resources.train`` gives it, such as ``cpu`` or ``cuda:0``."""
    threads: int
    """CPU threads it may compute on."""

    def progress(self, done: float, total: float | None, message: str) -> None:
        """Tell the user how far it is; cheap. ``total`` is None when nobody knows it."""
        ...


@dataclass(frozen=True)
class FitResult:
    """What a kind knows of a model that it fitted; the platform adds time and device, and writes the record."""

    model_type: str
    """What sort of model it is, such as ``gradient-boosting``."""
    num_samples: int
    """Rows that were learned from."""
    validation: Mapping[str, float]
    """The kind's metrics over the validation rows: what a search goes by."""
    num_parameters: int | None = None
    """Numbers that the model holds; None where that says nothing."""
    warnings: tuple[str, ...] = ()


class FitFunction(Protocol):
    """Training by one computation, called once: trees, neighbours, a closed form."""

    def __call__(self, context: FitContext, job: TrainJob) -> FitResult:
        """Fit the job's model on the training rows and leave ``model/`` in ``job.output_dir``.

        Raises:
            TrainError: the model does not fit the rows or the memory; the message says what to do.
        """
        ...
