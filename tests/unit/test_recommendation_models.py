"""Every architecture learns a planted pattern, scores alone as in a batch, and says what it cannot do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from launchyard.bundle.manifest import find_training
from launchyard.errors import BundleError, DataError, TrainError
from launchyard.evaluation.results import GradientRecord, TrainingRecord
from launchyard.kinds.recommendation.data.histories import History, read_catalogue, read_held_out
from launchyard.kinds.recommendation.predict.scorers import Scorer, load_scorer
from launchyard.kinds.recommendation.train.closed_form import check_ease_fits
from launchyard.kinds.recommendation.train.fit import measure_scorer
from launchyard.kinds.recommendation.train.train import train_recommender
from launchyard.testing import LocalContext, train_here
from launchyard.training.context import TrainJob
from launchyard.training.fit import LocalFit, fit_model
from recommendation_rows import NUM_ITEMS, make_spec, make_walks, write_walks
from text_bases import write_bert

LEARNED: dict[str, dict[str, Any]] = {
    "sasrec": {"model__dim": 32, "model__max_length": 8, "model__dropout": 0.0},
    "lightgcn": {"model__dim": 16, "train__batch_size": 256},
    "content": {"model__dim": 16},
    "ease": {"model__l2": 1.0},
    "item-knn": {"model__neighbours": 5},
}


@pytest.fixture(scope="module")
def dataset_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_walks(tmp_path_factory.mktemp("walks") / "rows", make_walks())


@pytest.fixture(scope="module")
def candidates(tmp_path_factory: pytest.TempPathFactory, dataset_dir: Path) -> dict[str, Path]:
    """One trained candidate of each architecture."""
    folder = tmp_path_factory.mktemp("candidates")
    settings: dict[str, dict[str, Any]] = {**LEARNED, "popularity": {}}
    return {name: train(folder / name, name, dataset_dir, **values) for name, values in settings.items()}


def train(folder: Path, architecture: str, dataset_dir: Path, **values: Any) -> Path:
    """Train in this process and return the candidate's folder."""
    scratch = folder / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    job = TrainJob(make_spec(architecture, **values), dataset_dir, None, folder / "candidate")
    train_here(LocalContext(scratch), job)
    return job.output_dir


def read_record(candidate: Path) -> TrainingRecord:
    record = find_training(candidate)
    assert record is not None
    return record


def load(candidate: Path) -> Scorer:
    return load_scorer(candidate / "model", threads=1)


def measure(candidate: Path, dataset_dir: Path, split: str = "test") -> dict[str, float]:
    catalogue = read_catalogue(dataset_dir)
    held_out = read_held_out(dataset_dir, "test" if split == "test" else "validation", catalogue, 1000)
    return measure_scorer(load(candidate), held_out, catalogue, exclude_seen=True)


def make_history(items: list[int], *, user: str | None = None) -> History:
    size = len(items)
    return History(np.array(items, np.int32), np.arange(size, dtype=float), np.ones(size, np.float32), 99.0, user)


@pytest.mark.parametrize("architecture", LEARNED)
def test_a_model_finds_what_popularity_cannot(
    candidates: dict[str, Path], dataset_dir: Path, architecture: str
) -> None:
    baseline = measure(candidates["popularity"], dataset_dir)

    metrics = measure(candidates[architecture], dataset_dir)

    assert metrics["ndcg@10"] > baseline["ndcg@10"] + 0.2


def test_the_transformer_learns_the_order_and_not_only_the_group(
    candidates: dict[str, Path], dataset_dir: Path
) -> None:
    assert measure(candidates["sasrec"], dataset_dir)["mrr@10"] > 0.9


@pytest.mark.parametrize("architecture", [*LEARNED, "popularity"])
def test_the_written_files_score_as_training_recorded(
    candidates: dict[str, Path], dataset_dir: Path, architecture: str
) -> None:
    recorded = read_record(candidates[architecture]).validation

    served = measure(candidates[architecture], dataset_dir, "validation")

    for name in ("ndcg@10", "recall@20", "coverage@10"):
        assert served[name] == pytest.approx(recorded[name], abs=1e-6)


@pytest.mark.parametrize("architecture", [*LEARNED, "popularity"])
def test_a_history_scores_alone_as_beside_others(candidates: dict[str, Path], architecture: str) -> None:
    scorer = load(candidates[architecture])
    histories = [
        make_history([3, 4, 5], user=f"{3:032x}"),
        make_history(list(range(30))),
        make_history([]),
        make_history([7]),
    ]

    together_BI = scorer.score(histories)

    alone_BI = np.concatenate([scorer.score([history]) for history in histories])
    np.testing.assert_allclose(together_BI, alone_BI, atol=1e-5)


@pytest.mark.parametrize("architecture", [*LEARNED, "popularity"])
def test_without_a_history_popular_items_come_first(
    candidates: dict[str, Path], dataset_dir: Path, architecture: str
) -> None:
    num_events_I = read_catalogue(dataset_dir).num_events_I

    scores_I = load(candidates[architecture]).score([make_history([])])[0]

    assert scores_I.shape == (NUM_ITEMS,)
    assert np.array_equal(np.argsort(-scores_I, kind="stable"), np.argsort(-num_events_I, kind="stable"))


@pytest.mark.parametrize("architecture", ["sasrec", "lightgcn", "content"])
def test_scores_are_inner_products_of_queries_and_item_vectors(candidates: dict[str, Path], architecture: str) -> None:
    scorer = load(candidates[architecture])
    histories = [make_history([3, 4]), make_history([])]

    queries_BD = scorer.compute_queries(histories)

    assert scorer.item_vectors_ID is not None
    np.testing.assert_allclose(queries_BD @ scorer.item_vectors_ID.T, scorer.score(histories), atol=1e-5)


@pytest.mark.parametrize("architecture", ["sasrec", "lightgcn", "content", "ease", "item-knn"])
def test_one_more_event_changes_the_answer(candidates: dict[str, Path], architecture: str) -> None:
    scorer = load(candidates[architecture])
    user = f"{3:032x}"

    before_I, after_I = scorer.score([make_history([3, 4], user=user), make_history([3, 4, 25], user=user)])

    assert np.abs(before_I - after_I).max() > 1e-3


def test_a_users_own_vector_counts_in_the_graph(candidates: dict[str, Path]) -> None:
    scorer = load(candidates["lightgcn"])

    known_I, stranger_I = scorer.score([make_history([3, 4], user=f"{0:032x}"), make_history([3, 4], user="0" * 3)])

    assert np.abs(known_I - stranger_I).max() > 1e-3


def test_factorisation_without_layers_places_strangers_among_their_items(tmp_path: Path, dataset_dir: Path) -> None:
    settings = {"train__epochs": 30, "train__batch_size": 64, "train__learning_rate": 3e-2}
    candidate = train(tmp_path, "lightgcn", dataset_dir, model__layers=0, model__dim=16, **settings)

    scores_I = load(candidate).score([make_history([0, 1, 2, 3], user="nobody")])[0]

    assert measure(candidate, dataset_dir)["ndcg@10"] > 0.3
    assert set(np.argsort(-scores_I)[:5].tolist()) <= set(range(10))


def test_sampled_softmax_learns_the_pattern_too(tmp_path: Path, dataset_dir: Path) -> None:
    settings = {**LEARNED["sasrec"], "model__negatives": 8, "train__epochs": 60}

    candidate = train(tmp_path, "sasrec", dataset_dir, **settings)

    assert measure(candidate, dataset_dir)["mrr@10"] > 0.8


@pytest.mark.parametrize("architecture", ["sasrec", "lightgcn"])
def test_a_resumed_training_equals_an_uninterrupted_one(tmp_path: Path, dataset_dir: Path, architecture: str) -> None:
    settings = {**LEARNED[architecture], "train__epochs": 4, "train__early_stopping": None}
    if architecture == "sasrec":
        settings |= {"model__dropout": 0.2, "model__negatives": 8}
    uninterrupted = train(tmp_path / "whole", architecture, dataset_dir, **settings)
    interrupted = LocalContext(tmp_path / "scratch")
    interrupted.scratch_dir.mkdir()
    job = TrainJob(make_spec(architecture, **settings), dataset_dir, None, tmp_path / "candidate")

    def die(metrics: object) -> None:
        if len(interrupted.reports) == 2:
            raise KeyboardInterrupt

    interrupted.on_report = die
    with pytest.raises(KeyboardInterrupt):
        train_recommender(interrupted, job)
    train_recommender(LocalContext(interrupted.scratch_dir), job)

    histories = [make_history([3, 4, 5], user=f"{3:032x}")]
    record = read_record(job.output_dir)
    assert isinstance(record, GradientRecord)
    assert record.resumed_from_step
    np.testing.assert_array_equal(load(job.output_dir).score(histories), load(uninterrupted).score(histories))


def test_a_closed_form_is_fitted_and_recorded_without_steps(tmp_path: Path, dataset_dir: Path) -> None:
    job = TrainJob(make_spec("ease", model__l2=1.0), dataset_dir, None, tmp_path / "candidate")
    told: list[tuple[float, float | None, str]] = []

    record = fit_model(LocalFit("cpu", 1, lambda *values: told.append(values)), job)

    document = json.loads((job.output_dir / "training.json").read_text(encoding="utf-8"))
    assert record == read_record(job.output_dir)
    assert (record.model_type, record.device, record.validation["ndcg@10"] > 0) == ("ease", "cpu", True)
    assert document.keys() & {"num_steps", "samples_per_second", "precision", "workers", "curves"} == set()
    assert [done for done, _, _ in told] == [0, 1, 2]


def test_old_events_lose_against_new_ones_with_a_half_life(tmp_path: Path) -> None:
    old, new, rest = 0, 1, [2, 3]
    rows = write_walks(tmp_path / "rows", [[old, old, old, new, new, *rest]], num_items=4)
    day = 86_400.0
    table = pq.read_table(rows / "train.parquet")
    days = pa.array(table["timestamp"].to_numpy() * day)
    pq.write_table(table.set_column(2, "timestamp", days), rows / "train.parquet")

    all_time = load(train(tmp_path / "all", "popularity", rows)).score([make_history([])])[0]
    recent = load(train(tmp_path / "recent", "popularity", rows, model__half_life_days=1.0)).score([make_history([])])[
        0
    ]

    assert all_time[old] > all_time[new]
    # Halved per day before the newest event: 1/16 + 1/8 + 1/4 against 1/2 + 1.
    assert np.expm1(recent[[old, new]]) == pytest.approx([7 / 16, 3 / 2], rel=1e-5)


def test_ease_solves_the_constrained_regression(candidates: dict[str, Path], dataset_dir: Path) -> None:
    events = pq.read_table(dataset_dir / "train.parquet")
    users = np.unique(events["user"].to_numpy(), return_inverse=True)[1]
    items = np.array([int(item[1:]) for item in events["item"].to_pylist()])
    taken_UI = np.zeros((users.max() + 1, NUM_ITEMS))
    taken_UI[users, items] = 1.0

    weights_II = np.stack([load(candidates["ease"]).score([make_history([item])])[0] for item in range(NUM_ITEMS)])

    # At the optimum the gradient of |X - XB|^2 + l2 |B|^2 is 0 off the diagonal, where B is fixed at 0.
    gradient_II = taken_UI.T @ (taken_UI @ weights_II - taken_UI) + 1.0 * weights_II
    assert np.abs(weights_II.diagonal()).max() == 0
    assert np.abs(gradient_II - np.diag(gradient_II.diagonal())).max() < 1e-3


def test_ease_refuses_a_catalogue_that_does_not_fit_and_says_what_does() -> None:
    with pytest.raises(TrainError, match=r"1200\.0 GB for 316228 items.*16\.0 GB.*item-knn"):
        check_ease_fits(316_228, memory_bytes=16 * 10**9)


def test_heads_that_do_not_divide_the_dimension_are_refused() -> None:
    with pytest.raises(ValidationError, match="heads must divide dim, got 3 heads and dim 64"):
        make_spec("sasrec", model__heads=3)


def test_a_key_of_another_architecture_is_refused() -> None:
    with pytest.raises(ValidationError, match="l2"):
        make_spec("sasrec", model__l2=3)


def test_content_without_any_text_is_refused(tmp_path: Path) -> None:
    rows = write_walks(tmp_path / "rows", make_walks())
    table = pq.read_table(rows / "items.parquet")
    for name in ("title", "text", "categories"):
        column = table.column_names.index(name)
        table = table.set_column(column, name, pa.nulls(table.num_rows, table.schema.field(name).type))
    pq.write_table(table, rows / "items.parquet")

    with pytest.raises(TrainError, match="no item has a title, text or category"):
        train(tmp_path, "content", rows)


def test_an_item_that_nobody_took_is_found_by_its_text(tmp_path: Path) -> None:
    walks = [[item for item in walk if item != 7] for walk in make_walks()]
    rows = write_walks(tmp_path / "rows", walks)

    scores_I = load(train(tmp_path, "content", rows, model__dim=16)).score([make_history([3, 4, 5])])[0]

    # Item 7 is of the first colour, as 0 to 9 are.
    assert 7 in np.argsort(-scores_I)[:10]


def test_a_sentence_encoder_can_read_the_items(tmp_path: Path, dataset_dir: Path) -> None:
    titles = pq.read_table(dataset_dir / "items.parquet")["title"].to_pylist()
    base_dir = write_bert(tmp_path, titles)
    job = TrainJob(make_spec("content", model__dim=16), dataset_dir, base_dir, tmp_path / "candidate")

    train_recommender(LocalContext(tmp_path), job)

    assert measure(job.output_dir, dataset_dir)["ndcg@10"] > 0.3


def test_a_folder_without_an_encoder_is_refused(tmp_path: Path, dataset_dir: Path) -> None:
    job = TrainJob(make_spec("content"), dataset_dir, tmp_path, tmp_path / "candidate")

    with pytest.raises(TrainError, match=r"model\.base: .*no sentence encoder"):
        train_recommender(LocalContext(tmp_path), job)


def test_users_with_one_event_each_leave_nothing_to_learn(tmp_path: Path) -> None:
    rows = write_walks(tmp_path / "rows", [[1, 2, 3]] * 20)

    with pytest.raises(TrainError, match="no user has two events"):
        train(tmp_path, "sasrec", rows)


def test_an_empty_catalogue_is_refused(tmp_path: Path) -> None:
    rows = write_walks(tmp_path / "rows", make_walks())
    pq.write_table(pq.read_table(rows / "items.parquet").slice(0, 0), rows / "items.parquet")

    with pytest.raises(DataError, match="the catalogue is empty"):
        train(tmp_path, "popularity", rows)


def test_a_damaged_model_is_refused(tmp_path: Path, dataset_dir: Path) -> None:
    candidate = train(tmp_path, "popularity", dataset_dir)
    arrays = candidate / "model/scorer.safetensors"
    arrays.write_bytes(arrays.read_bytes()[:10])

    with pytest.raises(BundleError, match="not a complete recommender"):
        load(candidate)


def test_a_model_without_its_arrays_is_refused(tmp_path: Path, dataset_dir: Path) -> None:
    candidate = train(tmp_path, "popularity", dataset_dir)
    config = candidate / "model/scorer.json"
    config.write_text(json.dumps({"model": {"architecture": "sasrec"}}), encoding="utf-8")

    with pytest.raises(BundleError, match="not a complete recommender"):
        load(candidate)
