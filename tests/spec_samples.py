"""Specs that the spec and command line tests start from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MINIMAL: dict[str, Any] = {
    "api": "launchyard/v1",
    "product": "reviews",
    "kind": "text-classification",
    "data": {"source": "reviews.csv"},
    "model": {"base": "minilm"},
}


def write_spec(folder: Path, **changes: Any) -> Path:
    """Write the minimal spec with top-level blocks replaced, as JSON (which is YAML too); return its path."""
    path = folder / "product.yaml"
    path.write_text(json.dumps(MINIMAL | changes), encoding="utf-8")
    return path


def write_text(folder: Path, text: str) -> Path:
    """Write a spec file of this text; return its path."""
    path = folder / "product.yaml"
    path.write_text(text, encoding="utf-8")
    return path
