"""What ``validate`` lets through runs: drawn specs of each kind are prepared, trained for two steps and evaluated.

CI draws the same few specs each time. To look for more, at random:
``SPEC_EXAMPLES=500 pytest tests/unit/test_spec_runs.py``.
"""

from __future__ import annotations

import json
import os
import random
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, assume, given, note, settings
from hypothesis import strategies as st

from launchyard.data.prepare import prepare_dataset
from launchyard.errors import SpecError
from launchyard.evaluation.run import EvaluateJob, evaluate_candidate
from launchyard.settings import Settings
from launchyard.spec.blocks import Choice, Product, TrainedProduct, find_tune
from launchyard.spec.load import load_spec
from launchyard.testing import LocalContext, train_here
from launchyard.training.context import TrainJob
from launchyard.training.search import apply_trial, count_longest_epochs
from tiny_base import write_base
from tiny_candidate import BAD, GOOD, PLAIN
from tiny_interactions import write_sources

NUM_EXAMPLES = int(os.environ.get("SPEC_EXAMPLES", "10"))
"""Drawn specs of each kind."""

run_specs = settings(
    max_examples=NUM_EXAMPLES,
    deadline=None,
    derandomize="SPEC_EXAMPLES" not in os.environ,
    database=None,
    # A failing spec is printed as it is: to shrink it takes many minutes.
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)

Document = dict[str, Any]

SHARED: dict[str, list[Any]] = {
    "train.optimizer": ["adam", "rmsprop", "sgd"],
    "train.momentum": [0.5],
    "train.scheduler": ["constant", "cosine", "exponential"],
    "train.warmup": [0, 0.5, 1, 500],
    "train.gradient_accumulation": [3],
    "train.batch_size": [5, 64],
    "train.length_grouped": [True],
    "train.early_stopping": [None, {"patience": 1, "min_delta": 0.1}],
    "train.evaluations_per_epoch": [2],
    "train.max_grad_norm": [0.1],
    "train.precision": ["auto", "bf16"],
    "train.seed": [0],
    "evaluate.beat_prior": [False],
    "evaluate.beat_baseline": [None],
    "evaluate.confidence": [0.8],
    "serve.max_batch_size": [1],
    "resources.tune": [{"cpus": 1}],
}
TEXT: dict[str, list[Any]] = SHARED | {
    "data.source": [
        {"train": "rows.jsonl", "test": "test.jsonl"},
        {"train": "rows.jsonl", "validation": "validation.jsonl", "test": "test.jsonl"},
        {"classes": {"good": "good.txt", "bad": "bad.txt"}},
    ],
    "data.split.seed": [3],
    "data.split.stratify": [False],
    "data.split.group": ["shop"],
    "data.split.time": ["at"],
    "data.split.test": [0.2],
    "data.label.map": [{"good": "up", "bad": "down"}],
    "data.label.column": ["sentiment"],
    "data.redact": [["email", "phone"]],
    "data.language": ["zh"],
    "data.checks.near_duplicates": ["fail", "allow"],
    "model.max_length": [4, 16],
    "model.truncation": ["tail", "head+tail"],
    "model.dropout": [0.3],
    "model.lora": [{"rank": 2}],
    "train.label_smoothing": [0.1],
    "train.learning_rate": [1e-5, 0.5],
    "train.class_weights": ["balanced", {"good": 2.0}, {"good": 0.0}],
    "evaluate.slices": [["shop"], ["shop", "shop"], ["label"], ["at"]],
    "evaluate.abstain": [None, {"accuracy": 0.9}, {"accuracy": 0.9, "coverage": 0.5}],
    "tune": [
        {"trials": 2, "parameters": {"train.epochs": {"values": [1, 4]}, "model.dropout": {"min": 0, "max": 0.5}}},
        {"trials": 2, "parameters": {"model.base": {"values": ["base", "other"]}}},
    ],
}
FILMS = {
    "source": "items.csv",
    "id": "what",
    "title": "name",
    "categories": "kinds",
    "separator": "|",
    "time": "year",
    "price": "price",
}
EVENTS: dict[str, list[Any]] = SHARED | {
    "data.interactions.event": ["did"],
    "data.interactions.weight": ["stars"],
    "data.interactions.context": [["device"]],
    "data.items": [FILMS, FILMS | {"categories": None}, {"source": "items.csv", "id": "what"}],
    "data.users": [{"source": "users.csv", "id": "who", "attributes": ["country"]}],
    "data.min_interactions": [{"user": 2, "item": 2}],
    "data.max_history": [1, 5],
    "data.split.strategy": ["time"],
    "data.split.test": [0.2],
    "data.split.users": [10],
    "model": [
        {"architecture": "popularity", "half_life_days": 3},
        {"architecture": "item-knn", "neighbours": 5},
        {"architecture": "ease"},
        {"architecture": "content", "dim": 8},
        {"architecture": "content", "dim": 8, "negatives": 3},
        {"architecture": "lightgcn", "dim": 8, "negatives": 2},
        {"architecture": "sasrec", "dim": 8, "heads": 1, "layers": 1, "negatives": 3, "max_length": 2},
    ],
    "evaluate.slices": [["country"], ["device"], ["device", "device"], ["label"]],
    "evaluate.gates": [{"diversity@10": ">= 0"}, {"coverage@10": ">= 0"}],
    "serve.k": [5],
    "serve.max_k": [5, 20],
    "serve.search": ["exact", "approximate"],
    "serve.rules.exclude_seen": [False],
    "serve.rules.max_per_category": [3],
    "serve.rules.freshness_half_life_days": [30],
    "serve.rerank": [None, {"candidates": 20}],
    "resources.train.workers": [2],
    "tune": [
        {"trials": 2, "parameters": {"train.epochs": {"min": 1, "max": 4}}},
        {"trials": 2, "metric": "diversity@10", "parameters": {"train.learning_rate": {"min": 1e-4, "max": 1e-3}}},
    ],
}


def draw_documents(base: Document, choices: dict[str, list[Any]]) -> st.SearchStrategy[Document]:
    """Draw ``base`` with some of its keys changed."""
    changes = [st.sampled_from([(key, value) for value in values]) for key, values in choices.items()]
    return st.lists(st.one_of(changes), max_size=6, unique_by=lambda change: change[0]).map(
        lambda drawn: change_keys(base, drawn)
    )


def change_keys(base: Document, changes: list[tuple[str, Any]]) -> Document:
    """Return ``base`` with the values at dotted keys replaced, outer keys first."""
    document: Document = json.loads(json.dumps(base))
    for key, value in sorted(changes, key=lambda change: change[0].count(".")):
        *path, last = key.split(".")
        block = document
        for part in path:
            block = block.setdefault(part, {})
        block[last] = value
    return document


def run(document: Document, folder: Path) -> None:
    """Do with the spec what a run does, in two steps of training; return at once when ``validate`` refuses it."""
    note(json.dumps(document))
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        spec = find_valid(document, Path(scratch))
        assume(spec is not None)
        assert spec is not None
        for candidate in list_trials(spec):
            train(candidate, folder, Path(scratch))


def find_valid(document: Document, scratch: Path) -> Product | None:
    (scratch / "product.yaml").write_text(json.dumps(document), encoding="utf-8")
    try:
        return load_spec(scratch)
    except SpecError as err:
        # A refusal names each key and what to do.
        assert all(": " in line for line in str(err).splitlines())
        return None


def list_trials(spec: Product) -> list[Product]:
    """Return the spec, or one trial of its search."""
    tune = find_tune(spec)
    if tune is None:
        return [spec]
    assert count_longest_epochs(spec) >= 1
    values = {
        key: found.values[-1] if isinstance(found, Choice) else found.max for key, found in tune.parameters.items()
    }
    # The ends of a range are floats, of a range of whole numbers too.
    whole = {key: int(value) for key, value in values.items() if key == "train.epochs" and isinstance(value, float)}
    return [apply_trial(spec, values | whole)]


def train(spec: Product, folder: Path, scratch: Path) -> None:
    assert isinstance(spec, TrainedProduct)
    short = spec.model_copy(update={"train": spec.train.model_copy(update={"max_steps": 2})})
    prepare_dataset(short, Settings(home=folder / "home"), base_dir=folder, output_dir=scratch / "rows")
    base = spec.model.base_uri
    job = TrainJob(short, scratch / "rows", None if base is None else folder / base, scratch / "candidate")
    (scratch / "context").mkdir()
    train_here(LocalContext(scratch / "context"), job)
    evaluate_candidate(
        EvaluateJob(short, scratch / "rows", job.output_dir, scratch / "bundle", threads=1, batch_threads=1),
        lambda *_: None,
    )


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of rows in all forms that a spec may name, and a base model of two names."""
    folder = tmp_path_factory.mktemp("texts")
    draw = random.Random(1)
    rows = []
    for number in range(90):
        label = ("good", "bad")[number % 2]
        words = [
            *draw.choices(PLAIN[:12], k=9),
            draw.choice(GOOD if label == "good" else BAD),
            chr(97 + number % 26),
            chr(97 + number // 26),
        ]
        rows.append(
            {"text": " ".join(words), "label": label, "sentiment": label, "shop": f"s{number % 30}", "at": number}
        )
    for name, part in (("rows", rows[:60]), ("validation", rows[60:75]), ("test", rows[75:])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part), encoding="utf-8")
    for label in ("good", "bad"):
        lines = [row["text"] for row in rows if row["label"] == label]
        (folder / f"{label}.txt").write_text("\n".join(map(str, lines)) + "\n", encoding="utf-8")
    write_base(folder / "base")
    write_base(folder / "other")
    return folder


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sources(tmp_path_factory.mktemp("events"))


TEXT_BASE: Document = {
    "api": "launchyard/v1",
    "product": "drawn",
    "kind": "text-classification",
    "data": {"source": "rows.jsonl"},
    "model": {"base": "base", "max_length": 32},
    "train": {"batch_size": 16, "learning_rate": 1e-4, "precision": "fp32"},
    "evaluate": {"bootstrap": 100},
    "serve": {"runtime": "torch"},
}
EVENTS_BASE: Document = {
    "api": "launchyard/v1",
    "product": "drawn",
    "kind": "recommendation",
    "data": {
        "source": "events.csv",
        "interactions": {"user": "who", "item": "what", "timestamp": "when"},
    },
    "model": {"architecture": "sasrec", "dim": 8, "heads": 2, "layers": 1, "max_length": 10},
    "evaluate": {"bootstrap": 100},
}


@run_specs
@given(document=draw_documents(TEXT_BASE, TEXT))
def test_a_valid_spec_of_texts_runs(texts: Path, document: Document) -> None:
    run(document, texts)


@run_specs
@given(document=draw_documents(EVENTS_BASE, EVENTS))
def test_a_valid_spec_of_events_runs(events: Path, document: Document) -> None:
    run(document, events)
