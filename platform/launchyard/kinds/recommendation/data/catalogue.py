"""What is known about items and users, read from their sources.

Array legend: I items.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from launchyard.data.intake import number_rows
from launchyard.data.values.columns import read_ids, read_numbers, read_text
from launchyard.data.values.keyed_columns import read_moment
from launchyard.errors import DataError
from launchyard.kinds.recommendation.data.recipe import read_short_ids
from launchyard.kinds.recommendation.spec import Items, Users
from launchyard.sources.forms.tables import iter_tables
from launchyard.sources.resolve import Fetched
from launchyard.text.normal_form import normalize

YEARS = (1000, 3000)
"""A time of an item in this range is a year, not a second of 1970."""


@dataclass
class Catalogue:
    """Items in the order of their source, each once."""

    ids: list[str] = field(default_factory=list)
    titles: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    categories: list[list[str]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    """When it came out, seconds since 1970; NaN where unknown."""
    prices: list[float] = field(default_factory=list)
    num_repeated: int = 0
    """Rows whose id was there already; the last one counts."""

    def add_unknown(self, ids: list[str]) -> None:
        """Add items of which nothing but the id is known."""
        self.ids += ids
        self.titles += ids
        self.texts += [""] * len(ids)
        self.categories += [[] for _ in ids]
        self.times += [np.nan] * len(ids)
        self.prices += [np.nan] * len(ids)

    def to_table(self, order_I: NDArray[np.intp], num_events_I: NDArray[np.int64]) -> pa.Table:
        """Return the items in a new order, with the training events of each (in the present order)."""
        table = pa.table(
            {
                "item": pa.array(self.ids, pa.string()),
                "title": pa.array(self.titles, pa.string()),
                "text": pa.array(self.texts, pa.string()),
                "categories": pa.array(self.categories, pa.list_(pa.string())),
                "time": pa.array(self.times, pa.float64(), from_pandas=True),
                "price": pa.array(self.prices, pa.float64(), from_pandas=True),
                "num_events": pa.array(num_events_I, pa.int64()),
            }
        )
        return table.take(pa.array(order_I))


def read_catalogue(fetched: Fetched, spec: Items) -> Catalogue:
    """Return the items of a source.

    Raises:
        DataError: there is none with an id, or a price cannot be read.
        SourceError: the source lacks a column, or is damaged.
    """
    named = (spec.id, spec.title, *spec.text, spec.categories, spec.time, spec.price)
    columns = tuple(dict.fromkeys(name for name in named if name is not None))
    catalogue = Catalogue()
    places: dict[str, int] = {}
    for table in number_rows(iter_tables(fetched, columns)):
        for row in _read_items(table, spec):
            place = places.setdefault(row[0], len(places))
            if place == len(catalogue.ids):
                catalogue.add_unknown([row[0]])
            else:
                catalogue.num_repeated += 1
            _, catalogue.titles[place], catalogue.texts[place], categories, time, price = row
            catalogue.categories[place], catalogue.times[place], catalogue.prices[place] = categories, time, price
    if not catalogue.ids:
        raise DataError(f"data.items: {fetched.record.uri} holds no item with an id. Check data.items.id.")
    return catalogue


def _read_items(table: pa.Table, spec: Items) -> list[tuple[str, str, str, list[str], float, float]]:
    """Return id, title, text, categories, time and price of each row that has an id."""
    ids = read_short_ids(table, spec.id, key="data.items.id").to_pylist()
    titles = _read_texts(table, spec.title, "data.items.title")
    parts = [_read_texts(table, name, "data.items.text") for name in spec.text]
    categories = _read_categories(table, spec)
    times = [read_release(text) for text in _read_texts(table, spec.time, "data.items.time")]
    prices = np.full(table.num_rows, np.nan)
    if spec.price is not None:
        prices = read_numbers(table, spec.price, key="data.items.price")
    return [
        (
            item,
            titles[row] or item,
            " ".join(text for part in parts if (text := part[row])),
            categories[row],
            times[row],
            float(prices[row]),
        )
        for row, item in enumerate(ids)
        if item is not None
    ]


def read_release(text: str | None) -> float:
    """Return the moment that an item came out, where a number such as 1995 is a year; NaN where nobody can tell.

    >>> read_release("1970"), read_release("2001-09-09T01:46:40Z"), read_release("unknown")
    (0.0, 1000000000.0, nan)
    """
    try:
        moment = read_moment(text or "")
    except ValueError:
        return math.nan
    is_year = YEARS[0] <= moment < YEARS[1]
    return datetime(int(moment), 1, 1, tzinfo=UTC).timestamp() if is_year else moment


def _read_categories(table: pa.Table, spec: Items) -> list[list[str]]:
    """Return the categories of each row: the elements of a list, or the parts of a text."""
    kind = None if spec.categories is None else table[spec.categories].type
    if kind is not None and (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        rows = table[spec.categories].cast(pa.list_(pa.string())).to_pylist()
        return [[normalize(name.strip()) for name in names or [] if name and name.strip()] for names in rows]
    joined = _read_texts(table, spec.categories, "data.items.categories")
    return [[name for name in normalize(text or "").split(spec.separator) if name] for text in joined]


def _read_texts(table: pa.Table, column: str | None, key: str) -> list[str | None]:
    if column is None:
        return [None] * table.num_rows
    return [text and text.strip() for text in read_text(table, column, key=key).to_pylist()]


def read_users(fetched: Fetched, spec: Users, pseudonymise: Callable[[str], str]) -> pa.Table:
    """Return ``user`` (a pseudonym) and the attributes of each user in a source, the last row of each counting.

    Raises:
        SourceError: the source lacks a column, or is damaged.
    """
    rows: dict[str, list[str | None]] = {}
    for table in number_rows(iter_tables(fetched, (spec.id, *spec.attributes))):
        ids = read_ids(table, spec.id, key="data.users.id").to_pylist()
        columns = [read_ids(table, name, key="data.users.attributes").to_pylist() for name in spec.attributes]
        for user, *values in zip(ids, *columns, strict=True):
            if user is not None:
                rows[pseudonymise(user)] = values
    attributes = {
        name: pa.array([values[place] for values in rows.values()], pa.string())
        for place, name in enumerate(spec.attributes)
    }
    return pa.table({"user": pa.array(list(rows), pa.string()), **attributes})
