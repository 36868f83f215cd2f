"""Numbers about items that the spec declares, such as prices as they change, at any moment.

They lie in the bundle with the times at which they became known; at a moment counts the newest that is not after it
and has not expired, as in the feature store's point-in-time join.

Array legend: I items, R rows sorted by item and time, J features.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from launchyard.features.sets import ENTITY, TIMESTAMP, FeatureSet
from launchyard.files.atomic import write_text

NAMES_NAME = "declared.json"
ARRAYS_NAME = "declared.npz"
NUMERIC = ("number", "integer")
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class DeclaredSet:
    """The numbers of one set over time."""

    name: str
    features: tuple[str, ...]
    ttl_s: float | None
    starts_I: NDArray[np.int64]
    """Where an item's rows begin; one number more than items."""
    times_R: Floats
    values_JR: Floats
    """NaN where unknown."""

    def equals(self, other: DeclaredSet) -> bool:
        """Return whether another holds the same numbers."""
        return np.array_equal(self.values_JR, other.values_JR, equal_nan=True)

    @cached_property
    def _ranks(self) -> tuple[Floats, NDArray[np.int64]]:
        """All times in order, and item and place of each row's time among them as one ascending number."""
        times = np.unique(self.times_R)
        items_R = np.repeat(np.arange(len(self.starts_I) - 1), np.diff(self.starts_I))
        return times, items_R * (len(times) + 1) + np.searchsorted(times, self.times_R)

    def look_up(self, items: NDArray[np.intp], time: float) -> Floats:
        """Return the features (J, items) of some items at ``time``, seconds since 1970; NaN where unknown."""
        if not len(self.times_R):
            return np.full((len(self.features), len(items)), np.nan)
        times, keys_R = self._ranks
        known = np.searchsorted(times, time, side="right")
        rows = np.searchsorted(keys_R, items * (len(times) + 1) + known) - 1
        is_own = rows >= self.starts_I[items]
        if self.ttl_s is not None:
            is_own &= time - self.times_R[rows] <= self.ttl_s
        found: Floats = np.where(is_own, self.values_JR[:, np.maximum(rows, 0)], np.nan)
        return found


def list_numeric(sets: Sequence[FeatureSet]) -> Iterator[tuple[FeatureSet, tuple[str, ...]]]:
    """Yield each declared item set that holds numbers, with their names; the kind's own sets are not declared."""
    for found in sets:
        names = tuple(feature.name for feature in found.features if feature.type in NUMERIC)
        if found.entity == "item" and names:
            yield found, names


def read_declared(path: Path, found: FeatureSet, names: tuple[str, ...], items: Sequence[str]) -> DeclaredSet:
    """Return the numbers in the file of a set, by catalogue position; items outside the catalogue are left out."""
    table = pq.read_table(path, columns=[ENTITY, TIMESTAMP, *names])
    position = {item: place for place, item in enumerate(items)}
    places_N = np.array([position.get(item, -1) for item in table[ENTITY].to_pylist()], dtype=np.int64)
    times_N = table[TIMESTAMP].to_numpy()
    order_R = np.lexsort((times_N, places_N))
    order_R = order_R[places_N[order_R] >= 0]
    values_JN = np.stack([table[name].cast(pa.float64()).to_numpy() for name in names])
    starts_I = np.searchsorted(places_N[order_R], np.arange(len(items) + 1))
    return DeclaredSet(found.name, names, found.ttl_s, starts_I, times_N[order_R], values_JN[:, order_R])


def read_rows(found: FeatureSet, names: tuple[str, ...], rows: Sequence[Mapping[str, Any] | None]) -> DeclaredSet:
    """Return the numbers in online rows that hold now, one for each item in catalogue order."""
    values_JI = np.array(
        [[np.nan if row is None or row[name] is None else float(row[name]) for row in rows] for name in names]
    )
    # Known since ever: whatever moment is asked for, these are the values of now.
    return DeclaredSet(found.name, names, None, np.arange(len(rows) + 1), np.full(len(rows), -np.inf), values_JI)


def save_declared(sets: Sequence[DeclaredSet], folder: Path) -> None:
    """Write the sets as plain arrays and their names as JSON; nothing when there are none."""
    if not sets:
        return
    arrays: dict[str, NDArray[Any]] = {}
    for place, found in enumerate(sets):
        arrays |= {
            f"{place}-starts": found.starts_I,
            f"{place}-times": found.times_R,
            f"{place}-values": found.values_JR,
        }
    np.savez_compressed(folder / ARRAYS_NAME, allow_pickle=False, **arrays)
    names = [{"name": found.name, "features": found.features, "ttl_s": found.ttl_s} for found in sets]
    write_text(folder / NAMES_NAME, json.dumps(names) + "\n")


def load_declared(folder: Path) -> tuple[DeclaredSet, ...]:
    """Return what :func:`save_declared` wrote."""
    if not (folder / NAMES_NAME).is_file():
        return ()
    names = json.loads((folder / NAMES_NAME).read_text(encoding="utf-8"))
    with np.load(folder / ARRAYS_NAME, allow_pickle=False) as arrays:
        return tuple(
            DeclaredSet(
                found["name"],
                tuple(found["features"]),
                found["ttl_s"],
                *(arrays[f"{place}-{name}"] for name in ("starts", "times", "values")),
            )
            for place, found in enumerate(names)
        )


def name_features(sets: Sequence[DeclaredSet]) -> tuple[str, ...]:
    """Return the names of all numbers, as re-ranking knows them."""
    return tuple(f"{found.name}.{name}" for found in sets for name in found.features)
