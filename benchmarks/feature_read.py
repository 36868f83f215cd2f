"""How long reading the features of one user takes, in process: 20 features, from SQLite and from a real Redis.

    python benchmarks/feature_read.py --users 10000 --reads 20000

Each read asks for one user drawn at random, as an answer does: values decoded, expiry checked. Redis and this process
share the machine's cores.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import numpy as np
from feature_load import SETS, publish_users, serving_redis

from launchyard.adapters.feast.online import OnlineReader
from launchyard.settings import Settings

PRODUCT = "bench"
TIMEOUT_MS = 1000.0
LIMIT_P99_MS = 2.0


def time_reads(settings: Settings, num_users: int, num_reads: int) -> dict[str, float]:
    """Return quantiles of the time of one read, milliseconds, after a warm-up of a tenth of the reads."""
    random = np.random.default_rng(7)
    users = [f"{user:032x}" for user in random.integers(0, num_users, num_reads + num_reads // 10).tolist()]
    durations_ms = []
    with closing(OnlineReader(settings, PRODUCT, SETS, timeout_ms=TIMEOUT_MS)) as reader:
        for user in users:
            started = time.perf_counter()
            rows = reader.read(SETS[0].name, [user], now=time.time())
            durations_ms.append((time.perf_counter() - started) * 1000)
            assert rows[0] is not None
    quantiles = np.quantile(durations_ms[num_reads // 10 :], [0.5, 0.99, 0.999])
    return dict(zip(("p50_ms", "p99_ms", "p999_ms"), quantiles.round(3).tolist(), strict=True))


def main() -> int:
    """Publish users to both stores, time reads of each, print one JSON document; return 1 when the limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=10_000)
    parser.add_argument("--reads", type=int, default=20_000)
    arguments = parser.parse_args()
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder, serving_redis(Path(folder)) as url:
        for store, online_store in (("sqlite", None), ("redis", url)):
            settings = Settings(home=Path(folder) / store, online_store=online_store)
            publish_users(settings, PRODUCT, arguments.users)
            found[store] = time_reads(settings, arguments.users, arguments.reads)
    passed = found["redis"]["p99_ms"] <= LIMIT_P99_MS
    print(json.dumps({"features": len(SETS[0].features), **vars(arguments), **found, "passed": passed}, indent=2))
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
