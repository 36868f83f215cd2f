"""How many bytes of request bodies a replica holds at once, so that its memory has a bound whatever it is sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

FREE_BYTES = 16 * 2**10
"""A body up to this size always has room: the rows that may wait are bounded, and slow senders of large bodies must not
turn away the others."""
HELD_BODIES = 16
"""Largest bodies (serve.max_body_bytes) whose bytes are held at once."""


class BytesFull(Exception):  # noqa: N818 - a state that passes, not a fault
    """As many bytes are held already as may be."""


class HeldBytes:
    """Counts bytes from the moment they come in until their request is answered; on one event loop."""

    def __init__(self) -> None:
        self.total = 0

    @contextmanager
    def room(self, most: int) -> Iterator[Callable[[int], None]]:
        """Give a function that counts the bytes of one request, and let go of them at the end.

        The function raises :class:`BytesFull` when the request is not small and all together hold more than ``most``.
        """
        own = 0

        def hold(size_bytes: int) -> None:
            nonlocal own
            own += size_bytes
            self.total += size_bytes
            if own > FREE_BYTES and self.total > most:
                raise BytesFull

        try:
            yield hold
        finally:
            self.total -= own
