"""What drift is measured from: how the rows looked that a model was chosen on.

baseline/samples.parquet   describe() of each validation row
baseline/histograms.json   the same, binned, feature by feature
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, RootModel

from launchyard.files.atomic import write_text
from launchyard.stored import Stored

FOLDER = "baseline"
SAMPLES_NAME = "samples.parquet"
HISTOGRAMS_NAME = "histograms.json"
NUM_BINS = 10
"""Deciles, as is usual for the population stability index."""


class Histogram(Stored):
    """The shares of one feature's values; they add up to 1."""

    edges: tuple[float, ...] = Field((), description="Inner bin edges of a number; bin i is (edges[i-1], edges[i]].")
    categories: tuple[str, ...] = Field((), description="Values of a text feature.")
    shares: tuple[float, ...] = Field(description="Share of the rows in each bin or category.")
    n: int = Field(description="Rows that were counted.")


class Histograms(RootModel[dict[str, Histogram]]):
    """Feature -> histogram; the content of ``baseline/histograms.json``."""


def make_histogram(values: Sequence[float | str]) -> Histogram:
    """Return the histogram of one feature: bins of equal mass for numbers, one category per text.

    >>> make_histogram(["latin", "cjk", "latin", "latin"]).shares
    (0.25, 0.75)
    """
    if isinstance(values[0], str):
        counts = Counter(map(str, values))
        categories = tuple(sorted(counts))
        shares = tuple(counts[category] / len(values) for category in categories)
        return Histogram(categories=categories, shares=shares, n=len(values))
    numbers = np.asarray(values, dtype=np.float64)
    edges = np.unique(np.quantile(numbers, np.linspace(0, 1, NUM_BINS + 1)[1:-1]))
    counts_K = np.bincount(np.searchsorted(edges, numbers, side="left"), minlength=len(edges) + 1)
    return Histogram(edges=tuple(edges.tolist()), shares=tuple((counts_K / len(numbers)).tolist()), n=len(numbers))


def write_baseline(bundle_dir: Path, described: Sequence[Mapping[str, float | str]]) -> None:
    """Write samples and histograms of ``described`` rows, all with the same features, into a bundle folder."""
    table = pa.Table.from_pylist([dict(row) for row in described])
    folder = bundle_dir / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, folder / SAMPLES_NAME)
    histograms = Histograms({name: make_histogram(table[name].to_pylist()) for name in table.column_names})
    write_text(folder / HISTOGRAMS_NAME, histograms.model_dump_json(indent=2) + "\n")
