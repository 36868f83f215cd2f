"""Training of a recommender that learns by gradients, as one data-parallel worker does it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn

from launchyard.errors import TrainError
from launchyard.kinds.recommendation.architectures import Content, LightGcn, SasRec
from launchyard.kinds.recommendation.predict.scorers import ScorerConfig, save_scorer
from launchyard.kinds.recommendation.train.content import embed_texts, read_texts
from launchyard.kinds.recommendation.train.networks import ContentNetwork, SasRecNetwork
from launchyard.kinds.recommendation.train.pairs import GraphNetwork, PairTask, list_vectors, normalise_graph
from launchyard.kinds.recommendation.train.rows import PreparedRows
from launchyard.kinds.recommendation.train.tasks import SequenceTask
from launchyard.training.context import TrainContext, TrainJob
from launchyard.training.loop import TrainingLoop
from launchyard.training.record import ModelFacts, count_parameters, describe_training, write_record
from launchyard.training.search import find_better
from launchyard.training.task import Task

LOG_FOLDER = "tensorboard"
CONTENT_LENGTH = 50
"""Newest events that a content query is trained on; what is older hardly counts."""

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class _Worker:
    """One worker's part of a training, and the rows that it learns from."""

    context: TrainContext
    job: TrainJob
    rows: PreparedRows


def train_recommender(context: TrainContext, job: TrainJob) -> None:
    """Train the job's model in this worker; rank 0 leaves the candidate in ``job.output_dir``.

    Raises:
        DataError: the prepared data set holds nothing to learn from.
        TrainError: the model does not fit the data or the memory, or it diverged.
    """
    torch.set_num_threads(context.threads)
    worker = _Worker(context, job, PreparedRows.read(job))
    torch.manual_seed(worker.rows.spec.train.seed)
    model = worker.rows.spec.model
    builders: dict[type, Callable[[_Worker, Any], tuple[Task, Callable[[], Arrays]]]] = {
        SasRec: _build_sasrec,
        Content: _build_content,
        LightGcn: _build_lightgcn,
    }
    _learn(worker, *builders[type(model)](worker, model))


def _learn(worker: _Worker, task: Task, collect: Callable[[], Arrays]) -> None:
    """Run the training loop on ``task``; ``collect`` gives the scorer's arrays of the best weights."""
    if not len(task.train_lengths_R):
        raise TrainError("train: no user has two events, so there is no next item to learn. Prepare longer histories.")
    facts = ModelFacts(
        model_type=worker.rows.spec.model.architecture,
        num_parameters=count_parameters(task.model),
        fresh_weights=(),
        warnings=(),
    )
    spec = worker.rows.spec
    loop = TrainingLoop(worker.context, spec.train, task, better=find_better(spec.kind, task.metric))
    loop.run(worker.job.output_dir / LOG_FOLDER)
    if worker.context.rank == 0:
        save_scorer(worker.job.output_dir / "model", ScorerConfig(model=worker.rows.spec.model), collect())
        write_record(worker.job.output_dir, describe_training(loop, facts))


def _build_sasrec(worker: _Worker, model: SasRec) -> tuple[Task, Callable[[], Arrays]]:
    network = SasRecNetwork(len(worker.rows.catalogue.items), model).to(worker.context.device)
    task = _make_sequence_task(worker, network, model.max_length, model.negatives)
    return task, lambda: _list_weights(worker, network)


def _build_content(worker: _Worker, model: Content) -> tuple[Task, Callable[[], Arrays]]:
    texts = read_texts(worker.job.dataset_dir)
    features_IF = embed_texts(texts, worker.job.base_dir, worker.context.device)
    network = ContentNetwork(torch.from_numpy(features_IF), model).to(worker.context.device)
    return (
        _make_sequence_task(worker, network, CONTENT_LENGTH, model.negatives),
        lambda: _list_content(worker, network),
    )


def _build_lightgcn(worker: _Worker, model: LightGcn) -> tuple[Task, Callable[[], Arrays]]:
    graph_MM = normalise_graph(worker.rows.events, len(worker.rows.catalogue.items))
    network = GraphNetwork(graph_MM, len(worker.rows.events.users), model, worker.context.device)
    task = PairTask(
        model=network,
        events=worker.rows.events,
        validation=worker.rows.validation,
        catalogue=worker.rows.catalogue,
        settings=model,
        exclude_seen=worker.rows.exclude_seen,
        device=worker.context.device,
    )
    return task, lambda: list_vectors(network, worker.rows.events, worker.rows.catalogue)


def _make_sequence_task(worker: _Worker, network: nn.Module, max_length: int, negatives: int | None) -> SequenceTask:
    return SequenceTask(
        model=network,
        events=worker.rows.events,
        validation=worker.rows.validation,
        catalogue=worker.rows.catalogue,
        max_length=max_length,
        negatives=negatives,
        exclude_seen=worker.rows.exclude_seen,
        device=worker.context.device,
    )


def _list_weights(worker: _Worker, network: nn.Module) -> Arrays:
    """Return the network's weights by their names, and the popularity that an empty history gets."""
    weights = {name: tensor.detach().float().cpu().numpy() for name, tensor in network.state_dict().items()}
    return weights | {"popularity_I": worker.rows.catalogue.score_popularity()}


@torch.inference_mode()
def _list_content(worker: _Worker, network: ContentNetwork) -> Arrays:
    vectors = {"taken_ID": network.taken(network.features_IF), "wanted_ID": network.wanted(network.features_IF)}
    arrays = {name: tensor.float().cpu().numpy() for name, tensor in vectors.items()}
    return arrays | {"popularity_I": worker.rows.catalogue.score_popularity()}
