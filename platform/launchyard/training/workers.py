"""What the workers of one training tell each other; with one worker nothing is sent."""

from __future__ import annotations

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from launchyard.training.context import TrainContext


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


def gather_rows(
    context: TrainContext, rows: NDArray[np.intp], answers: list[NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Return the answers of all workers in the order of the rows they belong to, the same on every worker.

    Args:
        context: This worker.
        rows: Row number of each of this worker's answers; each row is at one worker.
        answers: This worker's answers, batch by batch.
    """
    parts: list[tuple[NDArray[np.intp], list[NDArray[np.float32]]]] = [(rows, answers)] * context.world_size
    if context.world_size > 1:
        dist.all_gather_object(parts, (rows, answers))
    order = np.argsort(np.concatenate([part_rows for part_rows, _ in parts]))
    return np.concatenate([batch for _, part_answers in parts for batch in part_answers])[order]
