"""Request bodies: read within limits, parsed, and refused in words that say where they are wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Annotated, Any, NoReturn, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator
from pydantic_core import from_json
from starlette.requests import ClientDisconnect, Request

from launchyard.errors import RequestError
from launchyard.event_log import Event
from launchyard.foreign_text import StorableText
from launchyard.kind import Predictor, Resources, Row
from launchyard_serving.problems import Problem

MEDIA_TYPE = "application/json"
MAX_COMMENT_CHARACTERS = 2000
MAX_ID_CHARACTERS = 200
MAX_LABEL_CHARACTERS = 512
MAX_FEEDBACK_BYTES = 16 * 2**10
READ_TIMEOUT_S = 30.0
"""Longest time for a body to come in; a slow line is the client's, so serve.timeout_s begins after it."""

EVENTS_EXAMPLE = '{"events": [...]}, or one event'
SCHEMA_HINT = "GET schema shows a right one."

AnyBody = TypeVar("AnyBody", bound=BaseModel)
Parsed = TypeVar("Parsed")


class InputsBody(BaseModel):
    """The body of predict and explain."""

    model_config = ConfigDict(extra="forbid", strict=True)

    inputs: list[Any] = Field(description="What to answer, one output each, in this order.")


class EventsBody(BaseModel):
    """The body of events."""

    model_config = ConfigDict(extra="forbid", strict=True)

    events: list[Any] = Field(description="What users did.")


class FeedbackBody(BaseModel):
    """The body of feedback: what a person or a later event said about one output."""

    model_config = ConfigDict(extra="forbid", strict=True)

    id: Annotated[StorableText, StringConstraints(min_length=1, max_length=MAX_ID_CHARACTERS)] = Field(
        description="The id of the output it is about."
    )
    label: Annotated[StorableText, StringConstraints(min_length=1, max_length=MAX_LABEL_CHARACTERS)] | None = Field(
        None, description="The right answer."
    )
    rating: int | None = Field(None, ge=1, le=5, description="How good the answer was, 1 to 5.")
    comment: Annotated[StorableText, StringConstraints(min_length=1, max_length=MAX_COMMENT_CHARACTERS)] | None = Field(
        None, description="Anything else."
    )

    @model_validator(mode="after")
    def _says_something(self) -> FeedbackBody:
        if self.label is None and self.rating is None and self.comment is None:
            raise ValueError("give at least one of label, rating and comment")
        return self


async def read_body(request: Request, max_bytes: int) -> bytes:
    """Return the body of ``request``.

    Raises:
        Problem: it is not declared as JSON (415), is larger than ``max_bytes`` (413, found out by its declared
            length, else as soon as the limit is passed), or slower than ``READ_TIMEOUT_S`` (408).
    """
    declared = request.headers.get("content-type", "")
    if declared.partition(";")[0].strip().lower() != MEDIA_TYPE:
        raise Problem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            f"header content-type: must be {MEDIA_TYPE}, got '{declared}'. Send it with every body.",
        )
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > max_bytes:
        _refuse_size(int(length), max_bytes)
    try:
        async with asyncio.timeout(READ_TIMEOUT_S):
            return await _read_at_most(request, max_bytes)
    except TimeoutError as err:
        raise Problem(HTTPStatus.REQUEST_TIMEOUT, f"body: not complete after {READ_TIMEOUT_S:g} s. Send it.") from err
    except ClientDisconnect as err:
        raise Problem(
            HTTPStatus.BAD_REQUEST, "body: the connection was closed before its end. Send all of it."
        ) from err


async def _read_at_most(request: Request, max_bytes: int) -> bytes:
    chunks: list[bytes] = []
    size_bytes = 0
    async for chunk in request.stream():
        size_bytes += len(chunk)
        if size_bytes > max_bytes:
            _refuse_size(size_bytes, max_bytes)
        chunks.append(chunk)
    return b"".join(chunks)


def _refuse_size(size_bytes: int, max_bytes: int) -> NoReturn:
    raise Problem(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        f"body: larger than the {max_bytes} bytes that serve.max_body_bytes allows, got {size_bytes} or more. "
        "Split the inputs over several requests.",
    )


def parse_body(body: bytes, model: type[AnyBody], example: str) -> AnyBody:
    """Return ``body`` as a ``model``; ``example`` shows a right one in the message.

    Raises:
        Problem: it is not JSON (400) or not of this form (422, with every wrong position).
    """
    return _check_form(_parse_json(body, example), model, example)


def _parse_json(body: bytes, example: str) -> Any:
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError as err:
        raise Problem(HTTPStatus.BAD_REQUEST, f"body: not valid JSON: {err}. Send {example}.") from err


def _check_form(content: object, model: type[AnyBody], example: str) -> AnyBody:
    try:
        return model.model_validate(content)
    except ValidationError as err:
        errors = [{"pointer": _point_at(*found["loc"]), "detail": found["msg"]} for found in err.errors()]
        raise _refuse_form(errors, f"Send {example}.") from err


def parse_rows(inputs: Sequence[object], predictor: Predictor, max_inputs: int) -> list[Row]:
    """Return the row of each input, in order.

    Raises:
        Problem: there are none or some are wrong (422, with every wrong position), or too many (413).
    """
    return _parse_each(inputs, predictor.parse, "inputs", max_inputs)


def parse_events(body: bytes, resources: Resources, max_events: int) -> list[Event]:
    """Return the events of a body that holds a list of them, or just one.

    Raises:
        Problem: it is not JSON (400); there are no events or some are wrong (422, with every wrong position), or too
            many (413).
    """
    content = _parse_json(body, EVENTS_EXAMPLE)
    if not isinstance(content, dict) or "events" in content:
        events = _check_form(content, EventsBody, EVENTS_EXAMPLE).events
        return _parse_each(events, resources.parse_event, "events", max_events)
    try:
        return [resources.parse_event(content)]
    except RequestError as err:
        raise _refuse_form([{"pointer": _point_at(), "detail": str(err)}], SCHEMA_HINT) from err


def _parse_each(raws: Sequence[object], parse: Callable[[object], Parsed], name: str, limit: int) -> list[Parsed]:
    if len(raws) > limit:
        raise Problem(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"{name}: at most {limit} in one request (serve.max_inputs), got {len(raws)}. "
            "Split them over several requests.",
        )
    parsed: list[Parsed] = []
    errors: list[dict[str, str]] = []
    for position, raw in enumerate(raws):
        try:
            parsed.append(parse(raw))
        except RequestError as err:
            errors.append({"pointer": _point_at(name, position), "detail": str(err)})
    if not raws:
        errors.append({"pointer": _point_at(name), "detail": "is empty"})
    if errors:
        raise _refuse_form(errors, SCHEMA_HINT)
    return parsed


def _point_at(*path: str | int) -> str:
    """Return the JSON pointer (RFC 6901) of a place in the body."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def _refuse_form(errors: Sequence[dict[str, str]], hint: str) -> Problem:
    first = errors[0]
    more = f" And {len(errors) - 1} more." if len(errors) > 1 else ""
    place = first["pointer"].lstrip("/") or "body"
    detail = f"{place}: {first['detail']}.{more} {hint}".replace("..", ".")
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, errors=errors)
