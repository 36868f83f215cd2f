"""The home that ``golden/home-3fc2d5f/make.py`` wrote, and what the code of that commit answered from it."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from launchyard.bundle.self_test import find_difference
from launchyard.settings import Settings

FOLDER = Path(__file__).parent / "golden" / "home-3fc2d5f"
REVIEWS, FILMS = "tiny-reviews", "tiny-films"
PRODUCTS = (REVIEWS, FILMS)
VERSIONS = (1, 2)
SERVES = 2
"""Version of either product that served in the end."""
TOLERANCE = 1e-6


def unpack_home(folder: Path) -> Settings:
    """Return the settings of a copy of the home, in a folder where no path that it holds leads to it."""
    with tarfile.open(FOLDER / "home.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return Settings(home=folder / "home")


def read_document() -> dict[str, Any]:
    document: dict[str, Any] = json.loads((FOLDER / "answers.json").read_text(encoding="utf-8"))
    return document


def list_inputs(product: str) -> list[Any]:
    """Return what was asked, of both versions."""
    return [answer["input"] for answer in read_document()["versions"][product][str(SERVES)]]


def find_change(product: str, version: int, outputs: Sequence[Mapping[str, Any]]) -> str | None:
    """Return in words where explained answers to the inputs differ from those that a version gave then, or None."""
    then = [answer["output"] for answer in read_document()["versions"][product][str(version)]]
    now = [{name: value for name, value in output.items() if name != "id"} for output in outputs]
    return find_difference(then, now, TOLERANCE)
