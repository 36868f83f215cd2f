"""Who took what, and when, as flat arrays: millions of events in a few bytes each.

Shapes: I items, U users, E events of all users, T taken items of all users, B users of a batch, L events of one
history, P places of a padded batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy import sparse

from launchyard.data.manifest import SplitName
from launchyard.errors import DataError

ITEMS_NAME = "items.parquet"


@dataclass(frozen=True)
class History:
    """One user's events, oldest first, as they are known at one moment."""

    items_L: NDArray[np.int32]
    """Positions in the catalogue; items outside the catalogue are left out."""
    times_L: NDArray[np.float64]
    """Seconds since 1970."""
    weights_L: NDArray[np.float32]
    time: float
    """The moment of the recommendation."""
    user: str | None = None
    """Pseudonym, for models that learn something about single users."""


@dataclass(frozen=True)
class ItemVocabulary:
    """The items that can be recommended; an item's position is its number everywhere."""

    items: tuple[str, ...]
    num_events_I: NDArray[np.int64]
    """Training events of each item."""

    def find_positions(self, items: pa.Array | pa.ChunkedArray) -> NDArray[np.int32]:
        """Return the position of each item; -1 for one that is not in the catalogue."""
        found = pc.index_in(items.cast(pa.string()), pa.array(self.items, pa.string()))
        positions: NDArray[np.int32] = found.fill_null(-1).to_numpy()
        return positions

    def score_popularity(self) -> NDArray[np.float32]:
        """Return the score of each item for somebody without a history: ln(events + 1), most popular first."""
        return np.log1p(self.num_events_I).astype(np.float32)


@dataclass(frozen=True)
class Events:
    """The histories of users, one after another, each oldest first."""

    users: tuple[str, ...]
    starts_U: NDArray[np.int64]
    """Where each user's events start, and at last where they end: one entry more than users."""
    items_E: NDArray[np.int32]
    times_E: NDArray[np.float64]
    weights_E: NDArray[np.float32]

    def count_events(self) -> NDArray[np.int64]:
        """Number of events of each user."""
        return np.diff(self.starts_U)

    def repeat_users(self) -> NDArray[np.int32]:
        """Number of the user of each event."""
        return np.repeat(np.arange(len(self.users), dtype=np.int32), self.count_events())


@dataclass(frozen=True)
class HeldOut:
    """The rows of a held-out split: what was known of a user, and what the user then took."""

    events: Events
    time_U: NDArray[np.float64]
    """The moment of each recommendation."""
    truth: tuple[NDArray[np.int32], ...]
    """What each user took; -1 is an item outside the catalogue."""

    def get_history(self, row: int) -> History:
        """Return what was known in one row."""
        part = slice(self.events.starts_U[row], self.events.starts_U[row + 1])
        return History(
            items_L=self.events.items_E[part],
            times_L=self.events.times_E[part],
            weights_L=self.events.weights_E[part],
            time=float(self.time_U[row]),
            user=self.events.users[row],
        )

    def get_histories(self, rows: Sequence[int] | NDArray[np.intp] | None = None) -> list[History]:
        """Return what was known in each of ``rows``, or in all."""
        return [self.get_history(int(row)) for row in (range(len(self.truth)) if rows is None else rows)]


def read_catalogue(dataset_dir: Path) -> ItemVocabulary:
    """Return the catalogue of a prepared data set.

    Raises:
        DataError: it is empty, or lists an item twice.
    """
    table = pq.read_table(dataset_dir / ITEMS_NAME, columns=["item", "num_events"])
    items = tuple(table["item"].to_pylist())
    if not items:
        raise DataError(f"{dataset_dir / ITEMS_NAME}: the catalogue is empty. Prepare data that names items.")
    if len(set(items)) < len(items):
        raise DataError(f"{dataset_dir / ITEMS_NAME}: the catalogue lists an item twice. Prepare the data anew.")
    return ItemVocabulary(items, table["num_events"].to_numpy().astype(np.int64))


def read_events(dataset_dir: Path, catalogue: ItemVocabulary) -> Events:
    """Return the training events of a prepared data set, without those of items outside the catalogue.

    Raises:
        DataError: no event is left.
    """
    path = dataset_dir / "train.parquet"
    # Ids stay dictionaries: each distinct one is held and looked up once, however many events name it.
    names = ["user", "item"]
    table = pq.read_table(path, columns=[*names, "timestamp", "weight"], read_dictionary=names)
    user_names, users_E = _decode(table["user"])
    item_names, codes_E = _decode(table["item"])
    items_E = catalogue.find_positions(item_names)[codes_E] if len(codes_E) else np.empty(0, np.int32)
    known_E = items_E >= 0
    if not known_E.any():
        raise DataError(f"{path}: no event of an item in the catalogue, of {len(codes_E)}. Prepare other data.")
    users_E, items_E = users_E[known_E], items_E[known_E]
    bounds = np.flatnonzero(np.diff(users_E)) + 1
    starts_U = np.concatenate([[0], bounds, [len(users_E)]]).astype(np.int64)
    return Events(
        users=tuple(user_names.take(pa.array(users_E[starts_U[:-1]])).to_pylist()),
        starts_U=starts_U,
        items_E=items_E,
        times_E=table["timestamp"].to_numpy()[known_E],
        weights_E=table["weight"].to_numpy()[known_E],
    )


def read_held_out(dataset_dir: Path, split: SplitName, catalogue: ItemVocabulary, max_history: int) -> HeldOut:
    """Return the rows of a held-out split of a prepared data set, in their published order."""
    table = pq.read_table(dataset_dir / f"{split}.parquet", columns=["user", "events", "items", "time"])
    return collect_held_out(table, catalogue, max_history)


def collect_held_out(table: pa.Table, catalogue: ItemVocabulary, max_history: int) -> HeldOut:
    """Return the held-out rows of a table with the columns ``user``, ``events``, ``items`` and ``time``.

    Of each user the newest ``max_history`` events are taken, which is what a model looks at.
    """
    events = _take_newest(table["events"].combine_chunks(), max_history)
    flat = events.flatten()
    items_E = catalogue.find_positions(flat.field("item"))
    known_E = items_E >= 0
    # known_before[e]: how many of the first e events are of known items.
    known_before = np.concatenate([[0], np.cumsum(known_E)])
    lengths_U = pc.list_value_length(events).fill_null(0).to_numpy()
    held = Events(
        users=tuple(table["user"].to_pylist()),
        starts_U=known_before[np.concatenate([[0], np.cumsum(lengths_U)])].astype(np.int64),
        items_E=items_E[known_E],
        times_E=flat.field("timestamp").to_numpy(zero_copy_only=False)[known_E],
        weights_E=flat.field("weight").to_numpy(zero_copy_only=False)[known_E].astype(np.float32),
    )
    taken = table["items"].combine_chunks()
    ends = np.cumsum(pc.list_value_length(taken).to_numpy())
    truth = tuple(np.split(catalogue.find_positions(taken.flatten()), ends[:-1])) if len(ends) else ()
    return HeldOut(events=held, time_U=table["time"].to_numpy().astype(np.float64), truth=truth)


def _take_newest(lists: pa.ListArray, count: int) -> pa.ListArray:
    """Return the last ``count`` elements of each list."""
    lengths_U = pc.list_value_length(lists).fill_null(0).to_numpy()
    kept_U = np.minimum(lengths_U, count)
    ends_U = np.cumsum(lengths_U)
    places = [np.arange(end - kept, end) for end, kept in zip(ends_U, kept_U, strict=True)]
    flat = lists.flatten().take(pa.array(np.concatenate([np.empty(0, np.int64), *places]).astype(np.int64)))
    return pa.ListArray.from_arrays(pa.array(np.r_[0, np.cumsum(kept_U)].astype(np.int32)), flat)


def join_histories(histories: Sequence[History]) -> Events:
    """Return the events of several histories, one after another; a nameless user is ''."""
    return Events(
        users=tuple(history.user or "" for history in histories),
        starts_U=np.cumsum([0, *(len(history.items_L) for history in histories)]).astype(np.int64),
        items_E=np.concatenate([history.items_L for history in histories]),
        times_E=np.concatenate([history.times_L for history in histories]),
        weights_E=np.concatenate([history.weights_L for history in histories]),
    )


def build_interactions(events: Events, num_items: int) -> sparse.csr_array:
    """Return a user-item matrix; an item that a user took several times has the largest of its weights."""
    keys_E = events.repeat_users().astype(np.int64) * num_items + events.items_E
    order_E = np.lexsort((-events.weights_E, keys_E))
    keys, first = np.unique(keys_E[order_E], return_index=True)
    values = events.weights_E[order_E][first].astype(np.float64)
    return sparse.csr_array((values, (keys // num_items, keys % num_items)), shape=(len(events.users), num_items))


def pad_newest(events: Events, rows_B: NDArray[np.intp], max_length: int) -> tuple[NDArray[np.int32], NDArray[np.intp]]:
    """Return the newest items of some users, oldest first and filled up with 0 at the end, and how many there are.

    Only the newest ``max_length`` events are touched, however many a user has.

    Returns:
        ``items_BP`` and ``lengths_B``; P is the largest length, at least 1.
    """
    lengths_B = np.minimum((events.starts_U[rows_B + 1] - events.starts_U[rows_B]), max_length)
    places_P = np.arange(max(int(lengths_B.max(initial=0)), 1))
    filled_BP = places_P < lengths_B[:, None]
    items_BP = np.zeros(filled_BP.shape, dtype=np.int32)
    index_BP = (events.starts_U[rows_B + 1] - lengths_B)[:, None] + places_P
    items_BP[filled_BP] = events.items_E[index_BP[filled_BP]]
    return items_BP, lengths_B


def _decode(column: pa.ChunkedArray) -> tuple[pa.Array, NDArray[np.int32]]:
    """Return the distinct values of a dictionary column and the number of each row's value among them."""
    if not column.num_chunks:
        return pa.array([], pa.string()), np.empty(0, np.int32)
    merged = column.unify_dictionaries().combine_chunks()
    chunk = merged.chunk(0) if isinstance(merged, pa.ChunkedArray) else merged
    codes: NDArray[np.int32] = chunk.indices.to_numpy()
    return chunk.dictionary, codes
