"""Threads of their own for each sort of work that blocks, so that no sort ever waits for another.

A database that is locked, or gone, holds up what is to be written into it and nothing else: predictions compute, large
bodies are parsed and the rollout record is followed in other threads.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")


class LaneFull(Exception):  # noqa: N818 - a state that passes, not a fault
    """As many calls as a lane takes run or wait in it already."""


class Lane:
    """A few threads for one sort of blocking calls, and a bounded number of calls that wait for them.

    Args:
        name: What the threads are called.
        num_threads: Calls that run at the same time.
        max_waiting: Calls that may wait; more are refused at once.
    """

    def __init__(self, name: str, *, num_threads: int, max_waiting: int) -> None:
        self._executor = ThreadPoolExecutor(num_threads, name)
        self._places = threading.Semaphore(num_threads + max_waiting)

    async def run(self, call: Callable[[], Result], *, deadline: float | None = None) -> Result:
        """Return what ``call`` returns, or raise what it raises.

        A call that has not begun at the deadline never begins. One that has goes on, and keeps its place until it ends.

        Args:
            call: What blocks.
            deadline: Time of the event loop's clock at which it is not waited for any longer; None for never.

        Raises:
            LaneFull: too many calls wait already.
            TimeoutError: the deadline came first.
        """
        if not self._places.acquire(blocking=False):
            raise LaneFull
        running = self._executor.submit(call)
        running.add_done_callback(lambda _: self._places.release())
        async with asyncio.timeout_at(deadline):
            return await asyncio.wrap_future(running)

    def close(self) -> None:
        """Begin nothing more; what runs is not waited for."""
        self._executor.shutdown(wait=False, cancel_futures=True)
