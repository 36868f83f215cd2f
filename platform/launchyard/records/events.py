"""What users did, as it happens: one table of events per namespace, in SQL beside the other records.

An event is on the disk when :meth:`EventLog.add` returns, and the same event sent again changes nothing. Each event has
a sequence number in order of arrival, by which other processes follow; what is read is in order of event time.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, Table, delete, func, insert, select

from launchyard.data.values.canonical import format_id
from launchyard.records.database import RecordDatabase
from launchyard.records.tables import EVENTS, FORGOTTEN, PATIENT_WAIT_S
from launchyard.settings import Settings

PAGE = 1000
"""Events that one statement writes or reads."""

DIGEST_BYTES = 16

_SELECT_EVENTS = select(*(EVENTS.c[name] for name in ("sequence", "user", "item", "timestamp", "event", "weight")))


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that a user did with an item."""

    user: str
    """Pseudonym, as :func:`launchyard.privacy.pseudonyms.pseudonymise` makes it."""
    item: str
    timestamp: datetime
    event: str | None = None
    """What sort of event it is, such as ``view`` or ``purchase``."""
    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.timestamp.tzinfo is None or not math.isfinite(self.weight):
            raise ValueError(f"{self}: the time must have a zone, the weight must be finite")


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event and its place in the order of arrival; numbers grow, not by one each."""

    sequence: int
    event: Event


@dataclass(frozen=True, slots=True)
class ReceivedEvent:
    """An event, and when and from whom it came."""

    event: Event
    received_at: datetime
    sender: str | None
    """Pseudonym of the address; None where none was noted."""


@dataclass(frozen=True)
class AddedEvents:
    """What became of events that were sent."""

    stored: int
    duplicates: int


class EventLog:
    """The events of one product; safe to share between threads, and between processes through the database.

    Each call waits up to ``wait_s`` for other writers and for the server, then raises a RegistryError.
    """

    def __init__(self, settings: Settings, product: str, *, wait_s: float = PATIENT_WAIT_S) -> None:
        self._product = product
        self._database = RecordDatabase(settings, wait_s=wait_s)

    def close(self) -> None:
        """Close all connections."""
        self._database.close()

    def add(self, events: Sequence[Event], *, sender: str | None = None) -> AddedEvents:
        """Keep events; all of them are on the disk when this returns, none of them if it raises.

        Args:
            events: What users did.
            sender: Pseudonym of whoever sent them.

        Raises:
            RegistryError: the database cannot be used.
        """
        # By digest, so that one that stands twice in one request is kept once.
        rows = {row["digest"]: row | {"sender": sender} for row in map(self._describe, events)}
        num_stored = 0
        with self._database.writing(self._lock) as connection:
            for start in range(0, len(rows), PAGE):
                page = list(rows)[start : start + PAGE]
                known = set(connection.scalars(select(EVENTS.c.digest).where(EVENTS.c.digest.in_(page))))
                new = [rows[digest] for digest in page if digest not in known]
                num_stored += len(new)
                if new:
                    connection.execute(insert(EVENTS), new)
        return AddedEvents(num_stored, len(events) - num_stored)

    def history(self, user: str, limit: int) -> list[StoredEvent]:
        """Return the newest ``limit`` events of a user, oldest first; events of one time in order of arrival.

        Raises:
            RegistryError: the database cannot be used.
        """
        order = (EVENTS.c.timestamp.desc(), EVENTS.c.sequence.desc())
        query = _SELECT_EVENTS.where(self._of(EVENTS), EVENTS.c.user == user).order_by(*order).limit(limit)
        return _read_events(self._fetch(query))[::-1]

    def since(self, sequence: int, limit: int = PAGE) -> list[StoredEvent]:
        """Return the first ``limit`` events that arrived after the one numbered ``sequence``, in order of arrival.

        Raises:
            RegistryError: the database cannot be used.
        """
        query = _SELECT_EVENTS.where(self._of(EVENTS), EVENTS.c.sequence > sequence)
        return _read_events(self._fetch(query.order_by(EVENTS.c.sequence).limit(limit)))

    def iter_all(self) -> Iterator[ReceivedEvent]:
        """Yield all events in order of arrival; of those added meanwhile, perhaps the last ones are left out.

        Raises:
            RegistryError: the database cannot be used.
        """
        query = select(*_SELECT_EVENTS.selected_columns, EVENTS.c.received_at, EVENTS.c.sender).where(self._of(EVENTS))
        sequence = 0
        while page := self._fetch(query.where(EVENTS.c.sequence > sequence).order_by(EVENTS.c.sequence).limit(PAGE)):
            for row in page:
                event = Event(row.user, row.item, row.timestamp, row.event, row.weight)
                yield ReceivedEvent(event, row.received_at, row.sender)
            sequence = page[-1].sequence

    def latest_sequence(self) -> int:
        """Return the number of the event that arrived last, 0 without any."""
        return self._find_latest(EVENTS)

    def count(self) -> int:
        """Return the number of events."""
        return int(self._fetch(select(func.count()).where(self._of(EVENTS)))[0][0])

    def count_of(self, user: str) -> int:
        """Return the number of events of one user."""
        return int(self._fetch(select(func.count()).where(self._of(EVENTS), EVENTS.c.user == user))[0][0])

    def forget(self, user: str) -> int:
        """Delete a user's events and note that the user wants to be forgotten; return the number of events.

        Events that come later are kept again: they are of a user who came back.
        """
        mark = {"namespace": self._database.namespace, "product": self._product, "user": user}
        with self._database.writing(self._lock) as connection:
            deleted = connection.execute(delete(EVENTS).where(self._of(EVENTS), EVENTS.c.user == user))
            # A row of its own each time: its number tells those who follow.
            connection.execute(delete(FORGOTTEN).where(self._of(FORGOTTEN), FORGOTTEN.c.user == user))
            connection.execute(insert(FORGOTTEN).values(**mark, forgotten_at=datetime.now(UTC)))
        return deleted.rowcount

    def forgotten(self) -> dict[str, datetime]:
        """Return the pseudonym of each user who wants to be forgotten -> when: nothing older may be trained on."""
        query = select(FORGOTTEN.c.user, FORGOTTEN.c.forgotten_at).where(self._of(FORGOTTEN))
        return {row.user: row.forgotten_at for row in self._fetch(query)}

    def forgotten_since(self, sequence: int) -> list[tuple[int, str]]:
        """Return number and pseudonym of all who were forgotten after the one numbered ``sequence``, in that order."""
        query = select(FORGOTTEN.c.sequence, FORGOTTEN.c.user).where(
            self._of(FORGOTTEN), FORGOTTEN.c.sequence > sequence
        )
        return [(row.sequence, row.user) for row in self._fetch(query.order_by(FORGOTTEN.c.sequence))]

    def latest_forgotten(self) -> int:
        """Return the number of the user who was forgotten last, 0 without any."""
        return self._find_latest(FORGOTTEN)

    def erase_deleted(self) -> None:
        """Make deleted events unreadable in the database's files too.

        Raises:
            RegistryError: others kept the file in use for too long.
        """
        self._database.erase_deleted()

    @property
    def _lock(self) -> str:
        return f"events/{self._product}"

    def _describe(self, event: Event) -> dict[str, Any]:
        # In one form each, for the digest is made of it: a time in another zone, or a weight of 1, is the same event.
        content = {
            "namespace": self._database.namespace,
            "product": self._product,
            "user": event.user,
            "item": event.item,
            "timestamp": event.timestamp.astimezone(UTC),
            "event": event.event,
            "weight": float(event.weight),
        }
        # Never to be made otherwise: events that were stored before would be kept a second time.
        digest = hashlib.sha256(repr(tuple(content.values())).encode()).digest()[:DIGEST_BYTES]
        # Not in the digest: sent again later it is the same event.
        return content | {"received_at": datetime.now(UTC), "digest": digest}

    def _find_latest(self, table: Table) -> int:
        return int(self._fetch(select(func.max(table.c.sequence)).where(self._of(table)))[0][0] or 0)

    def _of(self, table: Table) -> ColumnElement[bool]:
        return (table.c.namespace == self._database.namespace) & (table.c.product == self._product)

    def _fetch(self, query: Any) -> Sequence[Row[Any]]:
        with self._database.reading() as connection:
            return connection.execute(query).all()


def _read_events(rows: Sequence[Any]) -> list[StoredEvent]:
    # Older rows may hold an item's id in the form that the request had.
    return [
        StoredEvent(sequence, Event(user, format_id(item) or item, timestamp, event, weight))
        for sequence, user, item, timestamp, event, weight in rows
    ]
