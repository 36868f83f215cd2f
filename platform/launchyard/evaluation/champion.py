"""The model that serves, and on which test rows another one may be compared with it.

A model that was trained on a test row knows its answer by heart. When the rows were divided anew since the champion
was trained (another seed, by time instead of at random, more rows), many test rows of today are such rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from launchyard.data.manifest import load_manifest
from launchyard.evaluation.training_rows import TrainedOn
from launchyard.spec.blocks import Product

FEWEST_ROWS = 30
"""Test rows that a comparison needs when others had to be left out of it."""


@dataclass(frozen=True)
class Champion:
    """The model that serves now."""

    version: int
    bundle_dir: Path
    trained_on: TrainedOn | None = None
    """None: it was registered before training rows were kept."""

    @property
    def name(self) -> str:
        """How gates call it."""
        return f"champion v{self.version}"


@dataclass(frozen=True)
class CommonRows:
    """The test rows that neither model was trained on."""

    places: NDArray[np.intp]
    """Where they are among the test rows; none where they are unknown or too few."""
    problem: str = ""
    """Why there are none, in words."""


def find_common_rows(champion: Champion, spec: Product, dataset_dir: Path, test: pa.Table) -> CommonRows:
    """Return the test rows of a data set that the champion was not trained on.

    All of them, when it was trained on the same division of the same rows.
    """
    ours, theirs = load_manifest(dataset_dir), load_manifest(champion.bundle_dir)
    if (ours.fingerprint, ours.split_hash) == (theirs.fingerprint, theirs.split_hash):
        return CommonRows(np.arange(test.num_rows))
    if champion.trained_on is None:
        return _find_none("which rows it was trained on is not known")
    is_unseen = champion.trained_on.find_unseen(spec, test)
    if is_unseen is None:
        return _find_none("its rows were masked or cleaned in another way")
    places = np.flatnonzero(is_unseen)
    if len(places) < min(FEWEST_ROWS, test.num_rows):
        return _find_none(f"only {len(places):,} of {test.num_rows:,} test rows are new to it")
    return CommonRows(places)


def _find_none(problem: str) -> CommonRows:
    return CommonRows(np.empty(0, dtype=np.intp), problem)
