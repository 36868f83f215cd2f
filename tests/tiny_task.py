"""A small classification for tests of the training loop, and what a data-parallel worker does with it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import cross_entropy

from launchyard.spec.blocks import GradientTrain, ScalableTrain
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

    def load(self, rows_B: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return the rows as they are."""
        return rows_B

    def compute_loss(self, model: nn.Module, rows_B: NDArray[np.intp]) -> torch.Tensor:
        """Return the weighted sum of the rows' cross entropy."""
        self.num_passes += 1
        weights_C = torch.from_numpy(CLASS_WEIGHTS).float()
        return cross_entropy(model(self.x[rows_B]), self.y[rows_B], weights_C, reduction="sum")

    def answer(self, rows_B: NDArray[np.intp]) -> torch.Tensor:
        """Return logits and the row's number, by which a test sees that rows were put back in order."""
        logits_BC = self.model(self.x[rows_B])
        return torch.cat([logits_BC, torch.from_numpy(rows_B).float()[:, None]], dim=1)

    def measure(self, answers_VK: Any) -> dict[str, float]:
        """Return accuracy and loss, and whether the answers are in the order of the rows."""
        logits_VC = torch.from_numpy(answers_VK[:, :3])
        return {
            "accuracy": float((logits_VC.argmax(dim=1) == self.y).float().mean()),
            "loss": float(cross_entropy(logits_VC, self.y)),
            "ordered": float((answers_VK[:, 3] == np.arange(NUM_ROWS)).all()),
        }


class DeepTask(TinyTask):
    """The same points for a network of blocks, with a frozen layer and a buffer."""

    def __init__(self) -> None:
        """Make the same rows and weights each time."""
        super().__init__()
        self.model = BlockNetwork()


class BlockNetwork(nn.Module):
    """Blocks in a ``ModuleList``, as transformers have them."""

    scale: torch.Tensor

    def __init__(self) -> None:
        """Make the same weights each time; sizes that two workers cannot share evenly."""
        super().__init__()
        torch.manual_seed(4)
        self.first = nn.Linear(4, 15).requires_grad_(False)
        self.blocks = nn.ModuleList([nn.Sequential(nn.Linear(15, 15), nn.Tanh()) for _ in range(2)])
        self.last = nn.Linear(15, 3)
        self.register_buffer("scale", torch.tensor(2.0))

    def forward(self, x_BK: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        x_BK = self.first(x_BK) * self.scale
        for block in self.blocks:
            x_BK = block(x_BK)
        logits_BC: torch.Tensor = self.last(x_BK)
        return logits_BC


class RaggedTask(TinyTask):
    """Answers that are as long as their row's number says, as texts are."""

    def answer(self, rows_B: NDArray[np.intp]) -> list[torch.Tensor]:
        """Return for each row as many copies of its number as 1 + its number modulo 7."""
        return [torch.full((1 + int(row) % 7,), int(row)) for row in rows_B]

    def measure(self, answers_VK: Any) -> dict[str, float]:
        """Return whether each row has its answer, whole numbers and all."""
        expected = [[row] * (1 + row % 7) for row in range(NUM_ROWS)]
        return {"accuracy": float([answer.tolist() for answer in answers_VK] == expected), "loss": 0.0}


TASKS: dict[str, type[TinyTask]] = {"tiny": TinyTask, "deep": DeepTask, "ragged": RaggedTask}


def train_worker(
    folder: Path, rank: int, world_size: int, train: GradientTrain, *, name: str = "tiny", last_step: int = -1
) -> TrainingLoop:
    """Train in this process as one of ``world_size`` workers that meet in ``folder``."""
    if world_size > 1:
        dist.init_process_group(
            "gloo",
            init_method=f"file://{folder / 'meeting'}",
            rank=rank,
            world_size=world_size,
            timeout=timedelta(seconds=60),
        )
    scratch = folder / f"rank-{rank}-of-{world_size}"
    scratch.mkdir(exist_ok=True)

    def end_at_last_step(metrics: Mapping[str, float]) -> None:
        if metrics["step"] == last_step:
            sys.exit(0)

    # All workers see the checkpoints of rank 0, as they do in a shared storage.
    shared = folder / f"rank-0-of-{world_size}"
    context = LocalContext(shared, rank=rank, world_size=world_size, on_report=end_at_last_step)
    loop = TrainingLoop(context, train, TASKS[name](), better="max")
    loop.run(scratch / "events")
    return loop


if __name__ == "__main__":
    folder, rank, world_size = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    train, name, last_step = ScalableTrain.model_validate_json(sys.argv[4]), sys.argv[5], int(sys.argv[6])
    loop = train_worker(folder, rank, world_size, train, name=name, last_step=last_step)
    assert isinstance(loop.task, TinyTask)
    torch.save(
        {
            # With sharding rank 0 alone has the whole model.
            "weights": {} if loop.is_sharded and rank else loop.task.model.state_dict(),
            "metrics": loop.history.best_metrics,
            "losses": loop.history.losses,
            "num_passes": loop.task.num_passes,
            "resumed": loop.history.resumed_from_step,
        },
        folder / f"result-{rank}.pt",
    )
    dist.destroy_process_group()
