"""Recommendations over HTTP with online features in Redis: peak against an empty POST, tail latency, and freshness.

    launchyard run examples/movie-recommender
    python benchmarks/recommendation_serving.py

Redis and the server run on this machine beside the load generator. Each request is for another of the product's users,
in random order; the first round (``first_peak``) meets users for the first time, the others find them in the replica's
memory. Exit code 1 when p99 at half of the peak exceeds 50 ms, the peak is below 0.8 of an empty POST's, or an event
takes longer than 1 s (p99) until the next answer knows it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import numpy as np
import redis
import requests
from http_load import Load, measure_load
from serving_servers import find_champion, run_server

from launchyard.features.publishing import refill_features
from launchyard.settings import load_settings
from launchyard_serving.session.session import LOOPBACK, find_free_port

LIMITS = {"p99_ms": 50.0, "peak_ratio": 0.8, "event_p99_s": 1.0}
CLIENTS = 64
NUM_USERS = 943


@contextmanager
def run_redis() -> Iterator[str]:
    """Yield the URL of a Redis that keeps nothing."""
    port = find_free_port()
    command = ["redis-server", "--port", str(port), "--bind", LOOPBACK, "--save", "", "--appendonly", "no"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    client = redis.Redis(LOOPBACK, port)
    try:
        deadline = time.monotonic() + 10
        while True:
            try:
                client.ping()
                break
            except redis.ConnectionError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        yield f"redis://{LOOPBACK}:{port}/0"
    finally:
        client.close()
        process.terminate()
        process.wait(timeout=10)


def write_bodies(path: Path, num_users: int, k: int) -> str:
    """Write one request for each user, in random order, and return how the load generator is told of them."""
    users = list(range(1, num_users + 1))
    random.Random(0).shuffle(users)
    lines = [json.dumps({"inputs": [{"user": user, "k": k}]}) for user in users]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return f"@{path}"


def measure_freshness(url: str, num_events: int) -> list[float]:
    """Return the seconds from sending an event until an answer knows it: the item is recommended no more."""
    seconds = []
    session = requests.Session()
    for number in range(num_events):
        user = {"user": f"newcomer-{number}"}
        ask = {"inputs": [{**user, "k": 10}]}
        first = session.post(f"{url}/predict", json=ask, timeout=10).json()["outputs"][0]["items"][0]["item"]
        started = time.perf_counter()
        session.post(f"{url}/events", json={"events": [{**user, "item": first}]}, timeout=10).raise_for_status()
        while True:
            found = session.post(f"{url}/predict", json=ask, timeout=10).json()["outputs"][0]
            if first not in [item["item"] for item in found["items"]]:
                break
        seconds.append(time.perf_counter() - started)
    return seconds


def measure(url: str, product: str, body: str, options: argparse.Namespace) -> dict[str, float]:
    """Return the figures of one running server."""
    predict, empty = f"{url}/{product}/predict", f"{url}/empty/predict"
    pairs: list[tuple[Load, Load]] = []
    for _ in range(options.rounds):
        pairs.append(
            (
                measure_load(predict, body, clients=CLIENTS, requests=options.requests),
                measure_load(empty, body, clients=CLIENTS, requests=options.requests),
            )
        )
    peak = median(ours.requests_per_second for ours, _ in pairs)
    empty_peak = median(theirs.requests_per_second for _, theirs in pairs)
    opened = measure_load(predict, body, clients=CLIENTS, requests=options.requests, rate=peak / 2)
    alone = measure_load(predict, body, clients=1, requests=300)
    fresh = measure_freshness(f"{url}/{product}", options.events)
    return {
        "first_peak": pairs[0][0].requests_per_second,
        "peak": peak,
        "empty_peak": empty_peak,
        "peak_ratio": peak / empty_peak,
        "one_client_p50_ms": alone.p50_ms,
        "half_peak": peak / 2,
        "p50_ms": opened.p50_ms,
        "p99_ms": opened.p99_ms,
        "event_p50_s": float(np.quantile(fresh, 0.5)),
        "event_p99_s": float(np.quantile(fresh, 0.99)),
    }


def main() -> None:
    """Measure and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--product", default="movie-recommender")
    parser.add_argument("--requests", type=int, default=6400)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--events", type=int, default=200)
    options = parser.parse_args()
    with run_redis() as store, tempfile.TemporaryDirectory() as folder:
        os.environ["LAUNCHYARD_ONLINE_STORE"] = store
        settings = load_settings()
        _, spec = find_champion(settings, options.product)
        refill_features(settings, spec)
        body = write_bodies(Path(folder) / "bodies", NUM_USERS, k=10)
        with run_server("launchyard", options.product, f"/{options.product}/ready") as url:
            found = measure(url, options.product, body, options)
    print(json.dumps(found | {"limits": LIMITS}, indent=2))
    is_good = found["p99_ms"] <= LIMITS["p99_ms"] and found["peak_ratio"] >= LIMITS["peak_ratio"]
    sys.exit(0 if is_good and found["event_p99_s"] <= LIMITS["event_p99_s"] else 1)


if __name__ == "__main__":
    main()
