"""Peak memory and time of bringing feature rows online, at several sizes, each in a fresh process.

    python benchmarks/feature_materialize.py --rows 500000 2000000 --store sqlite redis

Every row is of another user, 20 features each: the most that can have to be written. What is counted is the peak
resident set of the process that publishes, registers and materialises (VmHWM), imports of Feast and all that it imports
included. The memory of Redis, which must hold the data, is not counted.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from feature_load import SETS, serving_redis, write_users

from launchyard.adapters.feast.store import FeatureStore
from launchyard.settings import Settings

PRODUCT = "bench"
LIMIT_MB = 512
MOST_GROWTH = 0.10


@dataclass(frozen=True)
class Measurement:
    """One materialisation in a process of its own."""

    store: str
    rows: int
    publish_s: float
    materialize_s: float
    imports_mb: float
    peak_mb: float


def read_memory_mb(name: str) -> float:
    """Return a memory figure of this process, such as ``VmHWM``."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(f"{name}:"))) / 1024


def measure(rows_dir: Path, home: Path, url: str | None, num_rows: int) -> Measurement:
    """Publish and materialise the rows in ``rows_dir`` in this process."""
    imports_mb = read_memory_mb("VmHWM")
    store = FeatureStore(Settings(home=home, online_store=url), PRODUCT, SETS)
    started = time.monotonic()
    store.publish(rows_dir)
    store.apply()
    published = time.monotonic()
    (written,) = store.materialize()
    assert written.num_written == num_rows
    return Measurement(
        store="sqlite" if url is None else "redis",
        rows=num_rows,
        publish_s=round(published - started, 1),
        materialize_s=round(time.monotonic() - published, 1),
        imports_mb=round(imports_mb, 1),
        peak_mb=round(read_memory_mb("VmHWM"), 1),
    )


def measure_apart(num_rows: int, store: str) -> Measurement:
    """Return the measurement of one size in a fresh process."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        url = stack.enter_context(serving_redis(folder)) if store == "redis" else None
        write_users(folder / "rows" / f"{SETS[0].name}.parquet", num_rows)
        job = {"rows_dir": str(folder / "rows"), "home": str(folder / "home"), "url": url, "num_rows": num_rows}
        command = [sys.executable, __file__, "--job", json.dumps(job)]
        result = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=3600)
        return Measurement(**json.loads(result.stdout))


def main() -> int:
    """Measure every size on every store, print one JSON document; return 1 when a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[500_000, 2_000_000])
    parser.add_argument("--store", choices=["sqlite", "redis"], nargs="+", default=["sqlite", "redis"])
    parser.add_argument("--job", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.job:
        job = arguments.job
        print(json.dumps(asdict(measure(Path(job["rows_dir"]), Path(job["home"]), job["url"], job["num_rows"]))))
        return 0
    found = [measure_apart(rows, store) for store in arguments.store for rows in arguments.rows]
    growths = {
        store: max(peaks) / min(peaks) - 1
        for store in arguments.store
        if (peaks := [one.peak_mb for one in found if one.store == store])
    }
    passed = max(one.peak_mb for one in found) <= LIMIT_MB and max(growths.values()) <= MOST_GROWTH
    document = {"measurements": [asdict(one) for one in found], "growth": growths, "passed": passed}
    print(json.dumps(document, indent=2))
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
