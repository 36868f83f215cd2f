"""A small classification for tests of the training loop, and what a data-parallel worker does with it."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import cross_entropy

from launchyard.spec.blocks import GradientTrain
from launchyard.testing import LocalContext
from launchyard.training.loop import TrainingLoop

NUM_ROWS = 101
CLASS_WEIGHTS = np.array([0.5, 1.0, 4.0])


class TinyTask:
    """Three classes of points, with weights, dropout and rows of different length."""

    metric = "accuracy"
    loss_metric = "loss"

    def __init__(self, *, dropout: float = 0.0) -> None:
        """Make the same rows and weights each time."""
        self.num_passes = 0
        torch.manual_seed(3)
        self.model = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Dropout(dropout), nn.Linear(16, 3))
        generator = np.random.default_rng(0)
        self.x = torch.from_numpy(generator.normal(size=(NUM_ROWS, 4)).astype(np.float32))
        self.y = torch.from_numpy(generator.integers(0, 3, NUM_ROWS))
        # Long and unlike enough that batches are computed in parts.
        self.train_lengths_R = generator.integers(1, 300, NUM_ROWS)
        self.validation_lengths_V = self.train_lengths_R
        self.weights_R = CLASS_WEIGHTS[self.y.numpy()]

    def compute_loss(self, model: nn.Module, rows_B: NDArray[np.intp]) -> torch.Tensor:
        """Return the weighted sum of the rows' cross entropy."""
        self.num_passes += 1
        weights_C = torch.from_numpy(CLASS_WEIGHTS).float()
        return cross_entropy(model(self.x[rows_B]), self.y[rows_B], weights_C, reduction="sum")

    def answer(self, rows_B: NDArray[np.intp]) -> torch.Tensor:
        """Return logits and the row's number, by which a test sees that rows were put back in order."""
        logits_BC = self.model(self.x[rows_B])
        return torch.cat([logits_BC, torch.from_numpy(rows_B).float()[:, None]], dim=1)

    def measure(self, answers_VK: NDArray[np.float32]) -> dict[str, float]:
        """Return accuracy and loss, and whether the answers are in the order of the rows."""
        logits_VC = torch.from_numpy(answers_VK[:, :3])
        return {
            "accuracy": float((logits_VC.argmax(dim=1) == self.y).float().mean()),
            "loss": float(cross_entropy(logits_VC, self.y)),
            "ordered": float((answers_VK[:, 3] == np.arange(NUM_ROWS)).all()),
        }


def train_worker(folder: Path, rank: int, world_size: int, train: GradientTrain) -> TrainingLoop:
    """GradientTrain in this process as one of ``world_size`` workers that meet in ``folder``."""
    if world_size > 1:
        dist.init_process_group(
            "gloo",
            init_method=f"file://{folder / 'meeting'}",
            rank=rank,
            world_size=world_size,
            timeout=timedelta(seconds=60),
        )
    scratch = folder / f"rank-{rank}-of-{world_size}"
    scratch.mkdir()
    loop = TrainingLoop(LocalContext(scratch, rank=rank, world_size=world_size), train, TinyTask())
    loop.run(scratch / "events")
    return loop


if __name__ == "__main__":
    folder, rank, world_size = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    loop = train_worker(folder, rank, world_size, GradientTrain.model_validate_json(sys.argv[4]))
    assert isinstance(loop.task, TinyTask)
    torch.save(
        {
            "weights": loop.task.model.state_dict(),
            "metrics": loop.history.best_metrics,
            "losses": loop.history.losses,
            "num_passes": loop.task.num_passes,
        },
        folder / f"result-{rank}.pt",
    )
    dist.destroy_process_group()
