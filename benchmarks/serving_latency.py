"""What the server adds to a lone request: p50 over HTTP against an empty POST plus the prediction in process.

    launchyard run examples/review-sentiment
    python benchmarks/serving_latency.py

Measured in rounds, the three one after the other in each, so that a disturbance meets all; the medians of the rounds
are compared. Exit code 1 when the server adds more than 2 ms.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

import numpy as np
from http_load import measure_load
from serving_servers import TEXT, load_predictor, run_server

from launchyard.contract.predictor import Predictor
from launchyard.settings import load_settings

MOST_ADDED_MS = 2.0


def measure_in_process(predictor: Predictor, calls: int) -> float:
    """Return the p50 of one prediction, parsing included, in milliseconds."""
    times_ms = []
    for _ in range(calls + calls // 10):
        started = time.perf_counter()
        predictor.predict([predictor.parse(TEXT)])
        times_ms.append(1000 * (time.perf_counter() - started))
    return float(np.quantile(times_ms[calls // 10 :], 0.5))


def main() -> None:
    """Measure and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--product", default="review-sentiment")
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    predictor = load_predictor(load_settings(), options.product)
    body = json.dumps({"inputs": [TEXT]})
    rounds: dict[str, list[float]] = {"served_ms": [], "empty_ms": [], "in_process_ms": []}
    with run_server("launchyard", options.product, f"/{options.product}/predict") as url:
        for _ in range(options.rounds):
            rounds["in_process_ms"].append(measure_in_process(predictor, options.requests))
            for name, path in (("empty_ms", "empty"), ("served_ms", options.product)):
                load = measure_load(f"{url}/{path}/predict", body, clients=1, requests=options.requests)
                rounds[name].append(load.p50_ms)
    medians = {name: float(np.median(values)) for name, values in rounds.items()}
    added_ms = medians["served_ms"] - medians["empty_ms"] - medians["in_process_ms"]
    print(json.dumps({"p50": medians, "added_ms": added_ms, "at_most_ms": MOST_ADDED_MS, "rounds": rounds}, indent=2))
    sys.exit(0 if added_ms <= MOST_ADDED_MS else 1)


if __name__ == "__main__":
    main()
