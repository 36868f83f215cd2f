"""A tiny prepared data set of a recommender: cycles of items, each user walking one of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from launchyard.kinds.recommendation.spec import Recommendation

NUM_CYCLES = 4
CYCLE = 10
NUM_ITEMS = NUM_CYCLES * CYCLE
COLOURS = ("red", "green", "blue", "black")
HISTORY_TYPE = pa.list_(
    pa.struct([("item", pa.string()), ("timestamp", pa.float64()), ("event", pa.string()), ("weight", pa.float32())])
)
Walk = Sequence[int]


def make_walks(num_users: int = 80, *, seed: int = 0) -> list[list[int]]:
    """Return what each user takes, in order: steps along a cycle, so that the newest item says what comes next."""
    generator = np.random.default_rng(seed)
    walks = []
    for user in range(num_users):
        start, length = generator.integers(0, CYCLE), generator.integers(5, CYCLE - 1)
        walks.append([user % NUM_CYCLES * CYCLE + int(start + step) % CYCLE for step in range(length)])
    return walks


def write_walks(folder: Path, walks: Sequence[Walk], *, num_items: int = NUM_ITEMS) -> Path:
    """Write a prepared data set: of each walk the last item tests, the one before it validates."""
    folder.mkdir(parents=True)
    users = [f"{number:032x}" for number in range(len(walks))]
    counts = np.bincount([item for walk in walks for item in walk[:-2]], minlength=num_items)
    items = [f"i{number}" for number in range(num_items)]
    pq.write_table(
        pa.table(
            {
                "item": items,
                "title": [f"{COLOURS[number // CYCLE % NUM_CYCLES]} thing {number}" for number in range(num_items)],
                "text": pa.nulls(num_items, pa.string()),
                "categories": [[COLOURS[number // CYCLE % NUM_CYCLES]] for number in range(num_items)],
                "time": pa.nulls(num_items, pa.float64()),
                "price": pa.nulls(num_items, pa.float64()),
                "num_events": pa.array(counts, pa.int64()),
            }
        ),
        folder / "items.parquet",
    )
    events = [
        (user, item, step) for user, walk in zip(users, walks, strict=True) for step, item in enumerate(walk[:-2])
    ]
    pq.write_table(
        pa.table(
            {
                "user": [user for user, _, _ in events],
                "item": [f"i{item}" for _, item, _ in events],
                "timestamp": pa.array([float(step) for _, _, step in events], pa.float64()),
                "event": pa.nulls(len(events), pa.string()),
                "weight": pa.array(np.ones(len(events)), pa.float32()),
                "row_id": [str(number) for number in range(len(events))],
            }
        ),
        folder / "train.parquet",
    )
    for split, held in (("validation", -2), ("test", -1)):
        pq.write_table(_hold_out(users, walks, held), folder / f"{split}.parquet")
    return folder


def make_spec(architecture: str, **values: Any) -> Recommendation:
    """Return a spec; ``train__epochs=3`` and ``model__dim=8`` set one key."""
    spec: dict[str, Any] = {
        "api": "launchyard/v1",
        "product": "tiny",
        "kind": "recommendation",
        "data": {"source": "rows.csv"},
        "model": {"architecture": architecture},
    }
    if architecture in ("sasrec", "lightgcn", "content"):
        spec["train"] = {"epochs": 30, "batch_size": 32, "learning_rate": 1e-2, "precision": "fp32"}
    for name, value in values.items():
        block, _, key = name.partition("__")
        spec[block][key] = value
    return Recommendation.model_validate(spec)


def _hold_out(users: list[str], walks: Sequence[Walk], held: int) -> pa.Table:
    histories = [
        [
            {"item": f"i{item}", "timestamp": float(step), "event": None, "weight": 1.0}
            for step, item in enumerate(walk[:held])
        ]
        for walk in walks
    ]
    return pa.table(
        {
            "user": users,
            "events": pa.array(histories, HISTORY_TYPE),
            "items": [[f"i{walk[held]}"] for walk in walks],
            "time": pa.array([float(len(walk)) for walk in walks], pa.float64()),
            "k": pa.array([20] * len(walks), pa.int64()),
        }
    )
