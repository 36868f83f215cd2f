"""The newest events of the users who were asked about lately, in memory: what a replica answers from.

What this process adds is there when :meth:`RecentEvents.add` returns; what others add, and whom they forget, a thread
reads by sequence number every quarter of a second. A user who is in memory costs no query.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from launchyard.errors import RegistryError
from launchyard.records.events import PAGE, AddedEvents, Event, EventLog, StoredEvent

POLL_S = 0.25
READ_TIMEOUT_S = 0.25
CLOSE_TIMEOUT_S = 1.0
NUM_READERS = 2
CAPACITY = 500_000
"""Events (and users) in memory, about 300 bytes each."""

logger = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class _Remembered:
    """One user's newest events, oldest first; until it is complete, only those that came since it was begun."""

    events: tuple[StoredEvent, ...] = ()
    is_complete: bool = False

    def merge(self, events: Sequence[StoredEvent], limit: int) -> None:
        """Take events in, each once, at its place in time."""
        known = {stored.sequence: stored for stored in (*self.events, *events)}
        ordered = sorted(known.values(), key=lambda stored: (stored.event.timestamp, stored.sequence))
        self.events = tuple(ordered[-limit:])


class RecentEvents:
    """A product's newest events by user; safe to share between threads.

    Args:
        log: Where the events are kept; stays open when this closes.
        max_events: Newest events of a user that are of interest.
        capacity: Events of all users in memory; those who were not asked about for longest go first.
        timeout_s: Longest that :meth:`history` takes.
    """

    def __init__(
        self, log: EventLog, *, max_events: int, capacity: int = CAPACITY, timeout_s: float = READ_TIMEOUT_S
    ) -> None:
        self._log = log
        self._max_events = max_events
        self._capacity = capacity
        self._timeout_s = timeout_s
        self._users: OrderedDict[str, _Remembered] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()
        self._followed: tuple[int, int] | None = None
        self._following = threading.Lock()
        self._readers = ThreadPoolExecutor(NUM_READERS, "read-events")
        self._closing = threading.Event()
        self.problem: str | None = None
        """Why what others add is not seen at present; None while all is well."""
        # Before anybody asks: what is read from here on is followed from here on.
        self.follow()
        self._thread = threading.Thread(target=self._run, name="follow-events", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop following; what a silent database has not told by now is not waited for."""
        self._closing.set()
        self._readers.shutdown(wait=False, cancel_futures=True)
        # A database that does not answer must not keep the process from ending; the thread is a daemon.
        self._thread.join(CLOSE_TIMEOUT_S)

    def add(self, events: Sequence[Event], *, sender: str | None = None) -> AddedEvents:
        """Keep events; they are on the disk, and in the next :meth:`history` here, when this returns.

        Raises:
            RegistryError: the database cannot be used.
        """
        added = self._log.add(events, sender=sender)
        self.follow()
        return added

    def history(self, user: str) -> Sequence[StoredEvent]:
        """Return the newest events of a user, oldest first; the same object until something changes.

        Raises:
            RegistryError: the user is not in memory, and the database did not answer within the deadline.
        """
        found = self.recall(user)
        return self._load(user) if found is None else found

    def recall(self, user: str) -> Sequence[StoredEvent] | None:
        """Return what :meth:`history` does if it is in memory, else None; never asks the database."""
        with self._lock:
            known = self._users.get(user)
            if known is None or not known.is_complete:
                return None
            self._users.move_to_end(user)
            return known.events

    def follow(self) -> None:
        """Take in what was added and who was forgotten since the last time; sets :attr:`problem` if that fails."""
        with self._following:
            try:
                self._catch_up()
            except RegistryError as err:
                # Once, and not at each look.
                if self.problem is None:
                    logger.warning("events of other processes are not seen: %s", err)
                self.problem = str(err)
            else:
                self.problem = None

    def _run(self) -> None:
        while not self._closing.wait(POLL_S):
            self.follow()

    def _catch_up(self) -> None:
        if self._followed is None or len(events := self._log.since(self._followed[0])) == PAGE:
            # At first, or after a bulk import: reading users as they are asked about is less work than following it.
            self._start_over()
            return
        # Read after the events: whoever is forgotten in between is dropped, with what was read of them.
        forgotten = self._log.forgotten_since(self._followed[1])
        with self._lock:
            for stored in events:
                if known := self._users.get(stored.event.user):
                    self._merge(known, [stored])
            for _, user in forgotten:
                self._drop(user)
            self._shrink()
        last_event = events[-1].sequence if events else self._followed[0]
        last_forgotten = forgotten[-1][0] if forgotten else self._followed[1]
        # Last of all: after an error above, the same numbers are read again.
        self._followed = last_event, last_forgotten

    def _start_over(self) -> None:
        """Forget everything in memory, and follow from what is the newest now."""
        # Before memory is cleared: what arrives in between is then read once more instead of missed.
        newest = self._log.latest_sequence(), self._log.latest_forgotten()
        with self._lock:
            self._users.clear()
            self._size = 0
        self._followed = newest

    def _load(self, user: str) -> Sequence[StoredEvent]:
        if self.problem is not None:
            # No request waits for a deadline that the one before has waited for already.
            raise RegistryError(self.problem)
        with self._lock:
            # What comes in while we read is merged into it, by us or by whoever else reads the same user.
            known = self._users.setdefault(user, _Remembered())
        try:
            found = self._read(user)
        except RegistryError:
            with self._lock:
                if self._users.get(user) is known and not known.is_complete:
                    self._drop(user)
            raise
        with self._lock:
            if self._users.get(user) is not known:
                # Forgotten or pushed out meanwhile: right for this request, which came before, and not kept.
                known.merge(found, self._max_events)
                return known.events
            self._merge(known, found)
            known.is_complete = True
            self._users.move_to_end(user)
            self._shrink()
            return known.events

    def _read(self, user: str) -> list[StoredEvent]:
        reading = self._readers.submit(self._log.history, user, self._max_events)
        try:
            return reading.result(self._timeout_s)
        except TimeoutError as err:
            # One that runs already goes on; only what still waits for a reader is taken back.
            reading.cancel()
            self.problem = (
                f"events: the database did not answer within {self._timeout_s:g} s. Check that it runs and is near."
            )
            raise RegistryError(self.problem) from err

    def _merge(self, known: _Remembered, events: Sequence[StoredEvent]) -> None:
        before = len(known.events)
        known.merge(events, self._max_events)
        self._size += len(known.events) - before

    def _drop(self, user: str) -> None:
        if known := self._users.pop(user, None):
            self._size -= len(known.events)

    def _shrink(self) -> None:
        # The last one stays, however long the history: it is being asked about.
        while self._size + len(self._users) > self._capacity and len(self._users) > 1:
            self._drop(next(iter(self._users)))
