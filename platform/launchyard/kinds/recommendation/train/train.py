"""Training of a recommender, as one data-parallel worker does it; closed forms are computed by rank 0."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from launchyard.errors import TrainError
from launchyard.evaluation.results import TrainingRecord
from launchyard.files.atomic import write_text
from launchyard.kinds.recommendation.architectures import Content, Ease, ItemKnn, LightGcn, Popularity, SasRec
from launchyard.kinds.recommendation.data.histories import (
    Events,
    HeldOut,
    ItemVocabulary,
    read_catalogue,
    read_events,
    read_held_out,
)
from launchyard.kinds.recommendation.predict.ranking import list_best, measure_lists
from launchyard.kinds.recommendation.predict.scorers import (
    ItemWeights,
    Scorer,
    ScorerConfig,
    list_item_weights,
    load_scorer,
    save_scorer,
)
from launchyard.kinds.recommendation.spec import Recommendation
from launchyard.kinds.recommendation.train.closed_form import find_neighbours, score_popularity, solve_ease
from launchyard.kinds.recommendation.train.content import compute_features, read_texts
from launchyard.kinds.recommendation.train.networks import ContentNetwork, SasRecNetwork
from launchyard.kinds.recommendation.train.pairs import GraphNetwork, PairTask, list_vectors, normalise_graph
from launchyard.kinds.recommendation.train.tasks import SequenceTask
from launchyard.training.context import TrainContext, TrainJob
from launchyard.training.loop import TrainingLoop
from launchyard.training.record import ModelFacts, count_parameters, describe_training
from launchyard.training.task import Task

RECORD_NAME = "training.json"
LOG_FOLDER = "tensorboard"
ROWS_AT_ONCE = 256
"""Validation rows that a closed form answers at once."""
CONTENT_LENGTH = 50
"""Newest events that a content query is trained on; what is older hardly counts."""

Arrays = Mapping[str, NDArray[Any]]


class _Rows:
    """The prepared rows that a recommender learns from and is chosen on."""

    def __init__(self, context: TrainContext, job: TrainJob) -> None:
        self.context = context
        self.job = job
        self.spec = cast(Recommendation, job.spec)
        self.catalogue: ItemVocabulary = read_catalogue(job.dataset_dir)
        self.events: Events = read_events(job.dataset_dir, self.catalogue)
        self.validation: HeldOut = read_held_out(
            job.dataset_dir, "validation", self.catalogue, self.spec.data.max_history
        )

    @property
    def exclude_seen(self) -> bool:
        """Whether lists leave out what a user took."""
        return self.spec.serve.rules.exclude_seen


def train_recommender(context: TrainContext, job: TrainJob) -> None:
    """Train the job's model in this worker; rank 0 leaves the candidate in ``job.output_dir``.

    Raises:
        DataError: the prepared data set holds nothing to learn from.
        TrainError: the model does not fit the data or the memory, or it diverged.
    """
    torch.set_num_threads(context.threads)
    rows = _Rows(context, job)
    torch.manual_seed(rows.spec.train.seed)
    model = rows.spec.model
    if isinstance(model, SasRec | Content | LightGcn):
        builders: dict[type, Callable[[_Rows, Any], tuple[Task, Callable[[], Arrays]]]] = {
            SasRec: _build_sasrec,
            Content: _build_content,
            LightGcn: _build_lightgcn,
        }
        _learn(rows, *builders[type(model)](rows, model))
    else:
        _compute(rows, model)


def _learn(rows: _Rows, task: Task, collect: Callable[[], Arrays]) -> None:
    """Run the training loop on ``task``; ``collect`` gives the scorer's arrays of the best weights."""
    if not len(task.train_lengths_R):
        raise TrainError("train: no user has two events, so there is no next item to learn. Prepare longer histories.")
    facts = ModelFacts(
        model_type=rows.spec.model.architecture,
        num_parameters=count_parameters(task.model),
        fresh_weights=(),
        warnings=(),
    )
    loop = TrainingLoop(rows.context, rows.spec.train, task)
    loop.run(rows.job.output_dir / LOG_FOLDER)
    if rows.context.rank == 0:
        save_scorer(rows.job.output_dir / "model", ScorerConfig(model=rows.spec.model), collect())
        _write_record(rows, describe_training(loop, facts))


def _build_sasrec(rows: _Rows, model: SasRec) -> tuple[Task, Callable[[], Arrays]]:
    network = SasRecNetwork(len(rows.catalogue.items), model).to(rows.context.device)
    return _make_sequence_task(rows, network, model.max_length, model.negatives), lambda: _list_weights(rows, network)


def _build_content(rows: _Rows, model: Content) -> tuple[Task, Callable[[], Arrays]]:
    texts = read_texts(rows.job.dataset_dir)
    features_IF = compute_features(texts, rows.job.base_dir, rows.context.device)
    network = ContentNetwork(torch.from_numpy(features_IF), model).to(rows.context.device)
    return (
        _make_sequence_task(rows, network, CONTENT_LENGTH, model.negatives),
        lambda: _list_content(rows, network),
    )


def _build_lightgcn(rows: _Rows, model: LightGcn) -> tuple[Task, Callable[[], Arrays]]:
    graph_MM = normalise_graph(rows.events, len(rows.catalogue.items))
    network = GraphNetwork(graph_MM, len(rows.events.users), model, rows.context.device)
    task = PairTask(
        model=network,
        events=rows.events,
        validation=rows.validation,
        catalogue=rows.catalogue,
        settings=model,
        exclude_seen=rows.exclude_seen,
        device=rows.context.device,
    )
    return task, lambda: list_vectors(network, rows.events, rows.catalogue)


def _make_sequence_task(rows: _Rows, network: nn.Module, max_length: int, negatives: int | None) -> SequenceTask:
    return SequenceTask(
        model=network,
        events=rows.events,
        validation=rows.validation,
        catalogue=rows.catalogue,
        max_length=max_length,
        negatives=negatives,
        exclude_seen=rows.exclude_seen,
        device=rows.context.device,
    )


def _list_weights(rows: _Rows, network: nn.Module) -> Arrays:
    """Return the network's weights by their names, and the popularity that an empty history gets."""
    weights = {name: tensor.detach().float().cpu().numpy() for name, tensor in network.state_dict().items()}
    return weights | {"popularity_I": rows.catalogue.score_popularity()}


@torch.inference_mode()
def _list_content(rows: _Rows, network: ContentNetwork) -> Arrays:
    vectors = {"taken_ID": network.taken(network.features_IF), "wanted_ID": network.wanted(network.features_IF)}
    arrays = {name: tensor.float().cpu().numpy() for name, tensor in vectors.items()}
    return arrays | {"popularity_I": rows.catalogue.score_popularity()}


def _compute(rows: _Rows, model: Popularity | ItemKnn | Ease) -> None:
    """Compute a closed form on rank 0; its validation metrics are reported once, by all ranks."""
    metrics: dict[str, float] = {}
    if rows.context.rank == 0:
        started = time.perf_counter()
        arrays = _compute_arrays(rows, model)
        seconds = time.perf_counter() - started
        save_scorer(rows.job.output_dir / "model", ScorerConfig(model=model), arrays)
        scorer = load_scorer(rows.job.output_dir / "model", threads=rows.context.threads)
        metrics = measure_scorer(scorer, rows.validation, rows.catalogue, exclude_seen=rows.exclude_seen)
        _write_record(rows, _describe_computation(rows, arrays, metrics, seconds))
    rows.context.report({**metrics, "step": 1, "best_step": 1})


def _compute_arrays(rows: _Rows, model: Popularity | ItemKnn | Ease) -> Arrays:
    if isinstance(model, Popularity):
        return {"popularity_I": score_popularity(model, rows.events, rows.catalogue)}
    solved: ItemWeights = (
        solve_ease(model, rows.events, rows.catalogue)
        if isinstance(model, Ease)
        else find_neighbours(model, rows.events, rows.catalogue)
    )
    return list_item_weights(solved) | {"popularity_I": rows.catalogue.score_popularity()}


def measure_scorer(
    scorer: Scorer, held_out: HeldOut, catalogue: ItemVocabulary, *, exclude_seen: bool
) -> dict[str, float]:
    """Return a scorer's ranking metrics on held-out rows."""
    lists = []
    for start in range(0, len(held_out.truth), ROWS_AT_ONCE):
        part = np.arange(start, min(start + ROWS_AT_ONCE, len(held_out.truth)))
        lists.append(list_best(scorer.score(held_out.get_histories(part)), held_out, part, exclude_seen=exclude_seen))
    return measure_lists(np.concatenate(lists), held_out, catalogue)


def _describe_computation(rows: _Rows, arrays: Arrays, metrics: Mapping[str, float], seconds: float) -> TrainingRecord:
    """Return the record of a closed form: one step over all events, without a curve."""
    num_parameters = sum(array.size for array in arrays.values())
    num_events = len(rows.events.items_E)
    return TrainingRecord(
        model_type=rows.spec.model.architecture,
        num_parameters=num_parameters,
        num_trained_parameters=num_parameters,
        num_steps=1,
        num_samples=num_events,
        seconds=seconds,
        samples_per_second=num_events / seconds,
        precision="fp64",
        workers=1,
        device="cpu",
        best_step=1,
        stopped_early=False,
        validation=dict(metrics),
        curves=(),
    )


def _write_record(rows: _Rows, record: TrainingRecord) -> None:
    # Last: where the record is, everything else is too.
    write_text(rows.job.output_dir / RECORD_NAME, record.model_dump_json(indent=2) + "\n")
