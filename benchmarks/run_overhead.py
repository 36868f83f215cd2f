"""Wall time of ``launchyard run`` against a plain script on the same data, model, epochs and evaluation.

    python benchmarks/run_overhead.py [--rows 2000] [--epochs 3]

The plain script fine-tunes with ``transformers.Trainer``, validates after each epoch and answers the test rows, in a
process of its own. Both run on all cores, one after the other, sources in the cache. Prints where the time of the run
goes and what it spends beyond the script; fails above 60 s.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from plain_finetune import SPEC, finetune_plain, make_job

from launchyard.threads import count_cores

LIMIT_S = 60.0
COMMAND = Path(sys.executable).with_name("launchyard")


def main() -> int:
    """Print both walls and the steps; return the exit code."""
    parser = argparse.ArgumentParser(description="Measure what a run costs beyond a plain script.")
    parser.add_argument("--rows", type=int, default=2000, help="training rows")
    parser.add_argument("--epochs", type=int, default=3, help="passes over them")
    parser.add_argument("--plain", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    overrides = [
        f"data.split.train={options.rows}",
        f"train.epochs={options.epochs}",
        "train.early_stopping=null",
        "train.precision=fp32",
        "evaluate.gates={}",
    ]
    if options.plain is not None:
        job = make_job(options.plain, overrides)
        finetune_plain(job, options.plain / "plain", threads=count_cores(), validate=True)
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # Fetches the sources, so that neither side pays for the download.
        make_job(folder / "warm", overrides)
        arguments = [str(Path(__file__)), "--plain", str(folder), "--rows", str(options.rows)]
        plain_s = time_command([sys.executable, *arguments, "--epochs", str(options.epochs)], folder, "plain")
        settings = [word for text in overrides for word in ("--set", text)]
        run_s = time_command([str(COMMAND), "run", str(SPEC), "--json", *settings], folder, "run")
        record = json.loads((folder / "run.out").read_text(encoding="utf-8"))
    print(f"plain script {plain_s:6.1f} s")
    print(f"run          {run_s:6.1f} s")
    steps = {step["name"]: step["seconds"] for step in record["steps"]}
    for step, seconds in (*steps.items(), ("start, end", run_s - sum(steps.values()))):
        print(f"  {step:<10} {seconds:6.1f} s")
    print(f"beyond the script {run_s - plain_s:+.1f} s, limit {LIMIT_S:.0f} s")
    return 0 if run_s - plain_s <= LIMIT_S else 1


def time_command(command: list[str], folder: Path, name: str) -> float:
    """Run a command with a home folder of its own and the common source cache; return its wall time in seconds."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    cache = Path(os.environ.get("LAUNCHYARD_HOME", ".launchyard")).resolve() / "cache"
    if not (home / "cache").exists():
        (home / "cache").symlink_to(cache)
    started = time.perf_counter()
    with (folder / f"{name}.out").open("wb") as out:
        subprocess.run(command, stdout=out, env={**os.environ, "LAUNCHYARD_HOME": str(home)}, check=True)
    return time.perf_counter() - started


if __name__ == "__main__":
    raise SystemExit(main())
