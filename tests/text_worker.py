"""One of several processes that train a text classifier together, for tests."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

import torch.distributed as dist

from launchyard.kinds.text_classification.spec import TextClassification
from launchyard.kinds.text_classification.train import train_text_classifier
from launchyard.testing import LocalContext
from launchyard.training.context import TrainJob


def train_worker(folder: Path, rank: int, world_size: int) -> None:
    """Train the spec in ``folder`` as one of ``world_size`` workers that meet there."""
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
    spec = TextClassification.model_validate_json((folder / "spec.json").read_bytes())
    job = TrainJob(spec, folder / "rows", folder / "base", folder / f"candidate-{world_size}")
    train_text_classifier(LocalContext(scratch, rank=rank, world_size=world_size), job)
    if world_size > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    train_worker(Path(sys.argv[1]), int(sys.argv[2]), 2)
