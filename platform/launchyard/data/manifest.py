"""A prepared data set on disk: three parquet files and the manifest that says what they are.

    dataset.json  train.parquet  validation.parquet  test.parquet

Rows hold the recipe's example columns, the slice columns and ``row_id``, the hex digest of a row's content.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from launchyard.errors import DataError
from launchyard.stored import Stored

MANIFEST_NAME = "dataset.json"
SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")


class SourceRecord(Stored):
    """One source that was read."""

    uri: str
    sha256: str = Field(description="Digest of the bytes (of the listing for a folder, of the rows for a query).")
    size_bytes: int
    licence: str | None = Field(None, description="As the carrier declares it, when it does.")


class CheckResult(Stored):
    """One quality check and how it came out."""

    name: str
    rule: str = Field(description="What was asked for, such as 'at most 0.1'.")
    value: float
    passed: bool
    detail: str = ""


class ColumnProfile(Stored):
    """What a column of the examples holds: rows and nulls of all that was read, the rest of the rows in the splits."""

    name: str
    type: str
    num_rows: int
    num_nulls: int
    num_distinct: int = Field(description="Exact up to 8,192, then within about 1 %.")
    lengths: dict[str, float] = Field({}, description="Quantiles (p0 p50 p95 p100) of the text length in characters.")
    histogram: dict[str, int] = Field({}, description="Commonest values, or bins of the length, and their counts.")


class DatasetManifest(Stored):
    """What was prepared, from what, and how it was checked."""

    schema_version: int = 1
    product: str
    kind: str
    fingerprint: str = Field(description="Digest of all example rows: same rows, same value on any machine.")
    split_hash: str = Field(description="Digest of which row is in which split.")
    num_rows: dict[SplitName, int]
    labels: tuple[str, ...] = Field((), description="All labels, sorted; a label's position is its class number.")
    label_counts: dict[SplitName, dict[str, int]] = Field({}, description="Rows of each label in each split.")
    dropped: dict[str, int] = Field(
        {}, description="Reason -> rows left out, such as exact_duplicate, null, near_duplicate."
    )
    redactions: dict[str, int] = Field({}, description="Pattern -> replacements made.")
    sources: tuple[SourceRecord, ...]
    checks: tuple[CheckResult, ...]
    profile: tuple[ColumnProfile, ...]
    warnings: tuple[str, ...] = ()


def load_manifest(dataset_dir: Path) -> DatasetManifest:
    """Return the manifest of a prepared data set.

    Raises:
        DataError: the folder holds none.
    """
    path = dataset_dir / MANIFEST_NAME
    if not path.is_file():
        raise DataError(f"{dataset_dir}: no prepared data set here. Run the prepare step first.")
    return DatasetManifest.model_validate_json(path.read_text(encoding="utf-8"))


def read_split(dataset_dir: Path, split: SplitName) -> pa.Table:
    """Return the rows of one split, in their published order."""
    return pq.read_table(dataset_dir / f"{split}.parquet", memory_map=True)
