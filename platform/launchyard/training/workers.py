"""What the workers of one training tell each other; with one worker nothing is sent."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from launchyard.training.context import TrainContext
from launchyard.training.task import Answers


def share_model(context: TrainContext, model: nn.Module) -> nn.Module:
    """Return ``model`` so wrapped that a backward pass averages gradients over all workers.

    All workers start from the weights of rank 0.
    """
    if context.world_size == 1:
        return model
    return DistributedDataParallel(model, broadcast_buffers=False, gradient_as_bucket_view=True)


def sum_over_workers(context: TrainContext, values: torch.Tensor) -> torch.Tensor:
    """Return the sum of each worker's ``values``, the same on every worker."""
    if context.world_size > 1:
        dist.all_reduce(values)
    return values


def gather_rows(context: TrainContext, rows: NDArray[np.intp], answers: list[Answers]) -> Any:
    """Return the answers of all workers in the order of the rows they belong to, the same on every worker.

    They come as one array, a row each; or, where a task answers with a tensor for each row, as a list of arrays, since
    these may have any shape. Floating point comes as float32, integers as they are.

    Args:
        context: This worker.
        rows: Row number of each of this worker's answers; each row is at one worker.
        answers: This worker's answers, batch by batch.
    """
    own = [_to_numpy(batch) for batch in answers]
    parts: list[tuple[NDArray[np.intp], list[Any]]] = [(rows, own)] * context.world_size
    if context.world_size > 1:
        dist.all_gather_object(parts, (rows, own))
    order = np.argsort(np.concatenate([part_rows for part_rows, _ in parts]))
    batches = [batch for _, part_answers in parts for batch in part_answers]
    if any(isinstance(batch, list) for batch in batches):
        flat = [answer for batch in batches for answer in batch]
        return [flat[place] for place in order]
    return np.concatenate(batches)[order]


def _to_numpy(answers: Answers) -> Any:
    if not isinstance(answers, torch.Tensor):
        return [_to_numpy(answer) for answer in answers]
    return (answers.float() if answers.is_floating_point() else answers).cpu().numpy()
