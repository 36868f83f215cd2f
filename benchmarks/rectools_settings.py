"""What both sides of the comparison with RecTools share: the settings of the trials, and records as JSON lines.

Needs numpy alone, so that the peer's environment can import it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np


def sample_setting(seed: int, trial: int, heads: int) -> dict[str, Any]:
    """Return the setting of one trial, the same whenever and wherever it is asked for."""
    rng = np.random.default_rng([seed, trial])
    return {
        "learning_rate": float(np.exp(rng.uniform(np.log(3e-4), np.log(1e-2)))),
        "dropout": float(rng.uniform(0.1, 0.6)),
        "dim": int(rng.choice([32, 64, 128])),
        "layers": int(rng.choice([1, 2, 3])),
        "length": int(rng.choice([50, 100, 200])),
        "batch_size": int(rng.choice([64, 128, 256])),
        "heads": heads,
    }


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the records of a file of JSON lines; a line that an interruption cut short is left out."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def add_line(path: Path, record: dict[str, Any]) -> None:
    """Append a record, after the last whole line."""
    whole = [json.dumps(known) + "\n" for known in read_lines(path)]
    path.write_text("".join([*whole, json.dumps(record) + "\n"]), encoding="utf-8")
