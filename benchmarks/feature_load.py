"""What the feature benchmarks share: synthetic users with 20 features, and a Redis on this machine."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from launchyard.adapters.feast.store import FeatureStore
from launchyard.features.rows import make_schema
from launchyard.features.sets import Feature, FeatureSet
from launchyard.settings import Settings

BATCH_ROWS = 20_000
SETS = (
    FeatureSet(
        name="profile",
        entity="user",
        ttl_s=30 * 86_400,
        features=(
            *(Feature(name=f"number_{n}", type="number") for n in range(8)),
            *(Feature(name=f"count_{n}", type="integer") for n in range(6)),
            *(Feature(name=f"name_{n}", type="text") for n in range(3)),
            Feature(name="days", type="integers"),
            Feature(name="day_counts", type="integers"),
            Feature(name="taste", type="numbers", length=16),
        ),
    ),
)


def write_users(path: Path, num_rows: int) -> None:
    """Write one row for each of ``num_rows`` users, in time order, up to now."""
    random = np.random.default_rng(7)
    schema = make_schema(SETS[0])
    newest = time.time()
    path.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, num_rows, BATCH_ROWS):
            size = min(BATCH_ROWS, num_rows - start)
            rows = np.arange(start, start + size)
            columns = [pa.array([f"{row:032x}" for row in rows.tolist()]), pa.array(newest - num_rows + rows)]
            columns += [pa.array(random.random(size)) for _ in range(8)]
            columns += [pa.array(random.integers(0, 1000, size)) for _ in range(6)]
            columns += [pa.array([f"genre {n}" for n in random.integers(0, 50, size).tolist()]) for _ in range(3)]
            columns += [pa.array(random.integers(0, 1000, (size, 5)).tolist()) for _ in range(2)]
            columns += [pa.array(random.random((size, 16)).tolist())]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))


def publish_users(settings: Settings, product: str, num_rows: int) -> None:
    """Publish users and bring them online."""
    rows_dir = settings.root / "rows"
    write_users(rows_dir / f"{SETS[0].name}.parquet", num_rows)
    store = FeatureStore(settings, product, SETS)
    store.publish(rows_dir)
    store.apply()
    store.materialize()
    store.close()


@contextmanager
def serving_redis(folder: Path) -> Iterator[str]:
    """Yield the URL of a Redis that keeps nothing on disk, and stop it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    options = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(folder)]
    with subprocess.Popen(["redis-server", "--port", str(port), *options], stdout=subprocess.DEVNULL) as server:
        try:
            _wait_for(port)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            server.kill()


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                if connection.recv(16).startswith(b"+PONG"):
                    return
        except ConnectionError:
            assert time.monotonic() < deadline, "redis-server did not start"
