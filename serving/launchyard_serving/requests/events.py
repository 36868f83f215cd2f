"""Server-sent events (WHATWG HTML, section 9.2): an answer that is sent while it comes about."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import AsyncExitStack, aclosing, suppress
from typing import Any, TypeVar

from pydantic_core import to_json
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

EVENT_STREAM = "text/event-stream"

Result = TypeVar("Result")


def wants_events(request: Request) -> bool:
    """Return whether a request asks for its answer as events."""
    ranges = request.headers.get("accept", "").split(",")
    return any(part.partition(";")[0].strip().lower() == EVENT_STREAM for part in ranges)


def write_event(content: object, name: str | None = None) -> bytes:
    r"""Return one event, its content as JSON; without a name it is a ``message``.

    >>> write_event({"text": "A"}, "answer")
    b'event: answer\ndata: {"text":"A"}\n\n'
    """
    head = b"" if name is None else b"event: %b\n" % name.encode()
    return b"%bdata: %b\n\n" % (head, to_json(content))


class EventStream(Response):
    """Sends chunks as they come, until they end or the client leaves; then what they use is let go of."""

    def __init__(
        self, chunks: AsyncGenerator[bytes, None], used: AsyncExitStack, *, media_type: str = EVENT_STREAM
    ) -> None:
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        super().__init__(headers=headers, media_type=media_type)
        del self.headers["content-length"]
        self._chunks = chunks
        self._used = used

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        async with self._used:
            with suppress(ClientDisconnect):
                await unless_gone(Request(scope, receive), self._send(send))

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with aclosing(self._chunks) as chunks:
            async for chunk in chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def unless_gone(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """Return what ``work`` returns, or cancel it once the client has left; the request's body is read already.

    Raises:
        ClientDisconnect: nobody waits for it any longer.
    """
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_wait_until_gone(request))
    try:
        await asyncio.wait([working, leaving], return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientDisconnect
    finally:
        leaving.cancel()
        if not working.done():
            working.cancel()
            await asyncio.wait([working])


async def _wait_until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
