"""Routes of a kind's own beside the platform's: other protocols that its users' programs speak already."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from launchyard.errors import LaunchyardError

if TYPE_CHECKING:
    from launchyard.contract.predictor import Output, Schema, StreamEvent
    from launchyard.contract.rows import Row
    from launchyard.spec.blocks import Product


class AskError(LaunchyardError, RuntimeError):
    """The model gave no answer; holds the HTTP status and the words for it."""

    def __init__(self, status: int, detail: str, retry_after_s: int | None = None) -> None:
        super().__init__(status, detail, retry_after_s)
        self.status = status
        self.detail = detail
        self.retry_after_s = retry_after_s


class Asking(Protocol):
    """The model that answers a request, asked as the platform's own routes ask it: queued, bounded, with deadlines."""

    async def parse(self, raw: object) -> Row:
        """Return the row of a raw input, without the own id of whom it is about.

        Raises:
            RequestError: the kind refuses it.
        """
        ...

    async def answer(self, row: Row) -> Output:
        """Return the answer to a row, the collected one where the kind streams.

        Raises:
            AskError: there is none.
        """
        ...

    def stream(self, row: Row) -> AsyncGenerator[StreamEvent, None]:
        """Yield the events of a row's answer; only for kinds that stream.

        Raises:
            AskError: the stream ends without an answer.
        """
        ...

    def sign(self, row: Row) -> str:
        """Return a new id of an answer to a row, by which feedback may be given on it."""
        ...


@dataclass(frozen=True)
class Reply:
    """What a route answers."""

    content: object | AsyncGenerator[bytes, None]
    """Plain values, which are sent as JSON; bytes as they are; or a generator of bytes, which are sent as they come."""
    media_type: str = "application/json"


class Handler(Protocol):
    """Answers the requests to one route."""

    async def __call__(self, body: Any, asking: Asking, /) -> Reply:
        """Return the answer to a body of the route's schema, None for GET.

        :class:`AskError` and ``RequestError`` may pass: the platform answers them as the route writes errors, and ends
        a stream in its midst with such an error.
        """
        ...


@dataclass(frozen=True)
class KindRoute:
    """One route, below the product's own path."""

    path: str
    """Such as ``/v1/chat/completions``."""
    summary: str
    handle: Handler
    response: Schema
    """What is answered as JSON."""
    request: Schema | None = None
    """What the body holds, as JSON; None: the route is asked by GET."""
    event: Schema | None = None
    """What one server-sent event holds, where an answer may be a stream of them."""
    write_error: Callable[[int, str], object] | None = None
    """Plain values that say an HTTP status and what was wrong in the protocol's words; None: problem documents."""

    @property
    def method(self) -> Literal["GET", "POST"]:
        """How the route is asked."""
        return "GET" if self.request is None else "POST"


class RoutesFunction(Protocol):
    """What ``Kind.routes`` names."""

    def __call__(self, spec: Product) -> Sequence[KindRoute]:
        """Return the routes of a product."""
        ...
