"""Samples per second of training against a plain transformers Trainer: same rows, threads and precision, one run.

    python benchmarks/train_speed.py [--rows 2000] [--epochs 1] [--threads 2] [--device cpu]

Prints a row for fp32 and one for bf16: both speeds, their ratio, and the test accuracy of the very runs that were
timed. Fails when a ratio is below 1 or an accuracy falls more than 0.005 behind.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from pathlib import Path

from plain_finetune import finetune_ours, finetune_plain, make_job

TOLERANCE = 0.005


def main() -> int:
    """Print the table; return the exit code."""
    parser = argparse.ArgumentParser(description="Time training.")
    parser.add_argument("--rows", type=int, default=2000, help="training rows")
    parser.add_argument("--epochs", type=int, default=1, help="passes over them")
    parser.add_argument("--held-out", type=int, default=1000, help="validation rows, and as many test rows")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of both")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="of both")
    options = parser.parse_args()
    failed = False
    print(f"{'precision':<10} {'ours/s':>8} {'plain/s':>8} {'ratio':>6} {'accuracy':>9} {'plain':>7}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for precision in ("fp32", "bf16"):
            overrides = (
                f"data.split.train={options.rows}",
                f"data.split.validation={options.held_out}",
                f"data.split.test={options.held_out}",
                f"train.epochs={options.epochs}",
                f"train.precision={precision}",
            )
            job = dataclasses.replace(make_job(folder, overrides), output_dir=folder / precision)
            # Neither side pays for what a process does once.
            warm = dataclasses.replace(
                make_job(folder, (*overrides, "train.max_steps=3")), output_dir=folder / f"warm-{precision}"
            )
            sides = {"threads": options.threads, "device": options.device}
            finetune_plain(warm, folder / f"warm-plain-{precision}", **sides)
            finetune_ours(warm, folder / f"warm-scratch-{precision}", **sides)
            plain = finetune_plain(job, folder / f"plain-{precision}", **sides)
            ours = finetune_ours(job, folder / f"scratch-{precision}", **sides)
            ratio = ours.samples_per_second / plain.samples_per_second
            print(
                f"{precision:<10} {ours.samples_per_second:>8.1f} {plain.samples_per_second:>8.1f} {ratio:>5.2f}x "
                f"{ours.accuracy:>9.4f} {plain.accuracy:>7.4f}"
            )
            failed = failed or ratio < 1 or round(plain.accuracy - ours.accuracy, 6) > TOLERANCE
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
