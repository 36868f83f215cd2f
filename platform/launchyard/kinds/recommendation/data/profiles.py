"""What is known of a user and of an item at a moment: two feature sets, and how they are computed.

Everything in a profile adds up, so what a user did since it was written is added to it at the moment of a request.
Shares, means and windows are taken from it only then (:mod:`launchyard.kinds.recommendation.predict.rerank`). Nothing
in it depends on a model: the vectors of one version's items mean nothing to another, so tastes are summed up from the
newest items by the version that answers.

Array legend: L events of one user, I items, V numbers of an item's vector.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from itertools import pairwise
from typing import Any, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from launchyard.features.rows import make_schema
from launchyard.features.sets import DAY_S, ENTITY, TIMESTAMP, Feature, FeatureSet
from launchyard.kinds.recommendation.data.event_rows import Events
from launchyard.kinds.recommendation.spec import ITEM_STATISTICS, USER_PROFILE, Recommendation
from launchyard.spec.blocks import Product

BUCKET_DAYS = 60
"""Days of activity that are kept, one number each; windows reach no further back."""
VECTOR_SIZE = 16
"""Numbers in the vector of an item; see :mod:`launchyard.kinds.recommendation.train.vectors`."""
ROWS_AT_ONCE = 4096


def describe_features(spec: Product) -> tuple[FeatureSet, ...]:
    """Return the feature sets of a product: profiles, item statistics, and what the spec declares."""
    declared = cast(Recommendation, spec).features.sets
    return (_USER, _ITEM, *(found.describe(name) for name, found in declared.items()))


_USER = FeatureSet(
    name=USER_PROFILE,
    entity="user",
    description="What a user did: how much, when, which categories, and the newest items.",
    features=(
        Feature(name="num_events", type="integer", unit="events", description="All events.", default=0),
        Feature(name="first_event", type="number", unit="s since 1970", description="When the first event was."),
        Feature(name="last_event", type="number", unit="s since 1970", description="When the newest event was."),
        Feature(name="day_numbers", type="integers", unit="days since 1970", description="Days with events."),
        Feature(name="day_counts", type="integers", unit="events", description="Events of these days."),
        Feature(name="categories", type="texts", description="Categories of the items, the favourite first."),
        Feature(name="category_counts", type="integers", unit="events", description="Events of these categories."),
        Feature(name="price_sum", type="number", description="Prices of the items, added up.", default=0.0),
        Feature(name="price_count", type="integer", unit="events", description="Events with a price.", default=0),
        Feature(name="recent_items", type="texts", description="The newest items, oldest first."),
        Feature(name="recent_times", type="numbers", unit="s since 1970", description="When these were taken."),
        Feature(name="recent_weights", type="numbers", description="How much these count."),
    ),
)
_ITEM = FeatureSet(
    name=ITEM_STATISTICS,
    entity="item",
    description="What happened to an item until the end of a day.",
    features=(
        Feature(name="num_events", type="integer", unit="events", description="All events.", default=0),
        Feature(name="first_event", type="number", unit="s since 1970", description="When the first event was."),
        Feature(name="day_numbers", type="integers", unit="days since 1970", description="Days with events."),
        Feature(name="day_counts", type="integers", unit="events", description="Events of these days."),
    ),
)


@dataclass(frozen=True)
class ItemFacts:
    """What profiles need to know of the items, by catalogue position."""

    ids: Sequence[str]
    categories: Sequence[Sequence[str]]
    prices_I: NDArray[np.float64]
    """NaN where unknown."""
    vectors_IV: NDArray[np.float32]


@dataclass
class Profile:
    """A user's profile, open to further events; its fields are the features of ``user_profile``."""

    num_events: int
    first_event: float | None
    last_event: float | None
    days: dict[int, int]
    categories: dict[str, int]
    price_sum: float
    price_count: int
    recent_items: list[str]
    recent_times: list[float]
    recent_weights: list[float]
    _digest: bytes | None = field(default=None, init=False, repr=False, compare=False)

    @classmethod
    def start(cls) -> Profile:
        """Return the profile of somebody who did nothing yet."""
        return cls(0, None, None, {}, {}, 0.0, 0, [], [], [])

    @classmethod
    def read(cls, row: Mapping[str, Any]) -> Profile:
        """Return the profile in a row of ``user_profile``."""
        return cls(
            num_events=int(row["num_events"]),
            first_event=row["first_event"],
            last_event=row["last_event"],
            days=dict(zip(row["day_numbers"] or (), row["day_counts"] or (), strict=True)),
            categories=dict(zip(row["categories"] or (), row["category_counts"] or (), strict=True)),
            price_sum=float(row["price_sum"]),
            price_count=int(row["price_count"]),
            recent_items=list(row["recent_items"] or ()),
            recent_times=list(row["recent_times"] or ()),
            recent_weights=list(row["recent_weights"] or ()),
        )

    def add(self, positions: Sequence[int], times: Sequence[float], weights: Sequence[float], facts: ItemFacts) -> None:
        """Add events, oldest first; ``positions`` are places in the catalogue."""
        if not len(positions):
            return
        self._digest = None
        self.num_events += len(positions)
        self.first_event = times[0] if self.first_event is None else min(self.first_event, times[0])
        self.last_event = times[-1] if self.last_event is None else max(self.last_event, times[-1])
        for time in times:
            day = int(time // DAY_S)
            self.days[day] = self.days.get(day, 0) + 1
        for position in positions:
            for name in facts.categories[position]:
                self.categories[name] = self.categories.get(name, 0) + 1
        prices = facts.prices_I[list(positions)]
        self.price_sum += float(np.nansum(prices))
        self.price_count += int(np.isfinite(prices).sum())
        self.recent_items += [facts.ids[position] for position in positions]
        self.recent_times += times
        self.recent_weights += weights

    def sort_recent(self) -> None:
        """Put the newest items in order again after events that came late; what has one moment keeps its order."""
        times = self.recent_times
        if all(earlier <= later for earlier, later in pairwise(times)):
            return
        self._digest = None
        order = sorted(range(len(times)), key=lambda index: times[index])
        self.recent_items = [self.recent_items[index] for index in order]
        self.recent_times = [times[index] for index in order]
        self.recent_weights = [self.recent_weights[index] for index in order]

    def keep_newest(self, max_history: int) -> None:
        """Keep as many of the newest items as a row of ``user_profile`` does; what adds up stays."""
        if len(self.recent_items) > max_history:
            self._digest = None
            for kept in (self.recent_items, self.recent_times, self.recent_weights):
                del kept[:-max_history]

    def copy(self) -> Profile:
        """Return another profile of the same user, to which events can be added."""
        return replace(
            self,
            days=dict(self.days),
            categories=dict(self.categories),
            recent_items=list(self.recent_items),
            recent_times=list(self.recent_times),
            recent_weights=list(self.recent_weights),
        )

    @property
    def digest(self) -> bytes:
        """Sixteen bytes that are the same for those who did the same."""
        if self._digest is None:
            did = (self.recent_items, self.recent_times, self.recent_weights, self.num_events, self.last_event)
            self._digest = blake2b(repr(did).encode(), digest_size=16).digest()
        return self._digest

    def write(self, max_history: int) -> dict[str, Any]:
        """Return the row of ``user_profile``."""
        favourites = sorted(self.categories.items(), key=lambda found: (-found[1], found[0]))
        days = sorted(self.days.items())[-BUCKET_DAYS:]
        return {
            "num_events": self.num_events,
            "first_event": self.first_event,
            "last_event": self.last_event,
            "day_numbers": [day for day, _ in days],
            "day_counts": [count for _, count in days],
            "categories": [name for name, _ in favourites],
            "category_counts": [count for _, count in favourites],
            "price_sum": self.price_sum,
            "price_count": self.price_count,
            "recent_items": self.recent_items[-max_history:],
            "recent_times": self.recent_times[-max_history:],
            "recent_weights": self.recent_weights[-max_history:],
        }


def iter_profiles(events: Events, users: Sequence[str], facts: ItemFacts, max_history: int) -> Iterator[pa.Table]:
    """Yield the profiles of all users after their last event, in the order of these events.

    Args:
        events: Sorted by user, then time; items are catalogue positions.
        users: Pseudonym of each user.
        facts: What is known of the items.
        max_history: Newest events that are kept one by one.
    """
    starts_U = events.find_starts()
    schema = make_schema(_USER)
    last_U = events.times_N[starts_U[1:] - 1]
    order_U = np.argsort(last_U, kind="stable")
    for begin in range(0, len(order_U), ROWS_AT_ONCE):
        rows = []
        for user in order_U[begin : begin + ROWS_AT_ONCE].tolist():
            part = slice(starts_U[user], starts_U[user + 1])
            profile = Profile.start()
            items, times = events.items_N[part].tolist(), events.times_N[part].tolist()
            profile.add(items, times, events.weights_N[part].tolist(), facts)
            rows.append({ENTITY: users[user], TIMESTAMP: float(last_U[user]), **profile.write(max_history)})
        yield pa.Table.from_pylist(rows, schema=schema)


def iter_item_statistics(events: Events, item_ids: Sequence[str]) -> Iterator[pa.Table]:
    """Yield what was known of each item at the end of each day on which something happened to it, day by day.

    A row holds the counts of whole days alone and becomes known when its day is over, so nothing of the day on which
    a recommendation is made can get into it.
    """
    days_N = (events.times_N // DAY_S).astype(np.int64)
    order_N = np.lexsort((days_N, events.items_N))
    items_N, days_N = events.items_N[order_N], days_N[order_N]
    is_new_N = (
        np.r_[True, (items_N[1:] != items_N[:-1]) | (days_N[1:] != days_N[:-1])] if len(items_N) else np.array([])
    )
    starts_R = np.flatnonzero(is_new_N)
    items_R, days_R = items_N[starts_R], days_N[starts_R]
    counts_R = np.diff(np.r_[starts_R, len(items_N)])
    first_row_R = np.searchsorted(items_R, items_R)
    total_R = np.cumsum(counts_R) - np.r_[0, np.cumsum(counts_R)][first_row_R]
    first_time_I = np.full(len(item_ids), np.inf)
    np.minimum.at(first_time_I, events.items_N, events.times_N)
    schema = make_schema(_ITEM)
    by_day_R = np.argsort(days_R, kind="stable")
    ids = pa.array(item_ids, pa.string())
    for begin in range(0, len(by_day_R), ROWS_AT_ONCE):
        rows_B = by_day_R[begin : begin + ROWS_AT_ONCE]
        lengths_B = np.minimum(rows_B + 1 - first_row_R[rows_B], BUCKET_DAYS)
        ends_B = np.cumsum(lengths_B)
        # Of each row the newest days until its own: L places among all rows, one row's after the other's.
        places_L = np.arange(ends_B[-1]) + np.repeat(rows_B + 1 - ends_B, lengths_B)
        offsets = pa.array(np.r_[0, ends_B].astype(np.int32))
        columns = {
            ENTITY: ids.take(pa.array(items_R[rows_B])),
            TIMESTAMP: pa.array(((days_R[rows_B] + 1) * DAY_S).astype(np.float64)),
            "num_events": pa.array(total_R[rows_B]),
            "first_event": pa.array(first_time_I[items_R[rows_B]]),
            "day_numbers": pa.ListArray.from_arrays(offsets, pa.array(days_R[places_L])),
            "day_counts": pa.ListArray.from_arrays(offsets, pa.array(counts_R[places_L])),
        }
        yield pa.table(columns).select(schema.names).cast(schema)
