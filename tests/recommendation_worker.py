"""One of several processes that train a recommender together, for tests."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch.distributed as dist

from launchyard.kinds.recommendation.train.train import train_recommender
from launchyard.testing import LocalContext
from launchyard.training.context import TrainJob
from recommendation_rows import make_spec

SETTINGS: dict[str, dict[str, Any]] = {
    "sasrec": {"model__dim": 16, "model__max_length": 8, "model__dropout": 0.0, "train__epochs": 3},
}


def train_worker(folder: Path, architecture: str, rank: int, world_size: int) -> None:
    """Train as one of ``world_size`` workers that meet in ``folder``."""
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
    job = TrainJob(
        make_spec(architecture, **SETTINGS[architecture]), folder / "rows", None, folder / f"candidate-{world_size}"
    )
    train_recommender(LocalContext(scratch, rank=rank, world_size=world_size), job)
    if world_size > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    train_worker(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), 2)
