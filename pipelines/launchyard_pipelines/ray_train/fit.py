"""Training on Ray Train: workers, what they tell the driver, and how a training survives its processes."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray.train
from pydantic import TypeAdapter
from ray.train import Checkpoint, CheckpointConfig, FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchTrainer, get_device
from ray.train.v2.api.report_config import CheckpointUploadMode

from launchyard import errors
from launchyard.errors import LaunchyardError, TrainError
from launchyard.evaluation.results import TRAINING_NAME, GradientRecord
from launchyard.files.atomic import write_text
from launchyard.files.full_disk import is_disk_full
from launchyard.kinds import get_kind
from launchyard.spec.blocks import Resource
from launchyard.threads import check_gpus, share_threads
from launchyard.training.context import TrainJob, TrainProgress
from launchyard_pipelines.local.ray import is_ray_started_here, local_ray
from launchyard_pipelines.ray_train.trainer import LocalTrainer

RUN_NAME = "run"
"""The same in each attempt, so that a new driver finds the checkpoints of the one before it."""
MAX_FAILURES = 3
"""Workers that may die before a training is given up."""
PROGRESS_INTERVAL_S = 0.25

PROGRESS = TypeAdapter(TrainProgress)


@dataclass(frozen=True)
class Worker:
    """What each worker is started with; picklable."""

    job: TrainJob
    storage_dir: Path
    threads: int

    @property
    def progress_path(self) -> Path:
        """File in which rank 0 says how far it is."""
        return self.storage_dir / "progress.json"

    @property
    def refusal_path(self) -> Path:
        """File in which a worker says why this training cannot succeed."""
        return self.storage_dir / "refusal.json"


class RayContext:
    """A :class:`~launchyard.training.context.TrainContext` inside a Ray Train worker."""

    def __init__(self, worker: Worker) -> None:
        """Read this worker's place from Ray."""
        context = ray.train.get_context()
        self.rank: int = context.get_world_rank()
        self.world_size: int = context.get_world_size()
        self.device = str(get_device())
        self.threads = worker.threads
        self.scratch_dir = worker.storage_dir / RUN_NAME
        self._progress_path = worker.progress_path
        self._next_progress = 0.0

    def latest_checkpoint(self) -> Path | None:
        """Return the newest checkpoint that every rank reported."""
        checkpoint = ray.train.get_checkpoint()
        return None if checkpoint is None else Path(checkpoint.path)

    def report(self, metrics: Mapping[str, float], checkpoint_dir: Path | None = None) -> None:
        """Register metrics and checkpoint with Ray; the folder is in its storage already and is not copied."""
        checkpoint = None if checkpoint_dir is None else Checkpoint.from_directory(checkpoint_dir)
        ray.train.report(dict(metrics), checkpoint, checkpoint_upload_mode=CheckpointUploadMode.NO_UPLOAD)

    def progress(self, progress: TrainProgress) -> None:
        """Leave the newest state where the driver reads it, some times a second and at the end."""
        now = time.monotonic()
        if now >= self._next_progress or progress.step == progress.num_steps:
            self._next_progress = now + PROGRESS_INTERVAL_S
            # Replaced whole, but not synced to disk: after a crash nobody needs it.
            newer = self._progress_path.with_suffix(".new")
            newer.write_bytes(PROGRESS.dump_json(progress))
            newer.replace(self._progress_path)


def fit(
    job: TrainJob, *, storage_dir: Path, resources: Resource, on_progress: Callable[[TrainProgress], None]
) -> GradientRecord:
    """Train on Ray and return the record that rank 0 left in ``job.output_dir``.

    A worker that dies is replaced, and the training goes on from the newest checkpoint. Called again with
    the same ``storage_dir`` after this process died, it goes on from there too.

    Args:
        job: What to train.
        storage_dir: Keeps the newest checkpoint until the training is done.
        resources: Workers, and what each gets.
        on_progress: Called some times a second, from a thread of its own.

    Raises:
        TrainError: the resources are not there, the job cannot be trained, or its workers keep dying.
        TrainingFailedError: the workers met a full disk.
    """
    check_gpus(resources.gpus, count=resources.workers, key="resources.train")
    threads = share_threads(resources.cpus, count=resources.workers)
    # Workers run in a folder of their own.
    job = replace(
        job,
        dataset_dir=job.dataset_dir.resolve(),
        base_dir=None if job.base_dir is None else job.base_dir.resolve(),
        output_dir=job.output_dir.resolve(),
    )
    worker = Worker(job, storage_dir.resolve(), threads)
    worker.storage_dir.mkdir(parents=True, exist_ok=True)
    # Of an attempt before: what was refused then may be mended.
    worker.refusal_path.unlink(missing_ok=True)
    with (
        local_ray(num_cpus=threads * resources.workers, num_gpus=resources.gpus * resources.workers),
        _watch_progress(worker.progress_path, on_progress),
    ):
        _run_trainer(worker, resources)
    # To Ray a refusal is a training that ended well: an error would be tried again.
    _raise_refusal(worker)
    shutil.rmtree(worker.storage_dir / RUN_NAME)
    return GradientRecord.model_validate_json((job.output_dir / TRAINING_NAME).read_text(encoding="utf-8"))


def _run_trainer(worker: Worker, resources: Resource) -> None:
    trainer_class = LocalTrainer if is_ray_started_here() else TorchTrainer
    trainer = trainer_class(
        _train_worker,
        train_loop_config={"worker": worker},
        scaling_config=ScalingConfig(
            num_workers=resources.workers,
            use_gpu=resources.gpus > 0,
            resources_per_worker={"CPU": worker.threads, **({"GPU": resources.gpus} if resources.gpus else {})},
        ),
        run_config=RunConfig(
            name=RUN_NAME,
            storage_path=str(worker.storage_dir),
            failure_config=FailureConfig(max_failures=MAX_FAILURES),
            # The newest checkpoint holds the best weights too.
            checkpoint_config=CheckpointConfig(num_to_keep=1),
        ),
    )
    try:
        trainer.fit()
    except TrainingFailedError as err:
        if is_disk_full(err):
            raise  # What to do about that is the same in every step, so the step says it.
        raise TrainError(f"train: the workers failed {MAX_FAILURES + 1} times, at last with: {err}") from err


def _train_worker(config: Mapping[str, Any]) -> None:
    """Train in this process; what the user can mend is handed to the driver, since Ray would retry it in vain."""
    worker: Worker = config["worker"]
    train = get_kind(worker.job.spec.kind).load_train_function()
    if train is None:
        raise TrainError(f"kind: '{worker.job.spec.kind}' has no training by gradients. Give the kind one.")
    try:
        train(RayContext(worker), worker.job)
    except LaunchyardError as err:
        write_text(worker.refusal_path, json.dumps({"type": type(err).__name__, "message": str(err)}))


def _raise_refusal(worker: Worker) -> None:
    """Raise what a worker refused to train for; its checkpoints are of no use then."""
    if worker.refusal_path.is_file():
        refusal = json.loads(worker.refusal_path.read_text(encoding="utf-8"))
        shutil.rmtree(worker.storage_dir)
        # Every class of errors.py is made of its message alone; one of a kind from elsewhere may be made of anything.
        raise getattr(errors, refusal["type"], errors.TrainError)(refusal["message"])


@contextmanager
def _watch_progress(path: Path, on_progress: Callable[[TrainProgress], None]) -> Iterator[None]:
    """Call ``on_progress`` with each new state of ``path`` while the block runs, and once more at its end."""
    # What an attempt before has left would be shown as this one's.
    path.unlink(missing_ok=True)
    done = threading.Event()
    shown = ""

    def show() -> None:
        nonlocal shown
        text = path.read_text(encoding="utf-8") if path.is_file() else shown
        if text != shown:
            shown = text
            on_progress(PROGRESS.validate_json(text))

    def watch() -> None:
        while not done.wait(PROGRESS_INTERVAL_S):
            show()
        show()

    thread = threading.Thread(target=watch, name="training-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
