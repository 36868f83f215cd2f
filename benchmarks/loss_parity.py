"""The loss curve of training beside that of a plain transformers fine-tune on the same batches, step by step.

    python benchmarks/loss_parity.py [--steps 50] [--threads 2]

Both start from the same weights, without dropout and in fp32; only the loops differ. Fails when the losses of a step
differ by more than 0.001.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import cast

import numpy as np
from plain_finetune import finetune_ours, finetune_plain, make_job

from launchyard.data.manifest import read_split
from launchyard.kinds.text_classification.spec import TextTrain
from launchyard.spec.blocks import find_train
from launchyard.text.preprocess import TextPreprocessor
from launchyard.training.batches import order_batches

TOLERANCE = 1e-3
BATCH_SIZE = 32
"""The steps are one epoch of full batches, so that both sides cut the rows alike."""


def main() -> int:
    """Print the largest difference; return the exit code."""
    parser = argparse.ArgumentParser(description="Compare loss curves.")
    parser.add_argument("--steps", type=int, default=50, help="optimiser steps")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of both")
    options = parser.parse_args()
    overrides = (
        f"data.split.train={max(options.steps, 10) * BATCH_SIZE}",
        "data.split.validation=50",
        "data.split.test=50",
        f"train.batch_size={BATCH_SIZE}",
        f"train.max_steps={options.steps}",
        "train.precision=fp32",
        "model.dropout=0.0",
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        job = make_job(folder, overrides)
        ours = finetune_ours(job, folder / "scratch", threads=options.threads)
        preprocessor = TextPreprocessor.load(job.output_dir)
        texts = read_split(job.dataset_dir, "train")["text"].to_pylist()
        lengths_R = np.array([len(ids) for ids in preprocessor.encode(texts)])
        train = cast(TextTrain, find_train(job.spec))
        batches = order_batches(lengths_R, BATCH_SIZE, seed=train.seed, epoch=0, grouped=train.length_grouped)
        order = [int(row) for batch in batches for row in batch]
        plain = finetune_plain(job, folder / "plain", threads=options.threads, order=order)
    differences = np.abs(np.array(ours.losses) - np.array(plain.losses[: options.steps]))
    print(
        f"{options.steps} steps: loss {ours.losses[0]:.4f} -> {ours.losses[-1]:.4f}, "
        f"plain {plain.losses[0]:.4f} -> {plain.losses[-1]:.4f}, largest difference {differences.max():.1e}"
    )
    return 1 if differences.max() > TOLERANCE else 0


if __name__ == "__main__":
    raise SystemExit(main())
