"""torch.compile beside eager torch on single rows: why it is no served runtime (docs/adr-0006-runtimes.md).

    python benchmarks/torch_compile.py CANDIDATE DATASET [--threads 1] [--calls 300]

CANDIDATE is what training left (or a bundle), DATASET a prepared data set. Both compute the same rows of differing
length. Prints the seconds until the first answers, the time of one row and the largest difference of a logit.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from launchyard.data.manifest import read_split
from launchyard.evaluation.metrics.latency import describe_latency, time_calls
from launchyard.text.preprocess import TextPreprocessor
from launchyard.text.runtimes import TorchRuntime

WARM_ROWS = 20
Row = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Token ids and mask of one row, each of shape (1, T)."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Compare torch.compile with eager torch.")
    parser.add_argument("candidate", type=Path, help="what training left, or a bundle")
    parser.add_argument("dataset", type=Path, help="a prepared data set")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--calls", type=int, default=300, help="timed single-row calls")
    arguments = parser.parse_args()
    preprocessor = TextPreprocessor.load(arguments.candidate)
    ids = preprocessor.encode(read_split(arguments.dataset, "validation")["text"].to_pylist()[: arguments.calls])
    rows = [preprocessor.pad([row]) for row in ids]
    print(f"{'':<14} {'first rows s':>12} {'p50 ms':>7} {'p99 ms':>7} {'max difference':>15}")
    expected: list[Any] = []
    for name in ("torch", "torch.compile"):
        runtime = TorchRuntime(arguments.candidate / "model", arguments.threads)
        if name == "torch.compile":
            runtime.model = torch.compile(runtime.model, dynamic=True)
        start = time.perf_counter()
        answers = [runtime.compute(*row) for row in rows[:WARM_ROWS]]
        first_s = time.perf_counter() - start
        expected = expected or answers
        difference = max(float(np.abs(one - other).max()) for one, other in zip(answers, expected, strict=True))
        times = time_calls(partial(compute, runtime), rows, calls=arguments.calls)
        latency = describe_latency(times, arguments.threads)
        print(f"{name:<14} {first_s:>12.1f} {latency.p50_ms:>7.2f} {latency.p99_ms:>7.2f} {difference:>15.1e}")


def compute(runtime: TorchRuntime, row: Row) -> None:
    """Answer one row."""
    runtime.compute(*row)


if __name__ == "__main__":
    main()
