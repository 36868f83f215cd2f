"""Requests per second at 32 clients: the server against FastAPI with a transformers pipeline and with our own bundle.

    launchyard run examples/review-sentiment
    python benchmarks/serving_throughput.py

Each server has the machine to itself but for the load generator; rounds alternate between them, medians are compared.
Exit code 1 when the ratios are below 3.0 and 0.9.
"""

from __future__ import annotations

import argparse
import json
import sys

import numpy as np
from http_load import measure_load
from serving_servers import TEXT, run_server

LEAST = {"pipeline": 3.0, "bundle": 0.9}
CLIENTS = 32


def main() -> None:
    """Measure and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--product", default="review-sentiment")
    parser.add_argument("--requests", type=int, default=3200)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    body = json.dumps({"inputs": [TEXT]})
    paths = {"launchyard": f"/{options.product}/predict", "pipeline": "/predict", "bundle": "/predict"}
    rounds: dict[str, list[float]] = {name: [] for name in paths}
    for _ in range(options.rounds):
        for name, path in paths.items():
            with run_server(name, options.product, path) as url:
                load = measure_load(url + path, body, clients=CLIENTS, requests=options.requests)
            rounds[name].append(load.requests_per_second)
    medians = {name: float(np.median(values)) for name, values in rounds.items()}
    ratios = {name: medians["launchyard"] / medians[name] for name in LEAST}
    print(json.dumps({"requests_per_second": medians, "ratios": ratios, "at_least": LEAST, "rounds": rounds}, indent=2))
    sys.exit(0 if all(ratios[name] >= least for name, least in LEAST.items()) else 1)


if __name__ == "__main__":
    main()
