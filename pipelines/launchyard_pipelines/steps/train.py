"""The train step: a prepared data set becomes a candidate model."""

from __future__ import annotations

import hashlib
import pkgutil
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from launchyard.evaluation.results import TUNE_NAME, GradientRecord, TrainingRecord
from launchyard.settings import Settings, load_settings
from launchyard.sources.resolve import Fetched
from launchyard.spec.blocks import Product, Resource
from launchyard.spec.load import dump_spec
from launchyard.threads import check_gpus, share_threads
from launchyard.training.alone import LocalContext, train_alone
from launchyard.training.context import TrainJob, TrainProgress
from launchyard.training.fit import LocalFit, fit_model
from launchyard.training.search import AnyProduct, apply_best
from launchyard_pipelines.code_version import compute_code_version
from launchyard_pipelines.run_events import StepReport, reported_step
from launchyard_pipelines.steps import STARTED_S
from launchyard_pipelines.steps.reference import Artifact, SpecReference, fetch_base


class Fit(Protocol):
    """How several workers are asked to train: :func:`launchyard_pipelines.ray_train.fit.fit`."""

    def __call__(
        self, job: TrainJob, *, storage_dir: Path, resources: Resource, on_progress: Callable[[TrainProgress], None]
    ) -> GradientRecord:
        """Train and return the record."""
        ...


def train(
    reference: SpecReference, fingerprint: str, dataset: Artifact, search: Artifact | None, candidate: Artifact
) -> None:
    """Train with the spec's (or the search's best) configuration and leave the candidate folder.

    An interrupted training of the same configuration on the same rows and base by the same code is continued.
    """
    settings = load_settings()
    with reported_step("train", settings, started_s=STARTED_S.get()) as report:
        spec = apply_search(reference.load(), search)
        base = fetch_base(spec, settings, report.download)
        job = make_job(spec, dataset, Path(candidate.path), base)
        if spec.trains_by == "fit":
            record: TrainingRecord = fit_here(job, report)
        else:
            storage_dir = find_storage(settings, spec, name_inputs(fingerprint, base), compute_code_version())
            record = train_by_gradients(job, storage_dir, show_steps(report))
            shutil.rmtree(storage_dir, ignore_errors=True)
        if search is not None:
            shutil.copyfile(search.path, Path(candidate.path) / TUNE_NAME)
        report.message = describe_record(record)
        report.data = {"validation": record.validation, "warnings": list(record.warnings)}


def fit_here(job: TrainJob, report: StepReport) -> TrainingRecord:
    """Fit the job's model in this process and return its record.

    Raises:
        TrainError: the GPU is not there, or the model does not fit the rows or the memory.
    """
    device, threads = find_device(job.spec.resources.train)
    return fit_model(LocalFit(device, threads, report.progress), job)


def train_by_gradients(
    job: TrainJob, storage_dir: Path, on_progress: Callable[[TrainProgress], None]
) -> GradientRecord:
    """Train with the spec's workers, one in this process and several under Ray Train, and return the record.

    Called again with the same ``storage_dir`` after it was interrupted, it goes on from the newest checkpoint.

    Raises:
        TrainError: the resources are not there, the job cannot be trained, or its workers keep dying.
    """
    resources = job.spec.resources.train
    if resources.workers == 1:
        device, threads = find_device(resources)
        return train_alone(LocalContext(storage_dir, device, threads, on_progress), job)
    # Slow to import, and one worker needs none of it.
    fit: Fit = pkgutil.resolve_name("launchyard_pipelines.ray_train.fit:fit")
    return fit(job, storage_dir=storage_dir, resources=resources, on_progress=on_progress)


def find_device(resources: Resource) -> tuple[str, int]:
    """Return the torch device and the CPU threads of one worker in this process.

    Raises:
        TrainError: the GPU is not there.
    """
    check_gpus(resources.gpus, count=1, key="resources.train")
    return "cuda:0" if resources.gpus else "cpu", share_threads(resources.cpus, count=1)


def show_steps(report: StepReport) -> Callable[[TrainProgress], None]:
    """Return what tells the user of each optimiser step."""

    def show(progress: TrainProgress) -> None:
        rate = f"loss {progress.loss:.3f}, {progress.samples_per_second:.0f} samples/s"
        report.progress(progress.step, progress.num_steps, rate)

    return show


def describe_record(record: TrainingRecord) -> str:
    """Return how the training went, in a line."""
    if not isinstance(record, GradientRecord):
        return f"{record.model_type} fitted on {record.num_samples:,} rows"
    message = f"{record.num_steps} steps, {record.samples_per_second:.0f} samples/s"
    return message if record.resumed_from_step is None else f"{message}, resumed from step {record.resumed_from_step}"


def apply_search(spec: AnyProduct, search: Artifact | None) -> AnyProduct:
    """Return the spec with the best trial's values in place."""
    return spec if search is None else apply_best(spec, Path(search.path))


def make_job(spec: Product, dataset: Artifact, output_dir: Path, base: Fetched | None) -> TrainJob:
    """Return the training job."""
    base_dir = None if base is None else base.path
    return TrainJob(spec=spec, dataset_dir=Path(dataset.path), base_dir=base_dir, output_dir=output_dir)


def name_inputs(fingerprint: str, *bases: Fetched | None) -> str:
    """Return a text that differs when the rows or the content of a base model do, whatever the base is called."""
    return "\0".join((fingerprint, *(base.record.sha256 for base in bases if base is not None)))


def find_storage(settings: Settings, spec: Product, inputs: str, code_version: str) -> Path:
    """Return the checkpoint folder of this very training: same spec, inputs and code, same folder."""
    key = hashlib.sha256(f"{dump_spec(spec)}\0{inputs}\0{code_version}".encode()).hexdigest()[:16]
    return settings.training_dir(spec.product) / key
