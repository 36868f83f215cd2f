"""Training on a real Ray: what arrives, and what survives the death of workers and drivers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

import train_driver
from launchyard.errors import TrainError
from launchyard.evaluation.results import GradientRecord
from launchyard.kinds.text_classification.train import train_text_classifier
from launchyard.spec.blocks import Resource
from launchyard.testing import LocalContext
from launchyard.threads import check_gpus, share_threads
from launchyard.training.context import TrainJob, TrainProgress
from launchyard_pipelines.local.ray import local_ray
from launchyard_pipelines.ray_train.fit import PROGRESS, fit
from text_bases import write_bert
from tiny_candidate import make_spec, write_dataset
from train_driver import EPOCHS, STEPS_PER_EPOCH, make_job

pytestmark = pytest.mark.integration

ONE_CORE = Resource(cpus=1)


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    with local_ray(num_cpus=2):
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("train")
    write_dataset(folder / "rows")
    texts = pq.read_table(folder / "rows/train.parquet")["text"].to_pylist()
    write_bert(folder / "base", texts)
    return folder


@pytest.fixture(scope="module")
def uninterrupted(folder: Path) -> TrainJob:
    """The same training in this process, by one worker that nobody ends."""
    job = make_job(folder, "uninterrupted")
    (folder / "scratch").mkdir()
    train_text_classifier(LocalContext(folder / "scratch", threads=1), job)
    return job


def read_weights(job: TrainJob) -> dict[str, torch.Tensor]:
    return load_file(job.output_dir / "model/model.safetensors")


def largest_difference(one: TrainJob, other: TrainJob) -> float:
    weights = read_weights(other)
    return max(float((weight - weights[name]).abs().max()) for name, weight in read_weights(one).items())


def find_worker_pids() -> list[int]:
    """Return the training workers of this process's Ray, and of no other on this machine."""
    mark = f"RAY_AUTH_TOKEN={os.environ['RAY_AUTH_TOKEN']}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if b"RayTrainWorker" in (process / "cmdline").read_bytes() and mark in (process / "environ").read_bytes():
                found.append(int(process.name))
        except OSError:
            continue
    return found


def test_a_training_leaves_a_candidate_and_shows_its_progress(folder: Path, uninterrupted: TrainJob) -> None:
    shown: list[TrainProgress] = []
    job = make_job(folder, "one")

    record = fit(job, storage_dir=folder / "one-storage", resources=ONE_CORE, on_progress=shown.append)

    assert largest_difference(job, uninterrupted) == 0
    assert record == GradientRecord.model_validate_json((job.output_dir / "training.json").read_text(encoding="utf-8"))
    assert (record.num_steps, record.workers, record.device) == (EPOCHS * STEPS_PER_EPOCH, 1, "cpu")
    assert shown[-1].step == shown[-1].num_steps == record.num_steps
    assert len(shown) == len({progress.step for progress in shown})
    assert list((folder / "one-storage").glob("run/*")) == []


def test_two_workers_learn_what_one_learns(folder: Path) -> None:
    jobs = {workers: make_job(folder, f"by-{workers}", epochs=2) for workers in (1, 2)}

    records = {
        workers: fit(
            job,
            storage_dir=folder / f"by-{workers}-storage",
            resources=Resource(workers=workers, cpus=1),
            on_progress=print,
        )
        for workers, job in jobs.items()
    }

    assert records[2].workers == 2
    assert records[2].num_samples == records[1].num_samples
    assert records[2].validation == pytest.approx(records[1].validation, abs=1e-4)
    assert largest_difference(jobs[1], jobs[2]) < 1e-4


def test_a_killed_worker_is_replaced_and_goes_on_where_it_was(folder: Path, uninterrupted: TrainJob) -> None:
    killed: list[int] = []

    def kill_once(progress: TrainProgress) -> None:
        if not killed and progress.step > 3 * STEPS_PER_EPOCH:
            killed.append(progress.step)
            for pid in find_worker_pids():
                os.kill(pid, signal.SIGKILL)

    job = make_job(folder, "replaced")

    record = fit(job, storage_dir=folder / "replaced-storage", resources=ONE_CORE, on_progress=kill_once)

    assert killed
    assert record.resumed_from_step is not None
    assert record.resumed_from_step >= killed[0] - 2 * STEPS_PER_EPOCH
    assert largest_difference(job, uninterrupted) == 0


def test_a_killed_driver_is_continued_by_the_next_one(folder: Path, uninterrupted: TrainJob) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment["PYTHONPATH"] = str(Path(train_driver.__file__).parent)
    driver = subprocess.Popen([sys.executable, train_driver.__file__, str(folder)], env=environment)
    state = folder / "storage/progress.json"
    deadline = time.monotonic() + 360
    step = 0
    while step <= 3 * STEPS_PER_EPOCH and time.monotonic() < deadline and driver.poll() is None:
        step = PROGRESS.validate_json(state.read_bytes()).step if state.is_file() else 0
        time.sleep(0.02)
    driver.kill()
    driver.wait()
    job = make_job(folder, "continued")

    record = fit(job, storage_dir=folder / "storage", resources=ONE_CORE, on_progress=lambda _: None)

    assert record.resumed_from_step is not None
    assert record.resumed_from_step >= step - 2 * STEPS_PER_EPOCH
    assert largest_difference(job, uninterrupted) == 0


def test_what_cannot_be_trained_is_refused_once_with_its_own_message(folder: Path) -> None:
    job = make_job(folder, "refused")
    spec = make_spec(train={"learning_rate": 0.5})

    with pytest.raises(TrainError, match=r"train\.learning_rate: 0\.5 would destroy the base model"):
        fit(
            TrainJob(spec, job.dataset_dir, job.base_dir, job.output_dir),
            storage_dir=folder / "refused-storage",
            resources=ONE_CORE,
            on_progress=lambda _: None,
        )

    assert not (folder / "refused-storage").exists()


def test_a_gpu_that_is_not_there_is_refused_before_anything_starts(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)

    check_gpus(1, count=1, key="resources.train")
    with pytest.raises(TrainError, match=r"resources\.train\.gpus: 2 asked for .* 1 found .* Set resources"):
        fit(
            make_job(folder, "gpu"),
            storage_dir=folder / "gpu-storage",
            resources=Resource(gpus=1, workers=2),
            on_progress=lambda _: None,
        )
    assert not (folder / "gpu-storage").exists()


@pytest.mark.parametrize(
    ("workers", "cpus", "threads"), [(1, None, 4), (2, None, 2), (8, None, 1), (1, 3, 3), (2, 9, 2)]
)
def test_workers_share_the_cores(
    monkeypatch: pytest.MonkeyPatch, workers: int, cpus: float | None, threads: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4)))

    assert share_threads(cpus, count=workers) == threads
