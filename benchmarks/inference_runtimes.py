"""Compare the ways of computing one trained text classifier: torch, ONNX Runtime, ONNX Runtime with int8 products.

    python benchmarks/inference_runtimes.py CANDIDATE DATASET [--threads 2] [--calls 300]

CANDIDATE is what training left (or a bundle), DATASET a prepared data set. For each runtime: the time until a fresh
process has answered its first row and what it then holds in memory, single rows, batches of 32, accuracy on the
validation rows, and the largest difference of a probability alone and inside a batch.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from launchyard.contract.predictor import Device
from launchyard.contract.rows import Row
from launchyard.contract.training import ExportJob
from launchyard.data.manifest import read_split
from launchyard.evaluation.metrics.latency import describe_latency, time_calls
from launchyard.kinds.text_classification.export import export_text_classifier
from launchyard.kinds.text_classification.predict import TextPredictor
from launchyard.kinds.text_classification.spec import TextClassification

RUNTIMES = ("torch", "onnx", "onnx-int8")
BATCH_ROWS = 32
COLD_START = """
import sys, time
start = time.perf_counter()
from pathlib import Path
from launchyard.contract.predictor import Device
from launchyard.kinds.text_classification.predict import TextPredictor
predictor = TextPredictor.load(Path(sys.argv[1]), Device(int(sys.argv[2])))
predictor.predict([predictor.parse("a first text")])
seconds = time.perf_counter() - start
# Not getrusage: its peak still counts the process that this one was forked from.
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(seconds, int(status["VmRSS"].split()[0]) / 1024)
"""


@dataclass(frozen=True)
class Result:
    """One runtime, measured."""

    name: str
    export_s: float
    cold_start_s: float
    memory_mb: float
    p50_ms: float
    p99_ms: float
    rows_per_s: float
    accuracy: float
    batch_difference: float


def export(name: str, candidate_dir: Path, dataset_dir: Path, folder: Path, threads: int) -> float:
    """Write a bundle with the runtime ``name`` to ``folder``; return the seconds it took."""
    shutil.copytree(candidate_dir, folder)
    spec = TextClassification.model_validate(
        {
            "api": "launchyard/v1",
            "product": "benchmark",
            "kind": "text-classification",
            "data": {"source": "rows.csv"},
            "model": {"base": "base"},
            "serve": {"runtime": name},
        }
    )
    start = time.perf_counter()
    validation = read_split(dataset_dir, "validation")
    export_text_classifier(ExportJob(spec, folder, dataset_dir, validation, threads, threads))
    return time.perf_counter() - start


def start_cold(folder: Path, threads: int) -> tuple[float, float]:
    """Return the seconds to the first answer and the megabytes held, in a process of its own."""
    command = [sys.executable, "-c", COLD_START, str(folder), str(threads)]
    seconds, megabytes = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(seconds), float(megabytes)


def measure(name: str, folder: Path, export_s: float, dataset_dir: Path, arguments: argparse.Namespace) -> Result:
    """Return everything that is printed about one runtime."""
    cold_start_s, memory_mb = start_cold(folder, arguments.threads)
    predictor = TextPredictor.load(folder, Device(arguments.threads))
    table = read_split(dataset_dir, "validation")
    rows: list[Row] = [predictor.parse(text) for text in table["text"].to_pylist()]
    latency = describe_latency(
        time_calls(lambda row: predictor.predict([row]), rows, calls=arguments.calls), arguments.threads
    )
    start = time.perf_counter()
    outputs = [
        output
        for first in range(0, len(rows), BATCH_ROWS)
        for output in predictor.predict(rows[first : first + BATCH_ROWS])
    ]
    batch_s = time.perf_counter() - start
    alone = [predictor.predict([row])[0] for row in rows[:BATCH_ROWS]]
    differences = [
        abs(one["scores"][label] - other["scores"][label])
        for one, other in zip(alone, outputs[:BATCH_ROWS], strict=True)
        for label in one["scores"]
    ]
    right = [output["label"] == label for output, label in zip(outputs, table["label"].to_pylist(), strict=True)]
    return Result(
        name=name,
        export_s=export_s,
        cold_start_s=cold_start_s,
        memory_mb=memory_mb,
        p50_ms=latency.p50_ms,
        p99_ms=latency.p99_ms,
        rows_per_s=len(rows) / batch_s,
        accuracy=float(np.mean(right)),
        batch_difference=max(differences),
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Compare the runtimes of one trained text classifier.")
    parser.add_argument("candidate", type=Path, help="what training left, or a bundle")
    parser.add_argument("dataset", type=Path, help="a prepared data set")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of one replica")
    parser.add_argument("--calls", type=int, default=300, help="timed single-row calls")
    arguments = parser.parse_args()
    print(f"{'runtime':<10} {'made s':>7} {'start s':>8} {'MB':>6} {'p50 ms':>7} {'p99 ms':>7} ", end="")
    print(f"{'rows/s':>7} {'ratio':>6} {'accuracy':>9} {'batch diff':>11}")
    baseline: float | None = None
    with tempfile.TemporaryDirectory() as scratch:
        for name in RUNTIMES:
            folder = Path(scratch) / name
            export_s = export(name, arguments.candidate, arguments.dataset, folder, arguments.threads)
            found = measure(name, folder, export_s, arguments.dataset, arguments)
            baseline = baseline or found.p50_ms
            print(f"{name:<10} {export_s:>7.1f} {found.cold_start_s:>8.2f} {found.memory_mb:>6.0f} ", end="")
            print(f"{found.p50_ms:>7.2f} {found.p99_ms:>7.2f} {found.rows_per_s:>7.0f} ", end="")
            print(f"{baseline / found.p50_ms:>5.1f}x {found.accuracy:>9.4f} {found.batch_difference:>11.1e}")


if __name__ == "__main__":
    main()
