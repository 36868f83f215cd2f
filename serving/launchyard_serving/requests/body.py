"""Request bodies: read within limits, parsed, and refused in words that say where they are wrong."""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Annotated, Any, NoReturn, TypeVar, cast

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic_core import from_json, to_json
from starlette.requests import ClientDisconnect, Request

from launchyard.contract.feedback import FeedbackRules
from launchyard.contract.predictor import Predictor, Schema, ServingState
from launchyard.contract.rows import Row
from launchyard.errors import RequestError
from launchyard.foreign_text import StorableText
from launchyard.records.events import Event
from launchyard_serving.requests.problems import Problem
from launchyard_serving.requests.slices import Slice, TooMany, TooMuch, slice_body

MEDIA_TYPE = "application/json"
MAX_COMMENT_CHARACTERS = 2000
MAX_ID_CHARACTERS = 200
MAX_LABEL_CHARACTERS = 512
MAX_LENGTH_DIGITS = 18
"""A length of more digits is refused unread: int() of a long text takes quadratic time."""
MAX_FEEDBACK_BYTES = 16 * 2**10
"""A comment and a correction of full length fit, in four bytes a character."""
READ_TIMEOUT_S = 30.0
"""Longest time for a body to come in; a slow line is the client's, so serve.timeout_s begins after it."""

SMALL_BODY_BYTES = 2 * 2**10
"""Bodies up to this size are read in one go on the event loop, for the way to a thread and back takes longer."""
MAX_LISTED = 100
"""Most wrong places that one answer lists."""

INPUTS_EXAMPLE = '{"inputs": [...]}'
EVENTS_EXAMPLE = '{"events": [...]}, or one event'
DOCUMENT_EXAMPLE = "what openapi.json describes"
MAX_ELEMENTS = 10_000
"""Most elements of a list at the top of a body whose form is a kind's own."""
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

    correction: JsonValue = Field(None, description="What was right, where a label cannot say it.")

    @model_validator(mode="after")
    def _says_something(self) -> FeedbackBody:
        if self.label is None and self.rating is None and self.comment is None and self.correction is None:
            raise ValueError("give at least one of label, rating, comment and correction")
        return self


async def read_body(
    request: Request, max_bytes: int, hold: Callable[[int], None], types: Sequence[str] = (MEDIA_TYPE,)
) -> bytes:
    """Return the body of ``request``; ``hold`` is told how many bytes come in, and may refuse them.

    Raises:
        Problem: it is not declared as of one of ``types`` (415), is larger than ``max_bytes`` (413, found out by its
            declared length, else as soon as the limit is passed), or slower than ``READ_TIMEOUT_S`` (408).
    """
    declared = request.headers.get("content-type", "")
    if declared.partition(";")[0].strip().lower() not in types:
        raise Problem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            f"header content-type: must be {' or '.join(types)}, got '{declared[:60]}'. Send it with every body.",
        )
    length = request.headers.get("content-length", "")
    if length.isascii() and length.isdigit() and (len(length) > MAX_LENGTH_DIGITS or int(length) > max_bytes):
        _refuse_size(length, max_bytes)
    try:
        async with asyncio.timeout(READ_TIMEOUT_S):
            return await _read_at_most(request, max_bytes, hold)
    except TimeoutError as err:
        raise Problem(HTTPStatus.REQUEST_TIMEOUT, f"body: not complete after {READ_TIMEOUT_S:g} s. Send it.") from err
    except ClientDisconnect as err:
        raise Problem(
            HTTPStatus.BAD_REQUEST, "body: the connection was closed before its end. Send all of it."
        ) from err


async def _read_at_most(request: Request, max_bytes: int, hold: Callable[[int], None]) -> bytes:
    chunks: list[bytes] = []
    size_bytes = 0
    async for chunk in request.stream():
        size_bytes += len(chunk)
        if size_bytes > max_bytes:
            _refuse_size(str(size_bytes), max_bytes)
        hold(len(chunk))
        chunks.append(chunk)
    return b"".join(chunks)


def _refuse_size(size_bytes: str, max_bytes: int) -> NoReturn:
    raise Problem(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        f"body: larger than the {max_bytes} bytes that serve.max_body_bytes allows, got "
        f"{size_bytes[:MAX_LENGTH_DIGITS]} or more. Split the inputs over several requests.",
    )


def parse_body(body: bytes, model: type[AnyBody], example: str) -> AnyBody:
    """Return ``body``, a small one, as a ``model``; ``example`` shows a right one in the message.

    Raises:
        Problem: it is not JSON (400) or not of this form (422, with every wrong position).
    """
    try:
        content = from_json(body, allow_inf_nan=False)
    except ValueError as err:
        raise _refuse_json(err, example) from err
    return _check_form(content, model, example)


def parse_correction(correction: JsonValue, rules: FeedbackRules) -> JsonValue:
    """Return a correction in the form that the kind keeps, checked as strictly as the rest of a body.

    Raises:
        Problem: it is not of the kind's form, or the kind takes none (422).
    """
    if rules.correction is None:
        problem = {"pointer": "/correction", "detail": "no corrections"}
        detail = "correction: answers of this product take none. Send a label, a rating or a comment."
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, errors=[problem])
    form = TypeAdapter[Any](rules.correction)
    try:
        # As JSON, in which a list may become a tuple.
        kept = form.validate_json(to_json(correction), strict=True)
    except ValidationError as err:
        errors = [
            {"pointer": _point_at("correction", *found["loc"]), "detail": found["msg"]}
            for found in err.errors(include_url=False)
        ]
        raise _refuse_form(errors, len(errors), "GET openapi.json shows its form.") from err
    return cast(JsonValue, form.dump_python(kept, mode="json"))


def _refuse_json(error: ValueError, example: str, place: str = "body") -> Problem:
    if isinstance(error, TooMuch):
        return Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"{place}: {error}. Send {example}.")
    return Problem(HTTPStatus.BAD_REQUEST, f"{place}: not valid JSON: {error}. Send {example}.")


def _check_form(content: object, model: type[AnyBody], example: str) -> AnyBody:
    if isinstance(content, dict) and len(content) > MAX_LISTED:
        # Pydantic makes an error of each unknown key, and this is told of the first of them alone.
        known = [key for key in content if key in model.model_fields]
        unknown = itertools.islice((key for key in content if key not in model.model_fields), MAX_LISTED)
        num_left = max(0, len(content) - len(known) - MAX_LISTED)
        content = {key: content[key] for key in (*known, *unknown)}
    else:
        num_left = 0
    try:
        return model.model_validate(content)
    except ValidationError as err:
        errors = [
            {"pointer": _point_at(*found["loc"]), "detail": found["msg"]} for found in err.errors(include_url=False)
        ]
        raise _refuse_form(errors, len(errors) + num_left, f"Send {example}.") from err


def parse_rows(body: bytes, predictor: Predictor, max_inputs: int, deadline: float = math.inf) -> list[Row]:
    """Return the row of each input of a body, in order; ``deadline`` is a time of the monotonic clock.

    Raises:
        TimeoutError: the deadline came before the last input was read.
        Problem: it is not JSON (400); there are no inputs or some are wrong (422, with the wrong positions), or too
            many (413).
    """
    members = _open(body, INPUTS_EXAMPLE, max_inputs)
    inputs = _read_list(members, "inputs", InputsBody, INPUTS_EXAMPLE)
    return _parse_each(inputs, predictor.parse, "inputs", max_inputs, deadline)


def parse_events(body: bytes, serving_state: ServingState, max_events: int, deadline: float = math.inf) -> list[Event]:
    """Return the events of a body that holds a list of them, or just one; ``deadline`` as for rows.

    Raises:
        TimeoutError: the deadline came before the last event was read.
        Problem: it is not JSON (400); there are no events or some are wrong (422, with the wrong positions), or too
            many (413).
    """
    members = _open(body, EVENTS_EXAMPLE, max_events)
    if not isinstance(members, dict) or "events" in members:
        events = _read_list(members, "events", EventsBody, EVENTS_EXAMPLE)
        return _parse_each(events, serving_state.parse_event, "events", max_events, deadline)
    try:
        event = {name: _parse_value(value) for name, value in members.items()}
    except ValueError as err:
        raise _refuse_json(err, EVENTS_EXAMPLE) from err
    try:
        return [serving_state.parse_event(event)]
    except RequestError as err:
        raise _refuse_form([{"pointer": _point_at(), "detail": str(err)}], 1, SCHEMA_HINT) from err


def _open(body: bytes, example: str, most: int) -> object:
    """Return what a body holds: a large one's members are slices, and lists of slices."""
    try:
        if len(body) <= SMALL_BODY_BYTES:
            return from_json(body, allow_inf_nan=False)
        return slice_body(body, most)
    except ValueError as err:
        raise _refuse_json(err, example) from err
    except TooMany as err:
        raise _refuse_many(err.name, most, f"more than {most}") from err


def _parse_value(value: object) -> object:
    if isinstance(value, Slice):
        return value.parse()
    return [_parse_value(part) for part in value] if isinstance(value, list) else value


def _read_list(members: object, name: str, model: type[BaseModel], example: str) -> list[object]:
    """Return the list ``name`` of a body, its elements perhaps as slices, once the body has the form of ``model``."""
    form: object = members
    if isinstance(members, dict) and members.keys() == {name} and isinstance(elements := members[name], list):
        # Nearly every body: it has the form already.
        return elements
    try:
        if isinstance(members, dict):
            form = {key: [] if isinstance(value, list) else _parse_value(value) for key, value in members.items()}
        elif isinstance(members, Slice):
            form = members.parse()
    except ValueError as err:
        raise _refuse_json(err, example) from err
    _check_form(form, model, example)
    return cast(dict[str, list[object]], members)[name]


def _refuse_many(name: str, limit: int, got: str) -> Problem:
    return Problem(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        f"{name}: at most {limit} in one request (serve.max_inputs), got {got}. Split them over several requests.",
    )


def _parse_each(
    raws: Sequence[object], parse: Callable[[object], Parsed], name: str, limit: int, deadline: float
) -> list[Parsed]:
    if len(raws) > limit:
        raise _refuse_many(name, limit, str(len(raws)))
    parsed: list[Parsed] = []
    errors: list[dict[str, str]] = []
    num_wrong = 0
    for position, raw in enumerate(raws):
        if time.monotonic() > deadline:
            # Nobody waits for the rest any longer.
            raise TimeoutError
        try:
            value = raw.parse() if isinstance(raw, Slice) else raw
        except ValueError as err:
            raise _refuse_json(err, "what schema shows", f"{name}/{position}") from err
        try:
            parsed.append(parse(value))
        except RequestError as err:
            num_wrong += 1
            if len(errors) < MAX_LISTED:
                errors.append({"pointer": _point_at(name, position), "detail": str(err)})
    if not raws:
        errors.append({"pointer": _point_at(name), "detail": "is empty"})
    if errors:
        raise _refuse_form(errors, max(num_wrong, 1), SCHEMA_HINT)
    return parsed


def parse_document(body: bytes, schema: Schema) -> Any:
    """Return a body as its schema reads it.

    Raises:
        Problem: it is not JSON (400), or not of this form (422, with every wrong position).
    """
    members = _open(body, DOCUMENT_EXAMPLE, MAX_ELEMENTS)
    try:
        content = (
            {name: _parse_value(value) for name, value in members.items()}
            if isinstance(members, dict)
            else _parse_value(members)
        )
    except ValueError as err:
        raise _refuse_json(err, DOCUMENT_EXAMPLE) from err
    try:
        return TypeAdapter(schema).validate_python(content)
    except ValidationError as err:
        errors = [
            {"pointer": _point_at(*found["loc"]), "detail": found["msg"]} for found in err.errors(include_url=False)
        ]
        raise _refuse_form(errors[:MAX_LISTED], len(errors), f"Send {DOCUMENT_EXAMPLE}.") from err


def parse_row(raw: object, predictor: Predictor) -> Row:
    """Return the row of one raw input that stands in no list.

    Raises:
        Problem: it is wrong (422).
    """
    try:
        return predictor.parse(raw)
    except RequestError as err:
        raise _refuse_form([{"pointer": _point_at(), "detail": str(err)}], 1, SCHEMA_HINT) from err


def _point_at(*path: str | int) -> str:
    """Return the JSON pointer (RFC 6901) of a place in the body."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def _refuse_form(errors: Sequence[dict[str, str]], num_wrong: int, hint: str) -> Problem:
    """Return the problem of a body with ``num_wrong`` wrong places, of which ``errors`` are the first."""
    first = errors[0]
    more = f" And {num_wrong - 1} more." if num_wrong > 1 else ""
    place = first["pointer"].lstrip("/") or "body"
    end = "" if first["detail"].endswith(".") else "."
    return Problem(
        HTTPStatus.UNPROCESSABLE_ENTITY, f"{place}: {first['detail']}{end}{more} {hint}", errors=tuple(errors)
    )
