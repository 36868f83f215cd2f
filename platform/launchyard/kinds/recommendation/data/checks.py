"""What the events of a log must fulfil, and what looks odd about them: pure rules over counts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from launchyard.data.manifest import CheckResult
from launchyard.kinds.recommendation.data.event_rows import Events
from launchyard.kinds.recommendation.spec import EventChecks

HEAVY_USER_SHARE = 0.2
"""One user with so many of the events is a robot or a missing id, and all others would be served its taste."""
ADVICE = {
    "null_fraction": "Fill or remove these events, or raise data.checks.max_null_fraction.",
    "unknown_items": "Complete the catalogue in data.items.source, or raise data.checks.max_unknown_items.",
    "duplicate_fraction": "Remove the repeats at the source, or raise data.checks.max_duplicate_fraction.",
    "rows": "Add events, or lower data.checks.min_rows or data.min_interactions.",
    "users": "Add events of more users, or lower data.checks.min_users or data.min_interactions.user.",
    "items": "Add events of more items, or lower data.checks.min_items or data.min_interactions.item.",
    "validation_users": "Add users with longer histories, or change data.split.strategy.",
    "test_users": "Add users with longer histories, or change data.split.strategy.",
}
"""What to do when a check of events fails."""
YEAR_S = 365.25 * 86_400


@dataclass(frozen=True)
class Counts:
    """What reading and cleaning counted."""

    num_read: int
    num_null: int
    num_unknown_items: int
    unknown_items: list[str]
    num_duplicates: int
    num_rows: int
    num_users: int
    num_items: int


def check_events(checks: EventChecks, counts: Counts) -> list[CheckResult]:
    """Return the result of every check on the cleaned events."""
    named = ", ".join(repr(item[:40]) for item in counts.unknown_items[:5])
    return [
        _at_most("null_fraction", checks.max_null_fraction, counts.num_null, counts.num_read, "no user, item or time"),
        _at_most(
            "unknown_items",
            checks.max_unknown_items,
            counts.num_unknown_items,
            counts.num_read,
            f"an item that the catalogue lacks{f', such as {named}' if named else ''}",
        ),
        _at_most(
            "duplicate_fraction",
            checks.max_duplicate_fraction,
            counts.num_duplicates,
            counts.num_read,
            "a twin before them",
        ),
        _at_least("rows", checks.min_rows, counts.num_rows, f"of {counts.num_read:,} events that were read"),
        _at_least("users", checks.min_users, counts.num_users, ""),
        _at_least("items", checks.min_items, counts.num_items, "with an event"),
    ]


def warn_of_events(events: Events, num_items: int) -> Iterator[str]:
    """Yield what a person should know before trusting a recommender of these events."""
    if not len(events):
        return
    per_user_U = np.bincount(events.users_N)
    if per_user_U.max() > HEAVY_USER_SHARE * len(events):
        yield (
            f"data.interactions.user: one user has {per_user_U.max():,} of {len(events):,} events. "
            "An id that many people share, such as that of everybody without a login? Leave it out at the source, or "
            "check the column."
        )
    newest, now = float(events.times_N.max()), datetime.now(UTC).timestamp()
    if newest > now + YEAR_S / 365:
        yield (
            f"data.interactions.timestamp: the newest event is of {_date(newest)}, in the future. "
            "Check the column and its unit."
        )
    elif newest < now - YEAR_S:
        yield (
            f"data.interactions.timestamp: the newest event is of {_date(newest)}: windows such as the last 7 days "
            "are empty when this is served."
        )
    num_cold = num_items - len(np.unique(events.items_N))
    if num_cold > num_items / 2:
        yield f"data.items: {num_cold:,} of {num_items:,} items have no event; architecture content can rank those."


def _date(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).date().isoformat()


def _at_least(name: str, bound: int, value: int, detail: str) -> CheckResult:
    return CheckResult(name=name, rule=f"at least {bound:,}", value=value, passed=value >= bound, detail=detail)


def _at_most(name: str, bound: float, part: int, whole: int, what: str) -> CheckResult:
    share = part / whole if whole else 0.0
    detail = f"{part:,} of {whole:,} events have {what}"
    return CheckResult(name=name, rule=f"at most {bound:g}", value=share, passed=share <= bound, detail=detail)
