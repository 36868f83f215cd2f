"""What a recommender knows while it serves: profiles and item statistics from the feature store, and events so far.

An answer waits for the store as long as ``features.timeout_ms`` says and no longer; what is missing then is stated in
its notes, and something lesser takes its place: the endpoint's own events for a profile, the bundle's counts for
those of the store.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar, cast

import pyarrow as pa
from pydantic import ValidationError

from launchyard.adapters.feast.online import OnlineReader
from launchyard.contract.predictor import Output
from launchyard.contract.rows import Row
from launchyard.data.values.keyed_columns import read_moment
from launchyard.errors import FeatureStoreError, LaunchyardError, RegistryError, RequestError
from launchyard.features.publishing import refill_features
from launchyard.features.sets import FeatureSet
from launchyard.kinds.recommendation.data.day_counts import DayCounts, read_online
from launchyard.kinds.recommendation.data.declared import DeclaredSet, list_numeric, read_rows
from launchyard.kinds.recommendation.data.profiles import Profile, describe_features
from launchyard.kinds.recommendation.predict.candidates import RecentlyUsed
from launchyard.kinds.recommendation.predict.item_table import ItemTable
from launchyard.kinds.recommendation.predict.predict import RecommendationPredictor
from launchyard.kinds.recommendation.predict.request import ONLINE, OnlineFeatures
from launchyard.kinds.recommendation.predict.schemas import UserEventInput
from launchyard.kinds.recommendation.spec import ITEM_STATISTICS, USER_PROFILE, Recommendation
from launchyard.privacy.pseudonyms import pseudonymise
from launchyard.privacy.subjects import FORMER_IDS
from launchyard.records.events import AddedEvents, Event, EventLog, StoredEvent
from launchyard.records.recent_events import RecentEvents
from launchyard.records.records import Records
from launchyard.records.tables import SERVING_WAIT_S
from launchyard.settings import Settings
from launchyard.spec.blocks import Product

REFRESH_S = 60.0
"""Time between two readings of all items' statistics."""
CHECK_S = 1.0
"""Time between two looks at whether the store is there, and has changed."""
STATE_S = 3.0
"""Age up to which such a look counts: while the store is silent, there are none."""
MOST_MET = 5_000
"""Users whose profiles are in memory, until the store changes; a profile takes about 15 KB for 100 recent items."""
EVENTS_TIMEOUT_S = 0.5
"""Time after which the events of a batch's further users are not waited for."""
KEPT_S = 600.0
"""Age up to which statistics are used when the store does not give newer ones."""
BULK_TIMEOUT_MS = 5_000.0
"""All statistics of the items are read in the background, where nobody waits for an answer."""
BULK_ITEMS = 500
"""Items that are read at once, in the background."""
MOST_ITEMS = 200_000
"""Catalogue up to which statistics are read from the store; a larger one is ordered by the bundle's own."""
MAX_SKEW_S = 60.0
"""How far an event may be ahead of our clock."""

StoredRow = TypeVar("StoredRow")
ItemNumbers = tuple[DayCounts, tuple[DeclaredSet, ...]]
"""What the store says of all items: counts by day, and the sets that the spec declares."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _CachedProfile:
    """A user as this replica knows them. What is shared between requests: nobody adds to the profiles in it."""

    state: str
    """Of the store, when the profile was read."""
    stored: Profile
    events: Sequence[StoredEvent]
    profile: Profile
    """The stored one with the events."""


class RecommendationState:
    """The online features and the events of one product, as one replica reads them."""

    event_schema = UserEventInput

    def __init__(self, settings: Settings, spec: Recommendation, item_table: ItemTable) -> None:
        """Open the stores; one that cannot be reached is asked again later."""
        records = Records(settings, wait_s=SERVING_WAIT_S)
        try:
            self._pseudonymise = partial(pseudonymise, records.get_signing_key(), spec.product)
        finally:
            records.close()
        self.event_limits = spec.serve.events
        self._shelf = item_table
        sets = describe_features(spec)
        self._cached = RecentlyUsed[_CachedProfile](MOST_MET)
        self._max_history = spec.data.max_history
        self._features = OnlineReader(settings, spec.product, sets, timeout_ms=spec.features.timeout_ms)
        self._log = EventLog(settings, spec.product, wait_s=SERVING_WAIT_S)
        self._events = RecentEvents(self._log, max_events=spec.data.max_history)
        bulk = OnlineReader(settings, spec.product, sets, timeout_ms=BULK_TIMEOUT_MS)
        declared = list_numeric([found.describe(name) for name, found in spec.features.sets.items()])
        refill = partial(refill_features, settings, spec)
        self._statistics = ItemStatistics(bulk, item_table.facts.ids, tuple(declared), refill)

    @classmethod
    def open(cls, settings: Settings, spec: Product, bundle_dir: Path) -> Self:
        """Return the state of a replica that serves ``bundle_dir``."""
        return cls(settings, cast(Recommendation, spec), ItemTable.load(bundle_dir / "model"))

    def close(self) -> None:
        """Stop reading and close all connections."""
        self._statistics.close()
        self._events.close()
        self._features.close()
        self._log.close()

    def enrich(self, rows: Sequence[Row]) -> list[Row]:
        """Return the rows with each user's profile up to this moment, and what happened to the items."""
        users = {row["user"] for row in rows if row["user"] is not None}
        # Looked at before reading: what is read may be newer than its state says, never older.
        state = self._statistics.get_state()
        stored = {user: cached.stored for user in users if (cached := self._find_cached(user, state)) is not None}
        read, problem = self._read_profiles(sorted(users - stored.keys()))
        stored |= read
        former = self._find_former(rows, stored)
        stored |= {user: profile for user, (_, profile) in former.items()}
        deadline = time.monotonic() + EVENTS_TIMEOUT_S
        items, note = self._statistics.get()
        enriched: list[Row] = []
        for row in rows:
            notes = [] if note is None else [note]
            user = row["user"]
            profile = Profile.start()
            if user is not None:
                if user in stored:
                    profile = stored[user].copy()
                else:
                    notes.append(f"{problem} Only events that this endpoint was sent are known of the user.")
                try:
                    events = self._read_events(user, deadline)
                    if user in former:
                        self._add_events(profile, self._read_events(former[user][0], deadline))
                    self._add_events(profile, events)
                    if state is not None and user in stored and user not in former:
                        self._cached.put(user, _CachedProfile(state, stored[user], events, profile))
                except RegistryError as err:
                    notes.append(f"events: {err} The answer is made without the newest ones.")
            if row["events"]:
                profile = profile.copy()
                notes += self._add_session(profile, row["events"])
            enriched.append({**row, ONLINE: _make_online(profile, items, notes)})
        return enriched

    def recall(self, predictor: RecommendationPredictor, rows: Sequence[Row]) -> list[Output] | None:
        """Return what was answered to the same rows, if nothing has changed since for any of them; else None."""
        state = self._statistics.get_state()
        items, note = self._statistics.get()
        notes = [] if note is None else [note]
        enriched: list[Row] = []
        for row in rows:
            user = row["user"]
            is_new = user is None or row["events"] or row.get(FORMER_IDS)
            cached = None if is_new else self._find_cached(user, state)
            if cached is None or self._events.recall(user) is not cached.events:
                return None
            enriched.append({**row, ONLINE: _make_online(cached.profile, items, notes)})
        return predictor.recall(enriched)

    def _find_cached(self, user: str, state: str | None) -> _CachedProfile | None:
        """Return a user who was asked about since the store's last change."""
        cached = self._cached.get(user)
        return cached if cached is not None and cached.state == state else None

    def _read_profiles(self, users: Sequence[str]) -> tuple[dict[str, Profile], str | None]:
        """Return the stored profiles of users, or why they are not known; that of a stranger is empty."""
        try:
            found = self._features.read(USER_PROFILE, users, now=time.time())
            # Nothing is known of a user whom nobody has met, nor of anybody in a store that lost its data.
            if None in found and not self._is_filled():
                return {}, "user features: the store is empty and being filled."
        except FeatureStoreError as err:
            return {}, f"user features: {err}"
        profiles = (Profile.start() if row is None else Profile.read(row) for row in found)
        return dict(zip(users, profiles, strict=True)), None

    def _find_former(self, rows: Sequence[Row], stored: Mapping[str, Profile]) -> dict[str, tuple[str, Profile]]:
        """Return the users of whom nothing is stored, and under which other form of the id older code kept what."""
        asked = {row["user"]: row[FORMER_IDS] for row in rows if row.get(FORMER_IDS)}
        lost = {user: names for user, names in asked.items() if user in stored and not stored[user].num_events}
        if not lost:
            return {}
        found, _ = self._read_profiles(sorted({name for names in lost.values() for name in names}))
        known = {name: profile for name, profile in found.items() if profile.num_events}
        names_of = {user: next((name for name in names if name in known), names[0]) for user, names in lost.items()}
        return {user: (name, known.get(name, stored[user])) for user, name in names_of.items()}

    def _is_filled(self) -> bool:
        """Return whether the store holds what was published; asked only while nobody looked at it lately.

        Raises:
            FeatureStoreError: the store does not answer in time.
        """
        if self._statistics.get_state() is None and self._features.read_state() is None:
            self._statistics.wake()
            return False
        return True

    def _read_events(self, user: str, deadline: float) -> Sequence[StoredEvent]:
        """Return what the endpoint was sent of a user.

        Raises:
            RegistryError: the database did not answer, or the time for asking it is over.
        """
        if time.monotonic() > deadline:
            raise RegistryError("the database is slow.")
        return self._events.history(user)

    def _add_events(self, profile: Profile, stored: Sequence[StoredEvent]) -> None:
        """Add what the endpoint was sent of a user, as far as the profile does not hold it already."""
        known = set(zip(profile.recent_items, profile.recent_times, strict=True)) if stored else set()
        # What is older than a full profile's oldest item is counted in it, though no longer listed.
        since = profile.recent_times[0] if len(profile.recent_items) >= self._max_history else -math.inf
        moments = [(found.event, found.event.timestamp.timestamp()) for found in stored]
        new = [event for event, moment in moments if moment > since and (event.item, moment) not in known]
        position = self._shelf.position
        inside = [event for event in new if event.item in position]
        profile.add(
            [position[event.item] for event in inside],
            [event.timestamp.timestamp() for event in inside],
            [event.weight for event in inside],
            self._shelf.facts,
        )
        profile.sort_recent()

    def _add_session(self, profile: Profile, events: Sequence[Mapping[str, Any]]) -> list[str]:
        num_unknown = self._shelf.extend(profile, events)
        profile.sort_recent()
        return [f"{num_unknown} of {len(events)} events are of items outside the catalogue."] if num_unknown else []

    def parse_event(self, raw: object) -> Event:
        """Return one raw event: ids as text, the user as a pseudonym, the moment with its zone.

        Raises:
            RequestError: it is of the wrong form, or of the future.
        """
        try:
            given = UserEventInput.model_validate(raw)
            now = time.time()
            moment = now if given.timestamp is None else read_moment(given.timestamp)
            happened = datetime.fromtimestamp(moment, UTC)
        except ValidationError as err:
            problem = err.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in problem["loc"] if part not in ("float", "str")) or "event"
            raise RequestError(f"{where}: {problem['msg']}. Send {{'user': '42', 'item': '50'}}.") from err
        except (ValueError, OverflowError, OSError) as err:
            raise RequestError(f"timestamp: {err}. Send seconds since 1970 or ISO 8601.") from err
        if moment > now + MAX_SKEW_S:
            raise RequestError(f"timestamp: {given.timestamp} is in the future. Check the clock and the unit.")
        return Event(
            user=self._pseudonymise(given.user),
            item=given.item,
            timestamp=happened,
            event=given.event,
            weight=1.0 if given.weight is None else given.weight,
        )

    def add_events(self, events: Sequence[Event], *, sender: str | None = None) -> AddedEvents:
        """Keep events; they are on the disk when this returns, and the next answer knows them.

        Raises:
            RegistryError: the database cannot be used.
        """
        return self._events.add(events, sender=sender)


def _make_online(profile: Profile, items: ItemNumbers | None, notes: Sequence[str]) -> OnlineFeatures:
    day_counts, declared = (None, None) if items is None else items
    return OnlineFeatures(profile, day_counts, declared, tuple(notes))


class ItemStatistics:
    """All items' statistics, read from the store every minute by a thread, which also refills a store that lost them.

    Args:
        reader: Reads the store; closed with this.
        items: Ids in catalogue order.
        declared: Sets of numbers about items, and which of their features are numbers.
        refill: Brings what was published online again; called when the store turns out to be empty.
    """

    def __init__(
        self,
        reader: OnlineReader,
        items: Sequence[str],
        declared: Sequence[tuple[FeatureSet, tuple[str, ...]]],
        refill: Callable[[], object],
    ) -> None:
        self._reader = reader
        self._declared = declared
        self._items = items
        self._refill = refill
        self._found: ItemNumbers | None = None
        self._state: tuple[str | None, float] = (None, 0.0)
        self._read_at = 0.0
        self._problem = "they were not read yet."
        self._closing = threading.Event()
        self._waking = threading.Event()
        self._thread = threading.Thread(target=self._run, name="read-item-statistics", daemon=True)
        self._thread.start()

    def get(self) -> tuple[ItemNumbers | None, str | None]:
        """Return the newest counts and declared numbers, and a note when there are none that are fresh enough."""
        if len(self._items) > MOST_ITEMS:
            return None, None
        if self._found is not None and time.monotonic() - self._read_at < KEPT_S:
            return self._found, None
        return None, f"item features: {self._problem} Those of the model's own data take their place."

    def get_state(self) -> str | None:
        """Return what changes when the store's rows change; None while the store is not there, or lacks rows."""
        state, seen_at = self._state
        return state if time.monotonic() - seen_at < STATE_S else None

    def wake(self) -> None:
        """Look at the store at once."""
        self._waking.set()

    def close(self) -> None:
        """Stop reading and close the connection."""
        self._closing.set()
        self._waking.set()
        if self._thread.is_alive():
            self._thread.join(BULK_TIMEOUT_MS / 1000)
        self._reader.close()

    def _run(self) -> None:
        read_at = -REFRESH_S
        while not self._closing.is_set():
            try:
                self._state = (self._reader.read_state(), time.monotonic())
                if self._state[0] is None:
                    self._refill()
                    read_at = -REFRESH_S
                if time.monotonic() - read_at >= REFRESH_S and len(self._items) <= MOST_ITEMS:
                    self._read()
                    read_at = time.monotonic()
            except (LaunchyardError, OSError, pa.ArrowInvalid, ValueError) as err:
                self._state = (None, 0.0)
                if self._problem != str(err):
                    logger.warning("item features: %s", err)
                self._problem = str(err)
            self._waking.wait(CHECK_S)
            self._waking.clear()

    def _read(self) -> None:
        now = time.time()
        # A day's row becomes known when the day is over, but its counts of earlier days hold already, and windows leave
        # out the day itself: so the newest row of an item counts, whenever it becomes known.
        statistics = self._read_all(lambda items: self._reader.read_rows(ITEM_STATISTICS, items))
        counts = read_online([None if row is None else row.values for row in statistics])
        declared = [
            read_rows(found, names, self._read_all(partial(self._reader.read, found.name, now=now)))
            for found, names in self._declared
        ]
        if self._closing.is_set():
            return
        self._read_at = time.monotonic()
        if not self._is_known(counts, declared):
            self._found = (counts, tuple(declared))

    def _is_known(self, counts: DayCounts, declared: Sequence[DeclaredSet]) -> bool:
        """Return whether nothing has changed: then answers that were made from the older objects still hold."""
        if self._found is None:
            return False
        pairs = zip(self._found[1], declared, strict=True)
        return self._found[0].equals(counts) and all(older.equals(newer) for older, newer in pairs)

    def _read_all(self, read: Callable[[Sequence[str]], Sequence[StoredRow]]) -> list[StoredRow]:
        """Return what the store holds of each item; fewer rows when the replica is closing."""
        rows: list[StoredRow] = []
        for start in range(0, len(self._items), BULK_ITEMS):
            if self._closing.is_set():
                break
            rows += read(self._items[start : start + BULK_ITEMS])
        return rows
