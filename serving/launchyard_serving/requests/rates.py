"""How many events each user and each sender has sent lately, in bounded memory."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv6Address, ip_address

from launchyard.records.events import Event
from launchyard.spec.events import EventLimits

CAPACITY = 100_000
"""Users, and as many senders, in memory, about 200 bytes each; who sent nothing for longest is forgotten first."""


NETWORK_BITS = 64
"""Of an IPv6 address: what one subscriber is given, who may choose the rest at will."""


class TooFast(Exception):  # noqa: N818 - a state that passes, not a fault
    """A user or a sender has sent as much as may be; holds what was exceeded and when more is taken."""

    def __init__(self, limit: str, retry_after_s: int) -> None:
        super().__init__(limit, retry_after_s)
        self.limit = limit
        self.retry_after_s = retry_after_s


class Rates:
    """A bucket of ``per_minute`` events for each key: what is sent fills it, and as much leaks out in a minute.

    A key is refused while its bucket has no room for one event. What fills it to the brim, or over, is taken: a
    request that is larger than the rest of a minute's allowance is not refused for ever, it only makes the next one
    wait longer. Not safe to share between threads.

    Args:
        capacity: Keys in memory.
    """

    def __init__(self, *, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def find_wait(self, key: str, *, per_minute: int, now_s: float) -> int:
        """Return the seconds after which something of ``key`` is taken again; 0 if it is now."""
        excess = self._find_level(key, per_minute, now_s) + 1 - per_minute
        return 0 if excess <= 0 else math.ceil(excess * 60 / per_minute)

    def count(self, amounts: Mapping[str, int], *, per_minute: int, now_s: float) -> None:
        """Count what was taken of each key."""
        for key, amount in amounts.items():
            self._levels[key] = (self._find_level(key, per_minute, now_s) + amount, now_s)
            self._levels.move_to_end(key)
        while len(self._levels) > self._capacity:
            self._levels.popitem(last=False)

    def _find_level(self, key: str, per_minute: int, now_s: float) -> float:
        level, since_s = self._levels.get(key, (0.0, now_s))
        return max(0.0, level - (now_s - since_s) * per_minute / 60)


class EventRates:
    """What a replica has taken of events lately; safe to share between threads.

    Args:
        clock: Tells the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._users = Rates()
        self._senders = Rates()
        self._lock = threading.Lock()

    def check_sender(self, sender: str, limits: EventLimits) -> None:
        """Return if something of ``sender`` is taken now.

        Raises:
            TooFast: it is not.
        """
        allowed = limits.per_sender_per_minute
        with self._lock:
            wait_s = self._senders.find_wait(sender, per_minute=allowed, now_s=self._clock())
        if wait_s:
            raise TooFast(f"one sender: {allowed} a minute are taken (serve.events.per_sender_per_minute)", wait_s)

    def check_users(self, events: Sequence[Event], limits: EventLimits) -> None:
        """Return if something of each user is taken now.

        Raises:
            TooFast: of one it is not.
        """
        allowed, now_s = limits.per_user_per_minute, self._clock()
        with self._lock:
            users = {event.user for event in events}
            waits_s = [self._users.find_wait(user, per_minute=allowed, now_s=now_s) for user in users]
        if wait_s := max(waits_s, default=0):
            raise TooFast(f"one user: {allowed} a minute are taken (serve.events.per_user_per_minute)", wait_s)

    def count(self, events: Sequence[Event], sender: str, limits: EventLimits) -> None:
        """Count events that were kept."""
        now_s = self._clock()
        with self._lock:
            users = Counter(event.user for event in events)
            self._users.count(users, per_minute=limits.per_user_per_minute, now_s=now_s)
            self._senders.count({sender: len(events)}, per_minute=limits.per_sender_per_minute, now_s=now_s)


def name_sender(address: str) -> str:
    """Return what a sender is told apart by: the address without a port, of IPv6 the network.

    >>> name_sender("203.0.113.7:5043"), name_sender("2001:db8::1"), name_sender("[2001:db8::2]:80")
    ('203.0.113.7', '2001:db8::', '2001:db8::')
    """
    host = address.partition("]")[0].removeprefix("[") if address.startswith("[") else address
    if host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        parsed = ip_address(host)
    except ValueError:
        return host
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    suffix_bits = parsed.max_prefixlen - NETWORK_BITS
    return str(IPv6Address(int(parsed) >> suffix_bits << suffix_bits))
