"""Answers that come bit by bit: so many at a time, each with a deadline from one event to the next."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from functools import partial

from launchyard.contract.predictor import Output, StreamEvent
from launchyard.contract.rows import Row
from launchyard.prediction.streams import CollectedPredictor
from launchyard_serving.replica.batching import QueueFull, RowFailed

BUSY_RETRY_S = 1

Events = AsyncGenerator[StreamEvent, None]


class StreamStopped(Exception):  # noqa: N818 - what became of one request, beside QueueFull
    """The model that answers is being replaced, and was not waited for any longer."""


class StreamQueue:
    """Runs the streams of one model for requests on one event loop.

    Args:
        predictor: The model.
        enrich: Gives rows with what the serving state knows of them; blocks.
        max_streams: Streams at the same time.
        timeout_s: Longest wait from one event of a stream to the next.
    """

    def __init__(
        self,
        predictor: CollectedPredictor,
        enrich: Callable[[Sequence[Row]], Sequence[Row]],
        *,
        max_streams: int,
        timeout_s: float,
    ) -> None:
        self._predictor = predictor
        self._enrich = enrich
        self._timeout_s = timeout_s
        self._places = asyncio.Semaphore(max_streams)
        self._waiting: set[asyncio.Future[StreamEvent]] = set()
        self._ending: set[asyncio.Task[None]] = set()
        self._is_stopped = False

    async def submit(
        self, rows: Sequence[Row], *, deadline: float | None = None, are_short: bool = True
    ) -> list[Output]:
        """Return the collected answer to each row, in order; the rows of a request share the free places.

        A caller that is cancelled ends the streams of its rows. Unlike with batches, neither ``deadline``, which is one
        of the whole request, nor ``are_short`` counts.

        Raises:
            TimeoutError: a stream gave no event in time.
            QueueFull: as many streams run as may.
            RowFailed: the model failed on one of the rows.
            StreamStopped: the model is being replaced.
        """
        if self._places.locked():
            raise QueueFull(BUSY_RETRY_S)
        tasks = [asyncio.ensure_future(self._collect(place, row)) for place, row in enumerate(rows)]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()

    async def _collect(self, place: int, row: Row) -> Output:
        await self._places.acquire()
        events = self._iter_events(row)
        try:
            return self.collect([event async for event in events])
        except RowFailed as err:
            raise RowFailed(place) from err.__cause__
        finally:
            await events.aclose()

    async def open(self, row: Row) -> Events:
        """Return the events of one row's answer; who does not take all of them closes the iterator.

        Iterating raises as :meth:`submit` does.

        Raises:
            QueueFull: as many streams run as may.
        """
        if self._places.locked():
            raise QueueFull(BUSY_RETRY_S)
        await self._places.acquire()
        return self._iter_events(row)

    def collect(self, events: Sequence[StreamEvent]) -> Output:
        """Return the answer that all the events of one stream make.

        Raises:
            RowFailed: they make none.
        """
        try:
            return self._predictor.collect(events)
        except Exception as err:
            raise RowFailed(0) from err

    async def _iter_events(self, row: Row) -> Events:
        """Yield the events of a row, for which a place is taken, and give the place back."""
        events: Events | None = None
        waiting: asyncio.Future[StreamEvent] | None = None
        try:
            loop = asyncio.get_running_loop()
            (enriched,) = await loop.run_in_executor(None, partial(self._enrich, [row]))
            events = self._predictor.stream(enriched)
            while True:
                waiting = asyncio.ensure_future(anext(events))
                try:
                    event = await self._wait(waiting)
                except StopAsyncIteration:
                    return
                yield event
        finally:
            # In a task of its own, for a caller that is cancelled waits for nothing any more.
            ending = asyncio.ensure_future(self._end(events, waiting))
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)

    async def _wait(self, waiting: asyncio.Future[StreamEvent]) -> StreamEvent:
        """Return the event that is waited for."""
        if self._is_stopped:
            raise StreamStopped
        self._waiting.add(waiting)
        try:
            async with asyncio.timeout(self._timeout_s):
                await asyncio.wait([waiting])
        finally:
            self._waiting.discard(waiting)
        if waiting.cancelled():
            raise StreamStopped
        error = waiting.exception()
        if error is None or isinstance(error, StopAsyncIteration):
            return waiting.result()
        raise RowFailed(0) from error

    async def _end(self, events: Events | None, waiting: asyncio.Future[StreamEvent] | None) -> None:
        """End the model's own iterator, and give the place of its stream back."""
        try:
            if waiting is not None and not waiting.done():
                waiting.cancel()
                await asyncio.wait([waiting])
            if events is not None:
                await events.aclose()
        finally:
            self._places.release()

    def stop(self) -> None:
        """End the streams that run, each with :class:`StreamStopped`; on the event loop only."""
        self._is_stopped = True
        for waiting in self._waiting:
            waiting.cancel()
