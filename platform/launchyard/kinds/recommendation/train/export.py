"""The end of a recommender's training: everything that serving loads beside the trained model.

Re-ranking is fitted here, on the validation users, which chose the model before: its features are those of each
user's own moment, and its gain is measured on users that it was not fitted on. The test users see none of this.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from launchyard.contract.rows import Row
from launchyard.contract.training import ExportJob
from launchyard.evaluation.results import RuntimeCandidate
from launchyard.files.atomic import write_text
from launchyard.kinds.recommendation.data.day_counts import read_day_counts, save_day_counts
from launchyard.kinds.recommendation.data.declared import list_numeric, name_features, read_declared, save_declared
from launchyard.kinds.recommendation.data.prepare import FEATURES_FOLDER, USERS_NAME
from launchyard.kinds.recommendation.predict.item_table import ITEMS_NAME
from launchyard.kinds.recommendation.predict.predict import (
    INDEX_FOLDER,
    RERANK_NAME,
    RecommendationPredictor,
)
from launchyard.kinds.recommendation.predict.request import RecommenderConfig
from launchyard.kinds.recommendation.predict.rerank import FEATURES, Answer, fit_reranker
from launchyard.kinds.recommendation.predict.scorers import load_scorer
from launchyard.kinds.recommendation.spec import ITEM_STATISTICS, Recommendation
from launchyard.kinds.recommendation.train.context import learn_lifts
from launchyard.vector_index import APPROXIMATE_FROM, VectorIndex

MAX_FITTED = 3_000
"""Validation users that re-ranking is fitted on: it has few weights."""
SEED = 7
"""Apart from the training's: which rows choose the re-ranking does not change with it."""


def export_recommender(job: ExportJob) -> tuple[RuntimeCandidate, ...]:
    """Write catalogue, counts, context, search index and re-ranking; return the two ways of ordering, as tried.

    Raises:
        BundleError: the trained model cannot be loaded.
    """
    spec = cast(Recommendation, job.spec)
    folder = job.bundle_dir / "model"
    shutil.copyfile(job.dataset_dir / ITEMS_NAME, folder / ITEMS_NAME)
    items = pq.read_table(folder / ITEMS_NAME, columns=["item"])["item"].to_pylist()
    statistics = pq.read_table(job.dataset_dir / FEATURES_FOLDER / f"{ITEM_STATISTICS}.parquet")
    save_day_counts(read_day_counts(statistics, items), folder)
    sets = [found.describe(name) for name, found in spec.features.sets.items()]
    save_declared(
        [
            read_declared(job.dataset_dir / FEATURES_FOLDER / f"{found.name}.parquet", found, names, items)
            for found, names in list_numeric(sets)
        ],
        folder,
    )
    write_context(spec, job.dataset_dir, folder, items)
    rerank, rules = spec.serve.rerank, spec.serve.rules
    RecommenderConfig(
        k=spec.serve.k,
        max_k=spec.serve.max_k,
        max_history=spec.data.max_history,
        candidates=100 if rerank is None else rerank.candidates,
        exclude_seen=rules.exclude_seen,
        max_per_category=rules.max_per_category,
        freshness_half_life_days=rules.freshness_half_life_days,
    ).save(job.bundle_dir)
    write_index(spec, folder, threads=job.batch_threads)
    return () if rerank is None else choose_order(job, min_gain=rerank.min_gain)


def write_context(spec: Recommendation, dataset_dir: Path, folder: Path, items: list[str]) -> None:
    """Learn from training events what each context and user attribute speaks for."""
    names = spec.data.interactions.context
    train = pq.read_table(dataset_dir / "train.parquet", columns=["user", "item", *names])
    position = {item: place for place, item in enumerate(items)}
    items_N = np.array([position[item] for item in train["item"].to_pylist()], dtype=np.int32)
    columns: dict[str, pa.Array | pa.ChunkedArray] = {name: train[name] for name in names}
    if spec.data.users is not None:
        users = pq.read_table(dataset_dir / USERS_NAME)
        rows = pc.index_in(train["user"], value_set=users["user"].combine_chunks())
        columns |= {name: users[name].take(rows) for name in spec.data.users.attributes}
    learn_lifts(items_N, columns, len(items)).save(folder)


def write_index(spec: Recommendation, folder: Path, *, threads: int) -> None:
    """Write a search index where the spec asks for one, or the catalogue is large enough to need it."""
    scorer = load_scorer(folder, threads=threads)
    if scorer.item_vectors_ID is None or spec.serve.search == "exact":
        return
    if spec.serve.search == "auto" and len(scorer.item_vectors_ID) < APPROXIMATE_FROM:
        return
    (folder / INDEX_FOLDER).mkdir()
    VectorIndex.build(scorer.item_vectors_ID, approximate_from=0, threads=threads).save(folder / INDEX_FOLDER)


def choose_order(job: ExportJob, *, min_gain: float) -> tuple[RuntimeCandidate, ...]:
    """Fit re-ranking, keep it when it gains on users it was not fitted on, and return both ways."""
    predictor = RecommendationPredictor.load(job.bundle_dir, job.batch_device)
    order = np.random.default_rng(SEED).permutation(job.validation.num_rows)[:MAX_FITTED]
    answers = collect_answers(predictor, job.validation.take(pa.array(order)))
    fitted = fit_reranker(answers, names=(*FEATURES, *name_features(predictor.declared)))
    is_kept = fitted.gain > min_gain
    if is_kept:
        write_text(job.bundle_dir / "model" / RERANK_NAME, fitted.model_dump_json(indent=2) + "\n")
    found = f"ndcg@10 {fitted.gain:+.4f} on validation users that it was not fitted on"
    return (
        RuntimeCandidate(name="model order", chosen=not is_kept, reason="" if is_kept else "no re-ranking is better"),
        RuntimeCandidate(
            name="re-ranked with online features",
            chosen=is_kept,
            reason=found if is_kept else f"{found}, asked for more than {min_gain:g}",
        ),
    )


def collect_answers(predictor: RecommendationPredictor, rows: pa.Table) -> list[Answer]:
    """Return the candidates of each row with their features, and which of them the user took."""
    answers: list[Answer] = []
    for start in range(0, rows.num_rows, 256):
        part = rows.slice(start, 256).to_pylist()
        parsed = [predictor.parse(make_input(row)) for row in part]
        taken = [row["items"] for row in part]
        answers += predictor.look_at_candidates(parsed, taken)
    return answers


def make_input(row: dict[str, Any]) -> Row:
    """Return the request that a held-out row stands for."""
    return {name: row[name] for name in ("user", "events", "k", "time", "context") if name in row}
