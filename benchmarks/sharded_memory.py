"""GPU memory of training a text classifier: activations kept or computed anew, weights whole or divided.

    python benchmarks/sharded_memory.py [--layers 12] [--width 768] [--batch 64] [--tokens 256] [--steps 6]

Prints peak memory and time of a step for each way. On one GPU activations alone are compared; with two or more, each a
worker, FSDP is compared with data parallelism, too. The model is BERT with random weights, so nothing is fetched. Fails
when computing anew does not save memory, or dividing does not.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import BertConfig, BertForSequenceClassification

from launchyard.spec.blocks import ScalableTrain
from launchyard.testing import LocalContext
from launchyard.training.loop import TrainingLoop

VOCABULARY = 30_000


class RandomTexts:
    """Random tokens of one length for a BERT with random weights."""

    metric = "accuracy"
    loss_metric = "loss"

    def __init__(self, options: argparse.Namespace, device: str, *, anew: bool, on_device: bool) -> None:
        """Build model and rows, the same on every worker."""
        torch.manual_seed(1)
        config = BertConfig(
            vocab_size=VOCABULARY,
            hidden_size=options.width,
            num_hidden_layers=options.layers,
            num_attention_heads=options.width // 64,
            intermediate_size=4 * options.width,
            max_position_embeddings=options.tokens,
        )
        model = BertForSequenceClassification(config)
        if anew:
            enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
            enable({"use_reentrant": False})
        self.device = device
        self.model: nn.Module = model.to(device) if on_device else model
        num_rows = options.batch * options.steps
        self.ids_RT = torch.randint(0, VOCABULARY, (num_rows, options.tokens))
        self.train_lengths_R: NDArray[np.int64] = np.full(num_rows, options.tokens)
        self.validation_lengths_V = self.train_lengths_R[:2]
        self.weights_R = np.ones(num_rows)

    def load(self, rows_B: NDArray[np.intp]) -> torch.Tensor:
        """Return the rows' tokens."""
        return self.ids_RT[rows_B]

    def compute_loss(self, model: nn.Module, batch: torch.Tensor) -> torch.Tensor:
        """Return the summed loss of label 0."""
        logits_BC = model(batch.to(self.device)).logits.float()
        return cross_entropy(logits_BC, torch.zeros(len(batch), dtype=torch.long, device=self.device), reduction="sum")

    def answer(self, rows_B: NDArray[np.intp]) -> torch.Tensor:
        """Return logits."""
        logits_BC: torch.Tensor = self.model(self.ids_RT[rows_B].to(self.device)).logits
        return logits_BC

    def measure(self, answers_VK: Any) -> dict[str, float]:
        """Return what the loop asks for; nothing is learned."""
        return {"accuracy": float(np.mean(answers_VK[:, 0] > answers_VK[:, 1])), "loss": 0.0}


def train(rank: int, world_size: int, folder: str, options: argparse.Namespace, *, anew: bool, divided: bool) -> None:
    """Train some steps on GPU ``rank`` and leave peak memory (GB) and milliseconds of a step in ``folder``."""
    device = f"cuda:{rank}"
    torch.cuda.set_device(rank)
    if world_size > 1:
        meeting = f"file://{folder}/meeting"
        dist.init_process_group("nccl", init_method=meeting, rank=rank, world_size=world_size)
    values = {"epochs": 1, "batch_size": options.batch * world_size, "sharding": "full" if divided else "none"}
    task = RandomTexts(options, device, anew=anew, on_device=not divided)
    scratch = Path(folder) / f"rank-{rank}"
    scratch.mkdir()
    context = LocalContext(scratch, rank=rank, world_size=world_size, device=device, threads=2)
    loop = TrainingLoop(context, ScalableTrain.model_validate(values), task, better="max")
    started = time.perf_counter()
    loop.run(scratch / "events")
    torch.cuda.synchronize()
    step_ms = 1000 * (time.perf_counter() - started) / loop.history.step
    if rank == 0:
        peak_gb = torch.cuda.max_memory_allocated() / 1e9
        (Path(folder) / "measured").write_text(f"{peak_gb} {step_ms}", encoding="utf-8")
    if world_size > 1:
        dist.destroy_process_group()


def _start(rank: int, world_size: int, folder: str, options: argparse.Namespace, anew: bool, divided: bool) -> None:
    train(rank, world_size, folder, options, anew=anew, divided=divided)


def measure(options: argparse.Namespace, *, workers: int, anew: bool, divided: bool) -> float:
    """Print one way of training in processes of its own, and return its peak memory in GB."""
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(_start, (workers, folder, options, anew, divided), nprocs=workers)
        peak_gb, step_ms = map(float, (Path(folder) / "measured").read_text(encoding="utf-8").split())
    print(
        f"{workers} GPU  {'weights divided' if divided else 'weights whole':<15}  "
        f"{'activations anew' if anew else 'activations kept':<16}  {peak_gb:7.2f} GB  {step_ms:7.0f} ms a step",
        flush=True,
    )
    return peak_gb


def main() -> int:
    """Print the table; return the exit code."""
    parser = argparse.ArgumentParser(description="Measure GPU memory of training.")
    parser.add_argument("--layers", type=int, default=12, help="blocks of the model")
    parser.add_argument("--width", type=int, default=768, help="hidden size, a multiple of 64")
    parser.add_argument("--batch", type=int, default=64, help="rows of a step on each GPU")
    parser.add_argument("--tokens", type=int, default=256, help="tokens of a row")
    parser.add_argument("--steps", type=int, default=6, help="optimiser steps")
    options = parser.parse_args()
    count = torch.cuda.device_count()
    if count == 0:
        print("sharded_memory: no GPU here. Run it where there is one.", file=sys.stderr)
        return 2
    kept, anew = (measure(options, workers=1, anew=anew, divided=False) for anew in (False, True))
    failed = anew >= kept
    if count >= 2:
        whole, divided = (measure(options, workers=count, anew=True, divided=divided) for divided in (False, True))
        failed = failed or divided >= whole
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
