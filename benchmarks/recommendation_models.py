"""Train our recommenders as `recommendation_rectools.py` trains its peer: same rows, same settings, same budget.

    python benchmarks/movielens.py .launchyard/benchmarks/movielens
    python benchmarks/recommendation_models.py .launchyard/benchmarks/movielens OUTPUT --trials 20
    python benchmarks/recommendation_models.py .launchyard/benchmarks/movielens OUTPUT --best --seed 1

Trains in this process with the platform's own loop, keeps the weights of the best validation NDCG@10, and ranks the
test targets among all items that the user has not seen, with the files that serving loads. Trial i of sasrec is trial i
of the peer. `--architecture` takes another model: lightgcn with `--layers 0` is matrix factorisation. Writes what the
peer writes: trials.jsonl, results.jsonl, ranks-SEED.parquet.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rectools_settings import add_line, read_lines, sample_setting

from launchyard.bundle.manifest import find_training
from launchyard.evaluation.results import GradientRecord, TrainingRecord
from launchyard.kinds.recommendation.data.histories import read_catalogue, read_held_out
from launchyard.kinds.recommendation.predict.scorers import load_scorer
from launchyard.kinds.recommendation.spec import Recommendation
from launchyard.settings import set_process_defaults
from launchyard.testing import LocalContext, train_here
from launchyard.training.context import TrainJob

K = 10
MAX_HISTORY = 1000
"""Newest events of a user that are looked at: the default of data.max_history."""
Setting = dict[str, Any]


def make_spec(architecture: str, setting: Setting, options: argparse.Namespace) -> Recommendation:
    """Return the product that a setting stands for."""
    learned = architecture in ("sasrec", "lightgcn")
    chosen = ("learning_rate", "batch_size", "weight_decay", "scheduler")
    train: dict[str, Any] = {
        "epochs": options.epochs,
        "seed": options.seed,
        "early_stopping": {"patience": options.patience},
        **{name: setting[name] for name in chosen if name in setting},
    }
    names = {
        "sasrec": ("dim", "layers", "heads", "max_length", "dropout"),
        "lightgcn": ("dim", "layers", "negatives"),
        "ease": ("l2",),
        "item-knn": ("neighbours", "shrinkage"),
        "popularity": (),
    }[architecture]
    model = {"architecture": architecture} | {name: setting[name] for name in names if name in setting}
    return Recommendation.model_validate(
        {
            "api": "launchyard/v1",
            "product": "benchmark",
            "kind": "recommendation",
            "data": {"source": "unused.csv"},
            "model": model,
            **({"train": train} if learned else {}),
        }
    )


def sample(architecture: str, seed: int, trial: int, heads: int) -> Setting:
    """Return the setting of one trial."""
    if architecture == "sasrec":
        setting = sample_setting(seed, trial, heads)
        return setting | {"max_length": setting["length"]}
    rng = np.random.default_rng([seed, trial])
    if architecture == "ease":
        return {"l2": float(np.exp(rng.uniform(np.log(50), np.log(5000))))}
    return {
        "learning_rate": float(np.exp(rng.uniform(np.log(1e-3), np.log(3e-2)))),
        "dim": int(rng.choice([32, 64, 128])),
        "batch_size": int(rng.choice([1024, 2048, 4096])),
        "weight_decay": float(np.exp(rng.uniform(np.log(1e-6), np.log(1e-2)))),
        "layers": int(rng.choice([1, 2, 3])),
    }


def train(spec: Recommendation, dataset_dir: Path, folder: Path, threads: int) -> TrainingRecord:
    """Train in this process and return the record; the model lies in ``folder/candidate``."""
    job = TrainJob(spec=spec, dataset_dir=dataset_dir, base_dir=None, output_dir=folder / "candidate")
    (folder / "scratch").mkdir()
    train_here(LocalContext(folder / "scratch", threads=threads), job)
    record = find_training(folder / "candidate")
    assert record is not None
    return record


def rank_targets(folder: Path, dataset_dir: Path, threads: int) -> NDArray[np.float64]:
    """Return the rank of each test user's target among the unseen items; NaN where no training event has it."""
    catalogue = read_catalogue(dataset_dir)
    held_out = read_held_out(dataset_dir, "test", catalogue, MAX_HISTORY)
    scores_UI = load_scorer(folder / "candidate" / "model", threads=threads).score(held_out.get_histories())
    ranks_U = np.full(len(scores_UI), np.nan)
    for row, (scores_I, truth) in enumerate(zip(scores_UI, held_out.truth, strict=True)):
        target = int(truth[0])
        if target >= 0 and catalogue.num_events_I[target]:
            seen = held_out.get_history(row).items_L
            score = scores_I[target]
            scores_I[seen] = -np.inf
            ranks_U[row] = 1 + np.count_nonzero(scores_I > score)
    return ranks_U


def measure_ranks(ranks_U: NDArray[np.float64]) -> dict[str, float]:
    """Return NDCG, hit rate and mean reciprocal rank, all at 10, of one target a user."""
    ranks = ranks_U[ranks_U <= K]
    return {
        "ndcg@10": float(np.sum(1 / np.log2(1 + ranks)) / len(ranks_U)),
        "hr@10": len(ranks) / len(ranks_U),
        "mrr@10": float(np.sum(1 / ranks) / len(ranks_U)),
    }


def describe(record: TrainingRecord) -> dict[str, Any]:
    """Return what is recorded about one training; times are those of optimiser steps, as the peer's are."""
    figures = {"validation_ndcg@10": record.validation["ndcg@10"], "wall_s": record.seconds}
    if not isinstance(record, GradientRecord):
        return figures
    train_s = record.num_samples / record.samples_per_second if record.samples_per_second else record.seconds
    curves = {curve.name: curve for curve in record.curves}
    found = curves.get("validation_ndcg@10")
    step_s = train_s / max(record.num_steps, 1)
    return figures | {
        "best_s": step_s * record.best_step,
        "train_s": train_s,
        "steps": record.num_steps,
        "best_step": record.best_step,
        "curve": None if found is None else {"train_s": [step * step_s for step in found.x], "ndcg@10": found.y},
    }


def search(options: argparse.Namespace) -> None:
    """Train every trial that has no line yet and print the best three."""
    path = options.output / "trials.jsonl"
    done = {record["trial"] for record in read_lines(path)}
    for trial in set(range(options.trials)) - done:
        setting = sample(options.architecture, options.seed, trial, options.heads)
        if options.layers is not None:
            setting["layers"] = options.layers
        spec = make_spec(options.architecture, setting, options)
        with tempfile.TemporaryDirectory() as folder:
            record = train(spec, options.dataset, Path(folder), options.threads)
        line = {"trial": trial, "setting": setting, **describe(record)}
        add_line(path, line)
        print(json.dumps({name: value for name, value in line.items() if name != "curve"}), flush=True)
    best = sorted(read_lines(path), key=lambda line: -line["validation_ndcg@10"])[:3]
    print("best:", *(f"{line['validation_ndcg@10']:.4f} {line['setting']}" for line in best), sep="\n  ")


def test_once(options: argparse.Namespace) -> None:
    """Train one model, rank the test targets, and record both."""
    setting: Setting = json.loads(options.setting)
    if options.best:
        trials = read_lines((options.of or options.output) / "trials.jsonl")
        setting = max(trials, key=lambda record: record["validation_ndcg@10"])["setting"]
        if "length" in setting:
            setting["max_length"] = setting["length"]
    folder = Path(tempfile.mkdtemp())
    try:
        record = train(make_spec(options.architecture, setting, options), options.dataset, folder, options.threads)
        ranks_U = rank_targets(folder, options.dataset, options.threads)
    finally:
        shutil.rmtree(folder)
    test = pd.read_parquet(options.dataset / "test.parquet", columns=["user", "items"])
    ranks = pd.DataFrame({"user": test["user"], "item": [items[0] for items in test["items"]], "rank": ranks_U})
    ranks.to_parquet(options.output / f"ranks-{options.seed}.parquet", index=False)
    line = {"seed": options.seed, "setting": setting, "test": measure_ranks(ranks_U), **describe(record)}
    add_line(options.output / "results.jsonl", line)
    print(json.dumps({name: value for name, value in line.items() if name != "curve"}))


def main() -> None:
    """Search or test."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, help="a prepared data set")
    parser.add_argument("output", type=Path, help="folder of results, made when absent")
    parser.add_argument("--architecture", default="sasrec")
    parser.add_argument("--setting", default="{}", help="JSON of what differs from the defaults")
    parser.add_argument("--epochs", type=int, default=100, help="at most")
    parser.add_argument("--patience", type=int, default=10, help="epochs without a better one")
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--layers", type=int, help="the same in all trials; lightgcn with 0 is matrix factorisation")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--trials", type=int, default=0, help="search so many settings instead of testing one")
    parser.add_argument("--best", action="store_true", help="take the setting of the best trial in OUTPUT")
    parser.add_argument("--of", type=Path, metavar="FOLDER", help="of the best trial there, such as the peer's")
    options = parser.parse_args()
    set_process_defaults()
    options.output.mkdir(parents=True, exist_ok=True)
    if options.trials:
        search(options)
    else:
        test_once(options)


if __name__ == "__main__":
    main()
