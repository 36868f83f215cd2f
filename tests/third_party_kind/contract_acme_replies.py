"""What the contract test needs to know of Acme's replies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from acme_kinds.replies.spec import Replies
from launchyard.contract.predictor import Predictor
from launchyard.contract.rows import Row
from launchyard.data.values.columns import ROW_NUMBER
from third_party import REPLIES, prepare_product

SPEC = Replies.from_document(REPLIES.document)
INPUTS: list[Any] = [
    "begin",
    {"question": "What is train.batch_size?"},
    {"question": "Explain data.split to me, please.", "customer": "c1"},
    "Write to anna@example.com about évaluation",
    "zzz",
    "这是什么？",
    "x" * 2000,
]
BAD_INPUTS: dict[str, Any] = {"empty": "", "huge": "x" * 100_000, "wrong type": 3, "unknown key": {"q": "What?"}}
SOURCE = pa.table(
    {
        "question": [value if isinstance(value, str) else value["question"] for value in INPUTS],
        "reply": ["Rows of one step."] * len(INPUTS),
        ROW_NUMBER: list(range(1, len(INPUTS) + 1)),
    }
)


def write_dataset(folder: Path) -> Path:
    return prepare_product(REPLIES, SPEC, folder)


def write_base(_folder: Path) -> None:
    return None


def parse_source_row(predictor: Predictor, raw: dict[str, Any]) -> Row:
    return predictor.parse(raw["question"])
