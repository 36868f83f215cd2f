"""Peak memory and time of preparing a log of events, as parquet and as csv.

    python benchmarks/prepare_events.py --events 2000000 --forms parquet csv

Each measurement prepares the same generated log in a fresh process: 100,000 users, 20,000 items of uneven popularity, a
year of events. What is counted is the peak resident set of that process (VmHWM) above what it held when everything was
imported. ``digest`` is of all prepared files, so two versions of the code can be told to have written the same.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from launchyard.data.prepare import prepare_dataset
from launchyard.kind import load_part
from launchyard.kinds import get_kind
from launchyard.kinds.recommendation.spec import Recommendation
from launchyard.records.records import opening_records
from launchyard.settings import Settings

NUM_USERS, NUM_ITEMS, NUM_DAYS = 100_000, 20_000, 365
BATCH_ROWS = 100_000
START_S = 1_700_000_000
LIMIT_MB = 512


def write_events(folder: Path, num_events: int) -> None:
    """Write ``events.parquet`` and ``events.csv`` with the same events; items are taken as often as Zipf has it."""
    random = np.random.default_rng(7)
    shares_I = 1.0 / np.arange(10, NUM_ITEMS + 10)
    edges_I = np.cumsum(shares_I / shares_I.sum())
    schema = pa.schema([("user", pa.string()), ("item", pa.string()), ("timestamp", pa.int64())])
    with (
        pq.ParquetWriter(folder / "events.parquet", schema) as parquet,
        pa_csv.CSVWriter(folder / "events.csv", schema) as csv,
    ):
        for start in range(0, num_events, BATCH_ROWS):
            size = min(BATCH_ROWS, num_events - start)
            users = [f"customer-{number:07d}" for number in random.integers(0, NUM_USERS, size).tolist()]
            found = np.searchsorted(edges_I, random.random(size)).clip(max=NUM_ITEMS - 1)
            items = [f"product-{number:06d}" for number in found.tolist()]
            times = START_S + random.integers(0, NUM_DAYS * 86_400, size)
            table = pa.table([users, items, times], schema=schema)
            parquet.write_table(table)
            csv.write_table(table)


def prepare(form: str, folder: Path) -> None:
    """Prepare the generated log; runs in the measured process and prints what it took."""
    spec = Recommendation.model_validate(
        {
            "api": "launchyard/v1",
            "product": "memory",
            "kind": "recommendation",
            "data": {"source": f"events.{form}"},
            "model": {"architecture": "popularity"},
        }
    )
    load_part(str(get_kind(spec.kind).prepare))
    settings = Settings(home=folder / "home")
    with opening_records(settings) as records:
        records.get_signing_key()
    before_kb, started = _read_status("VmRSS"), time.perf_counter()
    manifest = prepare_dataset(spec, settings, base_dir=folder, output_dir=folder / f"out-{form}")
    seconds = time.perf_counter() - started
    peak_mb = (_read_status("VmHWM") - before_kb) / 1024
    report = {
        "form": form,
        "events": manifest.num_rows["train"] + 2 * manifest.num_rows["test"],
        "seconds": round(seconds, 1),
        "imported_mb": round(before_kb / 1024),
        "peak_mb": round(peak_mb),
        "fingerprint": manifest.fingerprint[:12],
        "digest": _digest(folder / f"out-{form}"),
    }
    print(json.dumps(report))


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.parquet")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def _read_status(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def main() -> int:
    """Measure all forms, print one JSON line each; 1 when one took more memory than promised."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--forms", nargs="+", choices=["parquet", "csv"], default=["parquet", "csv"])
    parser.add_argument("--child", nargs=2, metavar=("FORM", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        prepare(arguments.child[0], Path(arguments.child[1]))
        return 0
    holds = True
    with tempfile.TemporaryDirectory() as folder:
        write_events(Path(folder), arguments.events)
        for form in arguments.forms:
            command = [sys.executable, __file__, "--child", form, folder]
            line = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1]
            print(line, flush=True)
            holds &= json.loads(line)["peak_mb"] <= LIMIT_MB
    print(json.dumps({"limit_mb": LIMIT_MB, "holds": holds}))
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
