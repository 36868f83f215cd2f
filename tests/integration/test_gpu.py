"""Training on a GPU: bf16 learns, what it leaves serves on a CPU, and it ends where a CPU ends.

The same tests run on the CPU everywhere, so that they are right when a GPU comes along.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from launchyard.bundle.self_test import find_difference
from launchyard.contract.predictor import Device
from launchyard.data.manifest import read_split
from launchyard.errors import BundleError
from launchyard.evaluation.results import GradientRecord
from launchyard.evaluation.run import EvaluateJob, evaluate_candidate
from launchyard.kinds import get_kind
from launchyard.kinds.text_classification.train import train_text_classifier
from launchyard.spec.blocks import Resource
from launchyard.testing import LocalContext
from launchyard.text.runtimes import TorchRuntime
from launchyard.training.context import TrainJob
from launchyard_pipelines.ray_train.fit import fit
from text_bases import write_bert
from tiny_candidate import make_spec

pytestmark = pytest.mark.integration

DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=[
            pytest.mark.gpu,
            pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device"),
        ],
    ),
]


@pytest.fixture(scope="module")
def base_dir(tmp_path_factory: pytest.TempPathFactory, tiny_dataset: Path) -> Path:
    texts = read_split(tiny_dataset, "train")["text"].to_pylist()
    return write_bert(tmp_path_factory.mktemp("gpu") / "base", texts)


def make_job(folder: Path, dataset_dir: Path, base_dir: Path, **train: Any) -> TrainJob:
    settings = {"batch_size": 64, "learning_rate": 3e-3, "early_stopping": None} | train
    spec = make_spec(train=settings, model={"base": "base", "max_length": 32, "dropout": 0.0})
    return TrainJob(spec=spec, dataset_dir=dataset_dir, base_dir=base_dir, output_dir=folder / "candidate")


def train_here(folder: Path, job: TrainJob, device: str) -> GradientRecord:
    folder.mkdir(exist_ok=True)
    train_text_classifier(LocalContext(folder, device=device), job)
    return GradientRecord.model_validate_json((job.output_dir / "training.json").read_text(encoding="utf-8"))


def read_losses(record: GradientRecord) -> tuple[float, ...]:
    return next(curve.y for curve in record.curves if curve.name == "train_loss")


@pytest.mark.parametrize("device", DEVICES)
def test_bf16_training_on_ray_leaves_a_candidate_that_scores_the_same_on_the_cpu(
    tmp_path: Path, tiny_dataset: Path, base_dir: Path, device: str
) -> None:
    job = make_job(tmp_path, tiny_dataset, base_dir, epochs=12, precision="bf16")

    record = fit(
        job,
        storage_dir=tmp_path / "storage",
        resources=Resource(cpus=1, gpus=int(device == "cuda")),
        on_progress=lambda _: None,
    )

    assert record.device.startswith(device)
    assert record.precision == "bf16"
    evaluation = evaluate_candidate(
        EvaluateJob(job.spec, tiny_dataset, job.output_dir, tmp_path / "bundle", threads=1, batch_threads=1),
        lambda *_: None,
    )
    served = evaluation.metrics["validation"]["accuracy"].value
    assert served == pytest.approx(record.validation["accuracy"], abs=0.03)
    assert served > 0.7


@pytest.mark.parametrize("device", DEVICES)
def test_fp32_losses_are_those_of_the_cpu_however_a_batch_is_cut(
    tmp_path: Path, tiny_dataset: Path, base_dir: Path, device: str
) -> None:
    # On the CPU a batch of 64 is computed in parts of like length; the slices are too small for that.
    whole = make_job(tmp_path / "whole", tiny_dataset, base_dir, max_steps=10, precision="fp32")
    sliced = make_job(
        tmp_path / "sliced", tiny_dataset, base_dir, max_steps=10, precision="fp32", gradient_accumulation=4
    )

    expected = train_here(tmp_path / "whole", whole, "cpu")
    found = train_here(tmp_path / "sliced", sliced, device)

    assert read_losses(found) == pytest.approx(read_losses(expected), abs=1e-3)


@pytest.mark.parametrize("device", DEVICES)
def test_a_training_that_was_ended_goes_on_where_it_was(
    tmp_path: Path, tiny_dataset: Path, base_dir: Path, device: str
) -> None:
    class ProcessEndedError(Exception):
        """Stands for the end of a process."""

    def end(_metrics: object) -> None:
        raise ProcessEndedError

    whole = make_job(tmp_path / "whole", tiny_dataset, base_dir, epochs=3, precision="bf16")
    ended = make_job(tmp_path / "ended", tiny_dataset, base_dir, epochs=3, precision="bf16")
    expected = train_here(tmp_path / "whole", whole, device)
    (tmp_path / "ended").mkdir(exist_ok=True)
    with pytest.raises(ProcessEndedError):
        train_text_classifier(LocalContext(tmp_path / "ended", device=device, on_report=end), ended)

    resumed = train_here(tmp_path / "ended", ended, device)

    assert (resumed.resumed_from_step, resumed.num_steps) == (5, 15)
    assert read_losses(resumed) == pytest.approx(read_losses(expected), abs=0 if device == "cpu" else 0.02)


@pytest.mark.parametrize("device", DEVICES)
def test_what_is_measured_and_served_on_a_gpu_answers_as_on_a_cpu(
    tmp_path: Path, tiny_dataset: Path, base_dir: Path, device: str
) -> None:
    job = make_job(tmp_path, tiny_dataset, base_dir, epochs=2, precision="fp32")
    train_here(tmp_path / "scratch", job, "cpu")
    gpus = int(device == "cuda")
    measured = EvaluateJob(
        job.spec,
        tiny_dataset,
        job.output_dir,
        tmp_path / "bundle",
        threads=1,
        batch_threads=1,
        gpus=gpus / 2,
        batch_gpus=gpus,
    )

    evaluation = evaluate_candidate(measured, lambda *_: None)

    there, here = (
        get_kind(job.spec.kind).load_predictor(tmp_path / "bundle", found) for found in (measured.device, Device(1))
    )
    rows = [there.parse(text) for text in read_split(tiny_dataset, "test")["text"].to_pylist()[:64]]
    pairs = zip(there.predict(rows), here.predict(rows), strict=True)
    assert [find_difference(dict(one), dict(other), 1e-4) for one, other in pairs] == [None] * len(rows)
    if gpus:
        assert [runtime.name for runtime in evaluation.runtimes] == ["torch"]
        assert torch.cuda.memory_allocated() > 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_without_a_gpu_a_model_that_is_to_compute_on_one_says_so(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"1 GPU asked for, torch .* finds none"):
        TorchRuntime(tmp_path, Device(1, gpus=1))
