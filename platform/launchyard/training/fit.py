"""Training by one computation: the kind fits, the platform takes the time and writes the record."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from threadpoolctl import threadpool_limits

from launchyard.contract.training import FitContext
from launchyard.errors import TrainError
from launchyard.evaluation.results import TrainingRecord
from launchyard.kinds import get_kind
from launchyard.training.context import TrainJob
from launchyard.training.record import write_record


@dataclass
class LocalFit:
    """A :class:`~launchyard.contract.training.FitContext` in this very process."""

    device: str
    threads: int
    on_progress: Callable[[float, float | None, str], None] = lambda _done, _total, _message: None

    def progress(self, done: float, total: float | None, message: str) -> None:
        """Pass on how far it is."""
        self.on_progress(done, total, message)


def fit_model(context: FitContext, job: TrainJob) -> TrainingRecord:
    """Fit the job's model in this process and return its record, which is left in ``job.output_dir``, too.

    Raises:
        TrainError: the kind has no fit, or the model does not fit the rows or the memory.
    """
    fit = get_kind(job.spec.kind).load_fit_function()
    if fit is None:
        raise TrainError(f"kind: '{job.spec.kind}' has no fit, though this spec is to be fitted. Give the kind one.")
    started_s = time.perf_counter()
    with threadpool_limits(context.threads):
        result = fit(context, job)
    record = TrainingRecord(
        model_type=result.model_type,
        num_parameters=result.num_parameters,
        num_samples=result.num_samples,
        seconds=time.perf_counter() - started_s,
        device=context.device,
        validation=dict(result.validation),
        warnings=result.warnings,
    )
    write_record(job.output_dir, record)
    return record
