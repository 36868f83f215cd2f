"""A feature set, rows of it, and a real Redis, for everything that tests features."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from launchyard.features.rows import make_schema
from launchyard.features.sets import Feature, FeatureSet

PRODUCT = "shop"
TTL_S = 100.0
PROFILE = FeatureSet(
    name="user_profile",
    entity="user",
    ttl_s=TTL_S,
    description="What a user did.",
    features=(
        Feature(name="num_events", type="integer", unit="events", default=0),
        Feature(name="mean_price", type="number", unit="EUR"),
        Feature(name="is_member", type="boolean"),
        Feature(name="favourite", type="text"),
        Feature(name="days", type="integers", unit="days since 1970"),
        Feature(name="genres", type="texts"),
        Feature(name="taste", type="numbers", length=2),
    ),
)
NAMES = tuple(feature.name for feature in PROFILE.features)
BIG = 2**60 + 1
"""An integer that a float cannot hold."""

Sample = tuple[str, float, Sequence[Any]]
"""Entity, time in seconds, and the values of PROFILE's features."""

SAMPLES: tuple[Sample, ...] = (
    ("anna", 10.0, (1, 9.5, True, "drama", [1], ["drama"], [0.5, 1.0])),
    ("ben", 20.5, (None, 2.0, False, "war", [], [], [3.0, 4.0])),
    ("anna", 30.25, (BIG, 7.25, False, "喜剧", [1, 2], ["drama", "喜剧"], [1.0, 2.0])),
    ("cem", 40.125, (4, None, None, None, None, None, None)),
)


def write_rows(folder: Path, samples: Sequence[Sample] = SAMPLES, feature_set: FeatureSet = PROFILE) -> Path:
    """Write the rows of a set as preparation does; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [feature.name for feature in feature_set.features]
    rows = [
        {"entity": entity, "timestamp": at, **dict(zip(names, values, strict=True))} for entity, at, values in samples
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=make_schema(feature_set)), folder / f"{feature_set.name}.parquet")
    return folder


@dataclass
class RedisServer:
    """A Redis on this machine that keeps nothing on disk, so that a stop loses all it holds."""

    folder: Path
    port: int = field(init=False)
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it, on the same port as before, and wait until it answers."""
        program = shutil.which("redis-server")
        if program is None:
            pytest.skip("redis-server is not installed. Run: make system-deps")
        options = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(self.folder)]
        command = [program, "--port", str(self.port), *options]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"redis-server on port {self.port} did not start")

    def stop(self) -> None:
        """Stop it; what it held is lost."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(timeout=30)
            self.process = None

    @contextmanager
    def silenced(self) -> Iterator[None]:
        """Keep it from answering, connections stay open."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=0.2) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False
