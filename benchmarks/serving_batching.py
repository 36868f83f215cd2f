"""Our batcher against ``@serve.batch`` and against no batches, in one process: docs/adr-0004-batching.md.

    launchyard run examples/review-sentiment
    python benchmarks/serving_batching.py --away-ms 0 2

``--away-ms`` is the time from an answer to the same caller's next request, which over HTTP is never 0. All compute in
one thread. Prints one JSON document.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from ray import serve
from ray.serve import batching
from serving_servers import TEXT, load_predictor

from launchyard.contract.predictor import Output
from launchyard.contract.rows import Row
from launchyard.settings import load_settings
from launchyard_serving.replica.batching import MicroBatcher

BATCH_SIZE = 32
Submit = Callable[[], Awaitable[Any]]


def build_candidates(compute: Callable[[Sequence[Row]], list[Output]], row: Row) -> dict[str, Submit]:
    """Return what is compared, each as a call that computes ``row``."""
    # It asks for a replica's settings, only to warn about them; there is none here (ray 2.60).
    batching._BatchQueue._warn_if_max_batch_size_exceeds_max_ongoing_requests = lambda _: None
    thread = ThreadPoolExecutor(1)
    batcher = MicroBatcher(compute, thread, max_batch_size=BATCH_SIZE, max_waiting_rows=1000)

    async def run_in_thread(rows: list[Row]) -> list[Output]:
        return await asyncio.get_running_loop().run_in_executor(thread, compute, rows)

    batched = serve.batch(run_in_thread, max_batch_size=BATCH_SIZE, batch_wait_timeout_s=0)
    return {
        "none": lambda: run_in_thread([row]),
        "ours": lambda: batcher.submit([row]),
        "serve.batch": lambda: batched(row),
    }


async def measure(submit: Submit, clients: int, requests: int, away_s: float) -> dict[str, float]:
    """Return requests per second and the p50 of ``clients`` callers in a closed loop."""
    times_ms = []

    async def call() -> None:
        for _ in range(requests // clients):
            started = time.perf_counter()
            await submit()
            times_ms.append(1000 * (time.perf_counter() - started))
            await asyncio.sleep(away_s)

    started = time.perf_counter()
    await asyncio.gather(*(call() for _ in range(clients)))
    return {
        "requests_per_second": len(times_ms) / (time.perf_counter() - started),
        "p50_ms": float(np.quantile(times_ms, 0.5)),
    }


async def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return one measurement per round, pause, number of callers and candidate, in that order."""
    predictor = load_predictor(load_settings(), options.product)
    candidates = build_candidates(predictor.predict, predictor.parse(TEXT))
    found = []
    for number in range(options.rounds):
        for away_ms in options.away_ms:
            for clients in (1, BATCH_SIZE):
                for name, submit in candidates.items():
                    result = await measure(submit, clients, options.requests, away_ms / 1000)
                    found.append({"round": number, "away_ms": away_ms, "clients": clients, "batches": name} | result)
    return found


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--product", default="review-sentiment")
    parser.add_argument("--requests", type=int, default=1600)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--away-ms", type=float, nargs="+", default=[0.0, 2.0])
    print(json.dumps(asyncio.run(run(parser.parse_args())), indent=2))


if __name__ == "__main__":
    main()
