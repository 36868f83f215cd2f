"""What the contract test needs to know of text classification: a product that trains in a second, and its inputs."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from launchyard.contract.predictor import Predictor
from launchyard.contract.rows import Row
from tiny_base import write_base
from tiny_candidate import make_spec, write_dataset

__all__ = ["BAD_INPUTS", "INPUTS", "SOURCE", "SPEC", "parse_source_row", "write_base", "write_dataset"]

SPEC = make_spec(
    data={"source": "rows.csv", "text": "review", "redact": ["email", "phone"], "max_characters": 2000},
    serve={"runtime": "onnx-int8"},
)
INPUTS: list[Any] = [
    "a warm and funny film",
    {"text": "dull"},
    "boring plot , weak cast , and the story is a very tedious one with awful acting !",
    "Write to anna@example.com about the café",
    "Cafe\u0301 \u00a0 olé",
    "这部电影非常好看",
    "x" * 2000,
]
"""What serving is sent, from the shortest to the longest."""
BAD_INPUTS: dict[str, Any] = {"empty": "", "blank": " \n ", "huge": "x" * 1_000_000, "wrong type": 3, "no text": {}}
SOURCE = pa.table(
    {
        "review": [value if isinstance(value, str) else value["text"] for value in INPUTS],
        "label": ["positive", "negative"] * 3 + ["negative"],
        "country": ["fr"] * len(INPUTS),
    }
)
"""The same inputs as rows of the source that training reads."""


def parse_source_row(predictor: Predictor, raw: dict[str, Any]) -> Row:
    """Return the row that serving makes of what a row of the source says."""
    return predictor.parse(raw["review"])
