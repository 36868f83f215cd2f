"""What the contract test needs to know of Acme's restored pictures."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from acme_kinds.restore.spec import Restore
from launchyard.contract.predictor import Predictor
from launchyard.contract.rows import Row
from launchyard.data.values.columns import ROW_NUMBER
from third_party import RESTORE, make_png, prepare_product

SPEC = Restore.from_document(RESTORE.document)
PICTURES = [make_png(np.random.default_rng(seed).random((side, side))) for seed, side in enumerate((8, 8, 16))]
INPUTS: list[Any] = [{"image": base64.b64encode(picture).decode()} for picture in PICTURES]
BAD_INPUTS: dict[str, Any] = {
    "empty": {"image": ""},
    "huge": {"image": "A" * 1_000_000},
    "wrong type": {"image": 3},
    "cut": {"image": base64.b64encode(PICTURES[0][:40]).decode()},
    "another type": {"image": base64.b64encode(b"GIF89a" * 9).decode()},
}
SOURCE = pa.table({"noisy": PICTURES, "clean": PICTURES, "digit": ["1", "2", "3"], ROW_NUMBER: [1, 2, 3]})


def write_dataset(folder: Path) -> Path:
    return prepare_product(RESTORE, SPEC, folder)


def write_base(_folder: Path) -> None:
    return None


def parse_source_row(predictor: Predictor, raw: dict[str, Any]) -> Row:
    row = predictor.parse({"image": raw["noisy"]})
    return {**row, "image": row["image"].data}
