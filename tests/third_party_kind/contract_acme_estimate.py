"""What the contract test needs to know of Acme's estimates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from acme_kinds.estimate.spec import Estimate
from launchyard.contract.predictor import Predictor
from launchyard.contract.rows import Row
from launchyard.data.values.columns import ROW_NUMBER
from third_party import ESTIMATE, prepare_product

SPEC = Estimate.from_document(ESTIMATE.document)
NAMES = SPEC.data.features
USUAL = dict(zip(NAMES, (48.0, 1.0, 26.0, 95.0, 189.0, 115.0, 50.0, 4.0, 4.6, 91.0), strict=True))
INPUTS: list[Any] = [USUAL, USUAL | {"bmi": 40}, USUAL | {"age": -1e6, "patient": "p9"}, dict.fromkeys(NAMES, 0)]
BAD_INPUTS: dict[str, Any] = {
    "empty": {},
    "huge": USUAL | {"age": 10**400},
    "wrong type": 3,
    "no number": USUAL | {"age": "old"},
    "not finite": USUAL | {"age": float("nan")},
    "unknown key": USUAL | {"height": 180},
}
SOURCE = pa.table(
    {
        **{name: [float(row[name]) for row in INPUTS] for name in NAMES},
        "target": [150.0, 300.0, 20.0, 80.0],
        ROW_NUMBER: [1, 2, 3, 4],
    }
)


def write_dataset(folder: Path) -> Path:
    return prepare_product(ESTIMATE, SPEC, folder)


def write_base(_folder: Path) -> None:
    return None


def parse_source_row(predictor: Predictor, raw: dict[str, Any]) -> Row:
    return predictor.parse({name: raw[name] for name in NAMES})
