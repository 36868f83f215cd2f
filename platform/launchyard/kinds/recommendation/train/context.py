"""What circumstances speak for an item: how much more often it is taken in them than else.

Array legend: I items, N events.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from launchyard.files.atomic import write_text

CONTEXT_NAME = "context.json"
ARRAYS_NAME = "context.npz"
MOST_VALUES = 50
"""Commonest values of a column that are learned from."""
MOST_ITEMS = 20_000
"""Most popular items that lifts are kept of; the others have none."""
PRIOR_EVENTS = 50.0
"""Events by which a value's share of an item is drawn to the share among all."""


@dataclass(frozen=True)
class ContextLifts:
    """Column -> value -> log of an item's share in this context over its share in all."""

    lifts: Mapping[str, Mapping[str, NDArray[np.float32]]]
    num_items: int

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that a request may give."""
        return tuple(self.lifts)

    def find(self, context: Mapping[str, str | None]) -> NDArray[np.float64] | None:
        """Return what a request's context adds to each item's log share; None when nothing is known of it."""
        found = [
            lift_I
            for name, value in context.items()
            if value is not None and (lift_I := self.lifts.get(name, {}).get(value)) is not None
        ]
        if not found:
            return None
        total_I = np.zeros(self.num_items)
        for lift_I in found:
            total_I[: len(lift_I)] += lift_I
        return total_I

    def save(self, folder: Path) -> None:
        """Write names and values as JSON, and the lifts as arrays if there are any."""
        arrays = {
            f"{row}-{place}": lift_I
            for row, values in enumerate(self.lifts.values())
            for place, lift_I in enumerate(values.values())
        }
        if arrays:
            np.savez(folder / ARRAYS_NAME, allow_pickle=False, **arrays)
        names = {name: list(values) for name, values in self.lifts.items()}
        write_text(folder / CONTEXT_NAME, json.dumps({"num_items": self.num_items, "values": names}) + "\n")

    @classmethod
    def load(cls, folder: Path) -> ContextLifts:
        """Return what :meth:`save` wrote."""
        document = json.loads((folder / CONTEXT_NAME).read_text(encoding="utf-8"))
        if not any(document["values"].values()):
            return cls({name: {} for name in document["values"]}, document["num_items"])
        with np.load(folder / ARRAYS_NAME, allow_pickle=False) as arrays:
            lifts = {
                name: {value: arrays[f"{row}-{place}"] for place, value in enumerate(values)}
                for row, (name, values) in enumerate(document["values"].items())
            }
        return cls(lifts, document["num_items"])


def learn_lifts(
    items_N: NDArray[np.int32], columns: Mapping[str, pa.Array | pa.ChunkedArray], num_items: int
) -> ContextLifts:
    """Return the lifts of each value of each context column over training events.

    Shares are smoothed towards the share among all events, so that a rare value says little.
    """
    kept = min(num_items, MOST_ITEMS)
    all_I = np.bincount(items_N, minlength=num_items)[:kept] + 0.5
    share_I = all_I / all_I.sum()
    lifts: dict[str, dict[str, NDArray[np.float32]]] = {}
    for name, values in columns.items():
        lifts[name] = {}
        texts = np.array(values.to_pylist(), dtype=object)
        for value in _list_commonest(texts):
            in_value_I = np.bincount(items_N[texts == value], minlength=num_items)[:kept]
            smoothed_I = (in_value_I + PRIOR_EVENTS * share_I) / (in_value_I.sum() + PRIOR_EVENTS)
            lifts[name][value] = np.log(smoothed_I / share_I).astype(np.float32)
    return ContextLifts(lifts, num_items)


def _list_commonest(texts: NDArray[np.object_]) -> Sequence[str]:
    names, counts = np.unique(texts[texts != None].astype(str), return_counts=True)  # noqa: E711 - elementwise
    return [str(name) for name in names[np.argsort(-counts, kind="stable")][:MOST_VALUES]]
