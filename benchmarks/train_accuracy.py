"""Test accuracy of training over seeds, paired with a plain transformers fine-tune of the same rows.

    python benchmarks/train_accuracy.py [--rows 2000] [--epochs 3] [--seeds 5] [--threads 2]

``--rows all`` trains on every row that is neither validation nor test. Prints one line per seed, the two means and the
mean of the paired differences; fails when that is below -0.005, or ours not above 0.825 (2,000 rows) or 0.84 (all).
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import tempfile
from pathlib import Path

from plain_finetune import finetune_ours, finetune_plain, make_job

TOLERANCE = 0.005
LEAST = {"2000": 0.825, "all": 0.84}
"""Training rows -> mean accuracy that ours must exceed."""
ALL_ROWS = 8603
"""10,603 distinct sentences less 1,000 for validation and 1,000 for the test."""


def main() -> int:
    """Print the table; return the exit code."""
    parser = argparse.ArgumentParser(description="Measure accuracy over seeds.")
    parser.add_argument("--rows", default="2000", help="training rows, or 'all'")
    parser.add_argument("--epochs", type=int, default=3, help="passes over them")
    parser.add_argument("--seeds", type=int, default=5, help="fine-tunes of each side")
    parser.add_argument("--held-out", type=int, default=1000, help="validation rows, and as many test rows")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of both")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32", help="of both")
    options = parser.parse_args()
    rows = ALL_ROWS if options.rows == "all" else int(options.rows)
    ours, plain = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for seed in range(options.seeds):
            overrides = (
                f"data.split.train={rows}",
                f"data.split.validation={options.held_out}",
                f"data.split.test={options.held_out}",
                f"train.epochs={options.epochs}",
                f"train.seed={seed}",
                f"train.precision={options.precision}",
            )
            job = dataclasses.replace(make_job(folder, overrides), output_dir=folder / f"candidate-{seed}")
            ours.append(finetune_ours(job, folder / f"scratch-{seed}", threads=options.threads).accuracy)
            plain.append(finetune_plain(job, folder / f"plain-{seed}", threads=options.threads).accuracy)
            print(f"seed {seed}: ours {ours[-1]:.4f}, plain {plain[-1]:.4f}", flush=True)
    difference = statistics.mean(one - other for one, other in zip(ours, plain, strict=True))
    print(
        f"mean of {options.seeds}: ours {statistics.mean(ours):.4f}, plain {statistics.mean(plain):.4f}, "
        f"paired difference {difference:+.4f}"
    )
    least = LEAST.get(options.rows, 0.0)
    return 1 if difference < -TOLERANCE or statistics.mean(ours) <= least else 0


if __name__ == "__main__":
    raise SystemExit(main())
