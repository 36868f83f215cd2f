"""What the contract test needs to know of recommendation: a product that trains in a second, and its events."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from launchyard.contract.predictor import Predictor
from launchyard.contract.rows import Row
from launchyard.data.prepare import prepare_dataset
from launchyard.data.values.columns import ROW_NUMBER
from launchyard.settings import Settings
from tiny_interactions import TASTES, make_spec, write_sources

__all__ = ["BAD_INPUTS", "INPUTS", "SOURCE", "SPEC", "parse_source_row", "write_base", "write_dataset"]

SPEC = make_spec(serve={"rules": {"max_per_category": 8}})
FIRST = TASTES["drama"][:3]
INPUTS: list[Any] = [
    {"time": 1_700_000_000},
    {"events": [{"item": FIRST[0], "timestamp": 1_690_000_000}], "time": 1_700_000_000},
    {
        "user": 7,
        "events": [{"item": item, "timestamp": "2023-07-22T04:26:40Z"} for item in FIRST],
        "k": 5,
        "time": 1_700_000_000_000,
    },
    {"events": [{"item": "gone", "timestamp": 1}], "time": 1_700_000_000, "context": {"device": "phone"}},
    {"filters": {"categories": ["comedy"], "exclude": [TASTES["comedy"][0]]}, "time": 1_700_000_000},
]
"""What serving is sent, from nothing known to much."""
BAD_INPUTS: dict[str, Any] = {
    "empty": {"user": ""},
    "huge": {"events": [{"item": "1"}] * 100_000},
    "wrong type": 3,
    "too many": {"k": 100_000},
    "no time": {"time": "yesterday"},
    "unknown context": {"context": {"mood": "good"}},
    "unknown key": {"usr": "7"},
}
SOURCE = pa.table(
    {
        "who": ["7", "7", "8"],
        "what": [FIRST[0], FIRST[1], "  9 "],
        "when": ["1690000000", "1690000000000", "2023-07-22T04:26:40Z"],
        "did": ["view", "buy", None],
        "stars": [1.0, 5.0, 2.5],
        "device": ["phone", "tv", "phone"],
        ROW_NUMBER: [1, 2, 3],
    }
)
"""Events as rows of the source that training reads."""


def parse_source_row(predictor: Predictor, raw: dict[str, Any]) -> Row:
    """Return the event that serving makes of what a row of the source says."""
    event = {"item": raw["what"], "timestamp": raw["when"], "event": raw["did"], "weight": raw["stars"]}
    (parsed,) = predictor.parse({"events": [event]})["events"]
    found: Row = parsed
    return found


def write_dataset(folder: Path) -> Path:
    """Prepare the events of users with planted tastes."""
    with tempfile.TemporaryDirectory() as sources:
        write_sources(Path(sources))
        settings = Settings(home=Path(sources) / "home")
        prepare_dataset(SPEC, settings, base_dir=Path(sources), output_dir=folder)
    return folder


write_base: Callable[[Path], Path | None] = lambda _folder: None  # noqa: E731 - nothing is started from
