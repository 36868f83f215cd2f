"""Time what every user waits for first: `launchyard --help` and `launchyard validate`, beside a bare interpreter.

    python benchmarks/cli_startup.py [--runs 15]

Prints the median of each and its ratio to `python -c pass`; fails when a command takes longer than 0.6 s.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

LIMIT_S = 0.6
SPEC = Path(__file__).resolve().parent.parent / "examples" / "review-sentiment" / "product.yaml"
LAUNCHYARD = str(Path(sys.executable).with_name("launchyard"))
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "launchyard --help": [LAUNCHYARD, "--help"],
    "launchyard validate": [LAUNCHYARD, "validate", str(SPEC)],
}


def time_once(command: list[str]) -> float:
    """Return the wall time of one run, in seconds."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def time_all(num_runs: int) -> dict[str, float]:
    """Return the median wall time of each command; rounds are interleaved, so that all see the same machine."""
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for command in COMMANDS.values():
        time_once(command)  # the first run compiles bytecode and fills the page cache
    for _ in range(num_runs):
        for name, command in COMMANDS.items():
            times[name].append(time_once(command))
    return {name: statistics.median(found) for name, found in times.items()}


def main() -> int:
    """Print the table; return the exit code."""
    parser = argparse.ArgumentParser(description="Time the start of the command line.")
    parser.add_argument("--runs", type=int, default=15, help="timed runs of each command")
    medians_s = time_all(parser.parse_args().runs)
    bare_s = medians_s["python -c pass"]
    print(f"{'command':<24} {'median s':>9} {'ratio':>7}")
    for name, median_s in medians_s.items():
        print(f"{name:<24} {median_s:>9.3f} {median_s / bare_s:>6.1f}x")
    slow = [name for name, median_s in medians_s.items() if median_s > LIMIT_S]
    if slow:
        print(f"over {LIMIT_S} s: {', '.join(slow)}")
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
