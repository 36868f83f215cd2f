"""What is held out of each user's events, and in which order: pure functions of sorted events.

Array legend: N events, U users, H held-out users.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from launchyard.data.identity import mix
from launchyard.data.manifest import SplitName
from launchyard.kinds.recommendation.data.event_rows import Events
from launchyard.kinds.recommendation.spec import HistorySplit

Places = NDArray[np.intp]
HELD_OUT: tuple[SplitName, ...] = ("validation", "test")


@dataclass(frozen=True)
class HeldOut:
    """The users that one split measures, and where among the sorted events their histories and targets lie."""

    users_H: NDArray[np.int32]
    starts_H: Places
    """Where a user's events begin."""
    ends_H: Places
    """Where the history ends and the targets begin."""
    stops_H: Places
    """Where the targets end."""

    def take(self, chosen: NDArray[np.bool_]) -> HeldOut:
        """Return the users where ``chosen`` is true."""
        return HeldOut(self.users_H[chosen], self.starts_H[chosen], self.ends_H[chosen], self.stops_H[chosen])


@dataclass(frozen=True)
class Division:
    """Which events train, and what is held out."""

    trains_N: NDArray[np.bool_]
    held_out: dict[SplitName, HeldOut]


def divide(events: Events, users: list[str], split: HistorySplit) -> Division:
    """Return the division of sorted events.

    Args:
        events: Sorted by user, then time.
        users: The id of each user, which alone decides who is measured when there are more than ``split.users``.
        split: What the user asked for.
    """
    starts_U = events.find_starts()
    chosen_U = choose_users(users, split.users)
    if split.strategy == "leave-one-out":
        return _leave_one_out(starts_U, chosen_U)
    return _divide_by_time(events, starts_U, chosen_U, split)


def choose_users(users: list[str], most: int) -> NDArray[np.bool_]:
    """Return which of the users may be measured: all, or the ``most`` whose digests are smallest."""
    if len(users) <= most:
        return np.ones(len(users), dtype=bool)
    digests_U = mix(np.array([_digest(user) for user in users], dtype=np.uint64))
    chosen_U = np.zeros(len(users), dtype=bool)
    chosen_U[np.argsort(digests_U, kind="stable")[:most]] = True
    return chosen_U


def _digest(user: str) -> int:
    return int.from_bytes(hashlib.blake2b(user.encode(), digest_size=8).digest(), "big")


def _leave_one_out(starts_U: Places, chosen_U: NDArray[np.bool_]) -> Division:
    """Hold out the last event of each user and the one before; who has fewer than three events only trains."""
    firsts_U, ends_U = starts_U[:-1], starts_U[1:]
    users_H = np.flatnonzero(chosen_U & (ends_U - firsts_U >= 3)).astype(np.int32)
    trains_N = np.ones(int(ends_U[-1]) if len(ends_U) else 0, dtype=bool)
    held_out: dict[SplitName, HeldOut] = {}
    for split, from_end in (("validation", 2), ("test", 1)):
        places_H = ends_U[users_H] - from_end
        trains_N[places_H] = False
        held_out["validation" if split == "validation" else "test"] = HeldOut(
            users_H, firsts_U[users_H], places_H, places_H + 1
        )
    return Division(trains_N, held_out)


def _divide_by_time(events: Events, starts_U: Places, chosen_U: NDArray[np.bool_], split: HistorySplit) -> Division:
    """Hold out what all users did from two moments on; what came before the first trains."""
    ordered_N = np.sort(events.times_N, kind="stable")
    num_test, num_held = (round(len(events) * share) for share in (split.test, split.test + split.validation))
    test_time, validation_time = ordered_N[-max(num_test, 1)], ordered_N[-max(num_held, 1)]
    # Whole users at once: how many of each user's events came before a moment.
    before_U = _count_before(events, starts_U, validation_time)
    until_U = _count_before(events, starts_U, test_time)
    firsts_U, ends_U = starts_U[:-1], starts_U[1:]
    bounds = {"validation": (firsts_U + before_U, firsts_U + until_U), "test": (firsts_U + until_U, ends_U)}
    held_out: dict[SplitName, HeldOut] = {}
    for name in HELD_OUT:
        begins_U, stops_U = bounds[name]
        users_H = np.flatnonzero(chosen_U & (stops_U > begins_U)).astype(np.int32)
        held_out[name] = HeldOut(users_H, firsts_U[users_H], begins_U[users_H], stops_U[users_H])
    return Division(events.times_N < validation_time, held_out)


def _count_before(events: Events, starts_U: Places, time: float) -> Places:
    is_before_N = np.concatenate([[0], np.cumsum(events.times_N < time)])
    counts: Places = is_before_N[starts_U[1:]] - is_before_N[starts_U[:-1]]
    return counts


def hash_split(held_out: dict[SplitName, list[tuple[str, list[str]]]]) -> str:
    """Return the published digest of a split: who is measured by which items; equal on any machine.

    Args:
        held_out: For each split the id of each measured user with the ids of the target items.
    """
    digest = hashlib.sha256()
    for name in HELD_OUT:
        for user, items in sorted(held_out[name]):
            digest.update("\0".join([name, user, *items]).encode() + b"\n")
    return digest.hexdigest()
