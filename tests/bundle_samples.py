"""Small whole bundles, for everything that tests how bundles are kept, registered and released."""

from __future__ import annotations

from pathlib import Path

from launchyard.bundle.manifest import BundleManifest, write_manifest
from launchyard.data.manifest import DatasetManifest, SourceRecord
from launchyard.evaluation.figures import Series
from launchyard.evaluation.results import Evaluation, GateResult, GradientRecord, Latency, Measure
from launchyard.kinds.text_classification.spec import TextClassification

PRODUCT = "review-sentiment"
BASE_MODEL = SourceRecord(uri="pypi://tiny==1.0/tiny/model", sha256="ab" * 32, size_bytes=84, licence="Apache-2.0")


def make_spec(product: str = PRODUCT) -> TextClassification:
    return TextClassification.model_validate(
        {
            "api": "launchyard/v1",
            "product": product,
            "kind": "text-classification",
            "data": {"source": "rows.csv", "label": {"column": "score", "bins": {"bad?": [None, 0], "好": [0, None]}}},
            "model": {"base": BASE_MODEL.uri},
        }
    )


def make_evaluation(accuracy: float) -> Evaluation:
    measure = Measure(value=accuracy, low=accuracy - 0.02, high=accuracy + 0.02, n=1000)
    return Evaluation(
        metrics={"validation": {"accuracy": measure}, "test": {"accuracy": measure}},
        baseline_name="TF-IDF",
        baseline={"accuracy": measure},
        prior={"accuracy": measure},
        latency=Latency(p50_ms=1, p95_ms=2, p99_ms=3, n=500, threads=1),
        gates=(GateResult(metric="accuracy", rule=">= 0.80", value=accuracy, passed=accuracy >= 0.8),),
    )


def make_dataset(product: str = PRODUCT) -> DatasetManifest:
    return DatasetManifest(
        product=product,
        kind="text-classification",
        fingerprint="f1" * 32,
        split_hash="5a" * 32,
        num_rows={"train": 10, "validation": 5, "test": 5},
        labels=("bad?", "好"),
        sources=(SourceRecord(uri="rows.csv", sha256="cd" * 32, size_bytes=100, licence="CC-BY-4.0"),),
        checks=(),
        profile=(),
    )


def make_training() -> GradientRecord:
    return GradientRecord(
        model_type="bert",
        num_parameters=10,
        num_trained_parameters=10,
        num_steps=2,
        num_samples=20,
        seconds=1.0,
        samples_per_second=20.0,
        precision="fp32",
        workers=1,
        device="cpu",
        best_step=2,
        stopped_early=False,
        validation={"accuracy": 0.9},
        curves=(Series(name="loss", x=(1.0, 2.0), y=(0.7, 0.5)),),
    )


def write_content(folder: Path, *, weights: bytes = b"weights", accuracy: float = 0.9, product: str = PRODUCT) -> None:
    """Write everything of a bundle but its manifest."""
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "model.safetensors").write_bytes(bytes(8) + b"{}" + weights)
    (folder / "model" / "config.json").write_text("{}")
    (folder / "preprocess.json").write_text("{}")
    (folder / "dataset.json").write_text(make_dataset(product).model_dump_json())
    (folder / "evaluation.json").write_text(make_evaluation(accuracy).model_dump_json())
    (folder / "training.json").write_text(make_training().model_dump_json())


def describe_bundle(folder: Path, *, run_id: str = "run-1", product: str = PRODUCT) -> BundleManifest:
    """Write the manifest of the content in ``folder``."""
    return write_manifest(
        folder,
        make_spec(product),
        namespace="default",
        run_id=run_id,
        code_version="0.1.0+abc",
        base_model=BASE_MODEL,
    )


def write_bundle(folder: Path, *, weights: bytes = b"weights", accuracy: float = 0.9, product: str = PRODUCT) -> Path:
    """Write a whole bundle to ``folder`` and return it."""
    write_content(folder, weights=weights, accuracy=accuracy, product=product)
    describe_bundle(folder, product=product)
    return folder
