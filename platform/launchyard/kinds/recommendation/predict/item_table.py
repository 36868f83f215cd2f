"""The catalogue as serving holds it: what is known of each item, by position, and which may be shown.

Array legend: I items.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from unicodedata import normalize as normalize_to

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from launchyard.data.values.canonical import format_id
from launchyard.errors import BundleError
from launchyard.kinds.recommendation.data.profiles import ItemFacts, Profile

ITEMS_NAME = "items.parquet"


@dataclass(frozen=True)
class ItemTable:
    """Items in catalogue order, most popular first."""

    facts: ItemFacts
    titles: Sequence[str]
    times_I: NDArray[np.float64]
    """When an item came out, seconds since 1970; NaN where unknown."""
    num_events_I: NDArray[np.int64]
    """Training events."""

    @classmethod
    def load(cls, folder: Path) -> ItemTable:
        """Return the catalogue in ``items.parquet`` of a folder.

        Raises:
            BundleError: it is missing or damaged.
        """
        try:
            table = pq.read_table(folder / ITEMS_NAME)
        except (OSError, pa.ArrowInvalid) as err:
            raise BundleError(f"{folder / ITEMS_NAME}: cannot be read: {err}. Evaluate the model again.") from err
        return cls.read(table)

    @classmethod
    def read(cls, table: pa.Table) -> ItemTable:
        """Return the catalogue in a table."""
        vectors = table["vector"].combine_chunks()
        facts = ItemFacts(
            ids=table["item"].to_pylist(),
            categories=table["categories"].to_pylist(),
            prices_I=table["price"].to_numpy(),
            vectors_IV=np.asarray(vectors.flatten(), dtype=np.float32).reshape(table.num_rows, -1),
        )
        return cls(facts, table["title"].to_pylist(), table["time"].to_numpy(), table["num_events"].to_numpy())

    @cached_property
    def position(self) -> dict[str, int]:
        """Item id -> its place in the catalogue."""
        own = {item: place for place, item in enumerate(self.facts.ids)}
        # An older catalogue may hold ids in the form that its file had.
        return {format_id(item) or item: place for item, place in own.items()} | own

    @cached_property
    def category_names(self) -> dict[str, int]:
        """Category -> its column in :attr:`category_matrix`, in alphabetical order."""
        names = sorted({name for found in self.facts.categories for name in found})
        return {name: column for column, name in enumerate(names)}

    @cached_property
    def category_codes(self) -> NDArray[np.int32]:
        """Columns of each item's categories, one row an item; what is left of a row is filled with their number."""
        lengths_I = [len(names) for names in self.facts.categories]
        width = max(lengths_I, default=0)
        codes = np.full((len(self.titles), max(width, 1)), len(self.category_names), dtype=np.int32)
        for place, names in enumerate(self.facts.categories):
            codes[place, : len(names)] = [self.category_names[name] for name in names]
        return codes

    @cached_property
    def _members(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Positions of the items of all categories, one category after the other, and where each begins."""
        places, columns = np.nonzero(self.category_codes < len(self.category_names))
        codes = self.category_codes[places, columns]
        order = np.argsort(codes, kind="stable")
        return places[order], np.searchsorted(codes[order], np.arange(len(self.category_names) + 1))

    def list_members(self, category: str) -> NDArray[np.intp]:
        """Return the positions of the items of a category; none for one that no item is of."""
        column = self.category_names.get(category)
        if column is None:
            # An older catalogue may hold accents as its file had them.
            column = self.category_names.get(normalize_to("NFD", category))
        if column is None:
            return np.empty(0, dtype=np.intp)
        places, starts = self._members
        return places[starts[column] : starts[column + 1]]

    def match_categories(
        self, places: NDArray[np.intp], counts: Mapping[str, int]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return the mean share of some items' categories in a user's counts, and whether the favourite is among them.

        Args:
            places: Positions of the items.
            counts: Category -> events of the user.
        """
        shares = np.zeros(len(self.category_names) + 1)
        total = max(sum(counts.values()), 1)
        for name, count in counts.items():
            if name in self.category_names:
                shares[self.category_names[name]] = count / total
        codes = self.category_codes[places]
        is_category = codes < len(self.category_names)
        means = shares[codes].sum(axis=1) / np.maximum(is_category.sum(axis=1), 1)
        favourite = self.category_names.get(max(counts, key=lambda name: counts[name], default=""), -1)
        return means, (codes == favourite).any(axis=1)

    def find(self, items: Sequence[str]) -> list[int]:
        """Return the positions of those of ``items`` that are in the catalogue."""
        return [place for item in items if (place := self.position.get(item)) is not None]

    def extend(self, profile: Profile, events: Sequence[Mapping[str, Any]]) -> int:
        """Add events, oldest first, to a profile and return how many were left out: the catalogue lacks their items."""
        inside = [(place, event) for event in events if (place := self.position.get(event["item"])) is not None]
        profile.add(
            [place for place, _ in inside],
            [float(event["timestamp"]) for _, event in inside],
            [float(event["weight"]) for _, event in inside],
            self.facts,
        )
        return len(events) - len(inside)

    def allow(self, filters: Mapping[str, Any] | None) -> NDArray[np.bool_] | None:
        """Return which items a request's filters leave; None when they leave all."""
        given = {name: value for name, value in (filters or {}).items() if value is not None}
        if not given:
            return None
        allowed_I = np.ones(len(self.titles), dtype=bool)
        if "categories" in given:
            of_category_I = np.zeros(len(self.titles), dtype=bool)
            for name in given["categories"]:
                of_category_I[self.list_members(name)] = True
            allowed_I &= of_category_I
        if "items" in given:
            only_I = np.zeros(len(self.titles), dtype=bool)
            only_I[self.find(given["items"])] = True
            allowed_I &= only_I
        # A price that nobody knows is neither above nor below a limit.
        with np.errstate(invalid="ignore"):
            if "min_price" in given:
                allowed_I &= self.facts.prices_I >= given["min_price"]
            if "max_price" in given:
                allowed_I &= self.facts.prices_I <= given["max_price"]
        if "exclude" in given:
            allowed_I[self.find(given["exclude"])] = False
        return allowed_I
