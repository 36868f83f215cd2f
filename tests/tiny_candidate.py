"""A tiny text classifier that is really trained, in a second: for everything that measures, exports or loads models."""

from __future__ import annotations

import hashlib
import math
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from launchyard.bundle.manifest import write_manifest
from launchyard.data.manifest import MANIFEST_NAME, DatasetManifest, SplitName
from launchyard.evaluation.run import EvaluateJob, evaluate_candidate
from launchyard.kinds.text_classification.spec import TextClassification
from launchyard.spec.blocks import Product
from launchyard.testing import LocalContext, train_here
from launchyard.training.context import TrainJob

GOOD = ("warm", "funny", "great", "lovely", "brilliant")
BAD = ("dull", "boring", "awful", "weak", "tedious")
PLAIN = ("the", "film", "story", "acting", "was", "and", "very", "is", "a", "plot", "with", "cast", ",", ".", "!")


def make_spec(**blocks: Any) -> TextClassification:
    """Return a product whose candidate trains in a second; ``blocks`` replace whole blocks of the spec."""
    spec: dict[str, Any] = {
        "api": "launchyard/v1",
        "product": "tiny-reviews",
        "kind": "text-classification",
        "data": {"source": "rows.csv", "max_characters": 2000},
        "model": {"base": "base", "max_length": 32},
        "train": {"epochs": 4, "batch_size": 16, "learning_rate": 3e-3, "precision": "fp32"},
        "evaluate": {"gates": {"accuracy": ">= 0.6"}, "slices": ["country"], "bootstrap": 200},
    }
    return TextClassification.model_validate(spec | blocks)


def write_dataset(folder: Path, *, seed: int = 0) -> Path:
    """Write a prepared data set of sentences whose adjectives decide; one label in ten is wrong."""
    generator = random.Random(seed)
    sizes: dict[SplitName, int] = {"train": 320, "validation": 80, "test": 120}
    folder.mkdir(parents=True)
    counts: dict[SplitName, dict[str, int]] = {}
    for split, size in sizes.items():
        rows = [_make_row(generator, number) for number in range(size)]
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{split}.parquet")
        counts[split] = dict(Counter(row["label"] for row in rows))
    manifest = DatasetManifest(
        product="tiny-reviews",
        kind="text-classification",
        fingerprint=hashlib.sha256(b"rows").hexdigest(),
        split_hash=hashlib.sha256(b"split").hexdigest(),
        num_rows=sizes,
        labels=("negative", "positive"),
        label_counts=counts,
        sources=(),
        checks=(),
        profile=(),
    )
    (folder / MANIFEST_NAME).write_text(manifest.model_dump_json(), encoding="utf-8")
    return folder


def _make_row(generator: random.Random, number: int) -> dict[str, str]:
    positive = number % 2 == 0
    words = generator.choices(PLAIN, k=generator.randint(2, 20))
    words.insert(generator.randrange(len(words)), generator.choice(GOOD if positive else BAD))
    label = positive != (generator.random() < 0.1)
    text = " ".join(words)
    return {
        "text": text,
        "label": "positive" if label else "negative",
        "country": generator.choice(("fr", "de")),
        "row_id": hashlib.sha256(f"{number}{text}".encode()).hexdigest(),
    }


def train_candidate(folder: Path, spec: Product, dataset_dir: Path, write_base: Callable[[Path], Path | None]) -> Path:
    """Train ``spec`` in this process, from the base that ``write_base`` writes; return the candidate folder."""
    job = TrainJob(
        spec=spec, dataset_dir=dataset_dir, base_dir=write_base(folder / "base"), output_dir=folder / "candidate"
    )
    (folder / "scratch").mkdir()
    train_here(LocalContext(folder / "scratch", threads=1), job)
    return job.output_dir


def write_tiny_bundle(folder: Path, dataset_dir: Path, candidate_dir: Path) -> Path:
    """Evaluate the candidate into a released bundle and return its folder."""
    spec = make_spec(serve={"runtime": "onnx"})
    # Every example is explained, however busy the machine is.
    job = EvaluateJob(spec, dataset_dir, candidate_dir, folder, threads=1, batch_threads=1, max_explain_s=math.inf)
    evaluation = evaluate_candidate(job, lambda *_: None)
    assert evaluation.passed, evaluation.gates
    write_manifest(folder, spec, namespace="default", run_id="run-1", code_version="0", base_model=None)
    return folder
