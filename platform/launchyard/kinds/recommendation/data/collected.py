"""What training takes of the events that the endpoint was sent: so many of one user or sender a day, and no more.

Anybody who reaches the endpoint can send events in any user's name. What one of them can do to the next model is
bounded by the day of arrival, which nobody but us decides; the time that an event claims is the sender's own word.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date

from launchyard.records.events import Event, ReceivedEvent

OVER_USER = "over_user_limit"
OVER_SENDER = "over_sender_limit"


@dataclass
class Collected:
    """The events that train, in order of arrival, and how many were left out by which limit."""

    events: list[Event] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)

    def describe(self, per_user: int, per_sender: int) -> list[str]:
        """Return what a person should know of the events that were left out."""
        limits = {
            OVER_USER: f"one user a day (data.collected_per_user_per_day: {per_user})",
            OVER_SENDER: f"one sender a day (data.collected_per_sender_per_day: {per_sender})",
        }
        return [
            f"events: {self.dropped[reason]:,} that the endpoint was sent are left out: more than training takes of "
            f"{limit}. Look at who sent them, or raise it."
            for reason, limit in limits.items()
            if self.dropped[reason]
        ]


def limit_collected(received: Iterable[ReceivedEvent], *, per_user: int, per_sender: int) -> Collected:
    """Return the first ``per_user`` and ``per_sender`` events of each user and sender on each day of arrival.

    An event whose sender was not noted counts for its user alone.
    """
    collected = Collected()
    taken: Counter[tuple[str, str, date]] = Counter()
    for found in received:
        day = found.received_at.astimezone(UTC).date()
        user = ("user", found.event.user, day)
        sender = ("sender", found.sender or "", day)
        if taken[user] >= per_user:
            collected.dropped[OVER_USER] += 1
        elif found.sender is not None and taken[sender] >= per_sender:
            collected.dropped[OVER_SENDER] += 1
        else:
            taken[user] += 1
            taken[sender] += 1
            collected.events.append(found.event)
    return collected
