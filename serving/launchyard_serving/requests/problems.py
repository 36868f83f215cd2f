"""Errors as the caller of an endpoint sees them: problem documents (RFC 9457)."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus

from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from launchyard.errors import RegistryError, RequestError
from launchyard_serving.requests.held_bytes import BytesFull

MEDIA_TYPE = "application/problem+json"

RECORDS_RETRY_S = 1
BODIES_RETRY_S = 1
METHODS_HINT = "Use the method and path that openapi.json lists."


logger = logging.getLogger(__name__)


class Problem(Exception):  # noqa: N818 - the RFC's word
    """A request that is not answered as it was asked; becomes a problem document.

    ``errors`` holds one entry per wrong place of the request: a JSON pointer and what is wrong there. ``state`` says in
    a word what the product is doing while nothing answers.
    """

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        *,
        errors: Sequence[Mapping[str, str]] = (),
        retry_after_s: int | None = None,
        state: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = tuple(errors)
        self.retry_after_s = retry_after_s
        self.state = state

    def response(self) -> Response:
        """Return the problem document with its status and headers."""
        headers = {} if self.retry_after_s is None else {"retry-after": str(self.retry_after_s)}
        return Response(to_json(self.document()), self.status, headers, MEDIA_TYPE)

    def document(self) -> dict[str, object]:
        """Return the problem document."""
        content: dict[str, object] = {
            "type": "about:blank",
            "title": self.status.phrase,
            "status": self.status.value,
            "detail": self.detail,
        }
        if self.errors:
            content["errors"] = self.errors
        if self.state is not None:
            content["state"] = self.state
        return content


async def answer_problem(_request: Request, problem: Exception) -> Response:
    """Return the response to a :class:`Problem`."""
    assert isinstance(problem, Problem)  # noqa: S101 - registered for this class alone
    return problem.response()


async def answer_request_error(_request: Request, error: Exception) -> Response:
    """Return the response to a request that a kind refused."""
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)).response()


async def answer_records_error(_request: Request, error: Exception) -> Response:
    """Return the response to a request that the records could not take; the cause goes to the server's log alone."""
    logger.warning("%s", error)
    detail = "what was sent could not be kept: the database cannot be used at present. Send it again."
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, retry_after_s=RECORDS_RETRY_S).response()


async def answer_http_exception(request: Request, error: Exception) -> Response:
    """Return the response to what routing refuses: an unknown path, a method that a path does not have."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class alone
    status = HTTPStatus(error.status_code)
    detail = f"{request.method} {request.url.path}: {status.phrase.lower()}. {METHODS_HINT}"
    response = Problem(status, detail).response()
    response.headers.update(error.headers or {})
    return response


async def answer_fault(request: Request, _error: Exception) -> Response:
    """Return the response to a fault of ours; the traceback goes to the server's log alone."""
    detail = f"{request.method} {request.url.path}: the server failed on this request. Its log has the cause."
    return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, detail).response()


async def answer_full(_request: Request, _error: Exception) -> Response:
    """Return the response to a large body that there is no room for."""
    detail = f"body: too many large bodies are held already. Try again in {BODIES_RETRY_S} s, or send it in parts."
    return Problem(HTTPStatus.TOO_MANY_REQUESTS, detail, retry_after_s=BODIES_RETRY_S).response()


EXCEPTION_HANDLERS = {
    BytesFull: answer_full,
    Problem: answer_problem,
    RequestError: answer_request_error,
    RegistryError: answer_records_error,
    HTTPException: answer_http_exception,
    Exception: answer_fault,
}
"""For Starlette; it re-raises what the last one answered, so that the server logs it."""
