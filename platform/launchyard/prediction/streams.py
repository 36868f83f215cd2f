"""Streams of a model that schedules itself, on an event loop of its own, collected where a whole answer is wanted."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Sequence
from concurrent.futures import Future
from typing import Any, Final, TypeVar

from launchyard.contract.predictor import Closing, Output, StreamEvent, StreamingPredictor
from launchyard.contract.rows import Row
from launchyard.isolation import RowFault

AT_ONCE = 16
"""Rows of a batch whose streams run at the same time, unless the product says another number."""
END: Final = object()

Result = TypeVar("Result")


class CollectedPredictor:
    """A streaming predictor whose answers are its collected events: it takes the place of one that is batched.

    Args:
        streaming: The predictor.
        at_once: Rows of :meth:`predict` whose streams run at the same time.
    """

    def __init__(self, streaming: StreamingPredictor, *, at_once: int = AT_ONCE) -> None:
        self.input_schema = streaming.input_schema
        self.output_schema = streaming.output_schema
        self.event_schema = streaming.event_schema
        self.at_once = at_once
        self._streaming = streaming
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="streams", daemon=True)
        self._thread.start()

    def parse(self, raw: object) -> Row:
        """Return the row of one raw request input.

        Raises:
            RequestError: the input is empty, too large or of the wrong type.
        """
        return self._streaming.parse(raw)

    def describe(self, row: Row) -> dict[str, float | str]:
        """Return the features of a row that drift is measured on."""
        return self._streaming.describe(row)

    def predict(self, rows: Sequence[Row]) -> list[Output]:
        """Return the collected answer to each row, in order; blocks.

        Raises:
            Exception: what the model raised on the first row that it failed on.
        """
        outputs: list[Output] = []
        for answer in self.predict_each(rows):
            if isinstance(answer, RowFault):
                raise answer.error
            outputs.append(answer)
        return outputs

    def predict_each(self, rows: Sequence[Row]) -> list[Output | RowFault]:
        """Return the collected answer to each row, in order, with a fault in place of each that failed; blocks."""
        return self._submit(self._collect_all(rows)).result()

    def collect(self, events: Sequence[StreamEvent]) -> Output:
        """Return the answer that all the events of one stream make."""
        return self._streaming.collect(events)

    async def stream(self, row: Row) -> AsyncGenerator[StreamEvent, None]:
        """Yield the events of a row's answer on the caller's event loop, each fetched when the caller asks for it.

        A caller that is cancelled, or closes this, ends the model's own iterator.
        """
        events, is_free = self._streaming.stream(row), asyncio.Lock()
        try:
            while (event := await asyncio.wrap_future(self._submit(_next(events, is_free)))) is not END:
                yield event
        finally:
            await asyncio.shield(asyncio.wrap_future(self._submit(_close(events, is_free))))

    def close(self) -> None:
        """End what the model holds, and its event loop; blocks."""
        if isinstance(self._streaming, Closing):
            self._streaming.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _collect_all(self, rows: Sequence[Row]) -> list[Output | RowFault]:
        places = asyncio.Semaphore(self.at_once)

        async def collect(row: Row) -> Output | RowFault:
            async with places:
                try:
                    return self.collect([event async for event in self._streaming.stream(row)])
                except Exception as err:  # noqa: BLE001 - the boundary of one row, as in launchyard.isolation
                    return RowFault(err)

        return list(await asyncio.gather(*map(collect, rows)))

    def _submit(self, coroutine: Coroutine[Any, Any, Result]) -> Future[Result]:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)


async def _next(events: AsyncIterator[StreamEvent], is_free: asyncio.Lock) -> Any:
    """Return the next event, or ``END``."""
    async with is_free:
        return await anext(events, END)


async def _close(events: AsyncIterator[StreamEvent], is_free: asyncio.Lock) -> None:
    """End an iterator once it has ended what it was doing."""
    async with is_free:
        close = getattr(events, "aclose", None)
        if close is not None:
            await close()
