"""The routes predict and explain: a body becomes rows, rows become outputs, and outputs an answer that is signed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from http import HTTPStatus
from typing import TypeVar

from pydantic_core import to_json
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from launchyard.contract.media import Media
from launchyard.contract.predictor import Output, StreamEvent
from launchyard.contract.rows import Row
from launchyard.errors import RequestError
from launchyard.prediction.media import spell_media
from launchyard.privacy.pseudonyms import IdentitySigner
from launchyard.privacy.subjects import find_subject, name_subject
from launchyard_serving.replica.batching import MicroBatcher, QueueFull, RowFailed
from launchyard_serving.replica.lanes import Lane, LaneFull
from launchyard_serving.replica.model import ServedModel
from launchyard_serving.replica.streams import Events, StreamQueue, StreamStopped
from launchyard_serving.requests.body import MEDIA_TYPE, SMALL_BODY_BYTES, parse_row, parse_rows, read_body
from launchyard_serving.requests.events import EventStream, unless_gone, wants_events, write_event
from launchyard_serving.requests.files import find_asked_type, find_type, list_body_types, parse_file_body
from launchyard_serving.requests.held_bytes import FREE_BYTES, HELD_BODIES, HeldBytes
from launchyard_serving.requests.problems import METHODS_HINT, Problem

WAITING_BODIES = 64
"""Larger bodies that may wait to be parsed."""
FEW_OUTPUTS = 32
"""Outputs up to which an answer is written on the event loop."""
WAITING_ANSWERS = 1024
"""Larger answers that may wait to be written; each has been computed, so none is refused before that many."""
BUSY_RETRY_S = 1
MAX_FILE_BYTES = 64 * 2**20
"""Largest file in an answer."""
OUTPUT_ID = "launchyard-output-id"
MODEL_VERSION = "launchyard-model-version"
"""Headers of an answer that is a file."""

Result = TypeVar("Result")

logger = logging.getLogger(__name__)


class Predictions:
    """Answers requests with the model that each is given.

    Args:
        product: Its name, for messages.
        signer: Gives outputs their ids, and people their pseudonyms.
        held: Counts the bytes of all bodies of the replica.
    """

    def __init__(self, product: str, signer: IdentitySigner, held: HeldBytes) -> None:
        self._product = product
        self._signer = signer
        self.held = held
        self._parsing = Lane("parse", num_threads=1, max_waiting=WAITING_BODIES)
        self._writing = Lane("write", num_threads=1, max_waiting=WAITING_ANSWERS)

    def close(self) -> None:
        """Begin nothing more."""
        self._parsing.close()
        self._writing.close()

    async def predict(self, request: Request, model: ServedModel) -> Response:
        """Answer ``POST predict``; a model that streams answers with events who asks for them."""
        if isinstance(model.predictions, StreamQueue) and wants_events(request):
            return await self._stream(request, model, model.predictions)
        return await self._answer(request, model, model.predictions)

    async def explain(self, request: Request, model: ServedModel) -> Response:
        """Answer ``POST explain``.

        Raises:
            Problem: the model explains nothing (404).
        """
        if model.explanations is None:
            detail = f"{self._product}: answers of {model.spec.kind} are not explained. {METHODS_HINT}"
            raise Problem(HTTPStatus.NOT_FOUND, detail)
        return await self._answer(request, model, model.explanations)

    async def _answer(self, request: Request, model: ServedModel, queue: MicroBatcher | StreamQueue) -> Response:
        serve = model.spec.serve
        with model.used(), self.held.room(HELD_BODIES * serve.max_body_bytes) as hold:
            body = await _read_input(request, model, hold)
            deadline = find_deadline(serve.timeout_s)
            try:
                rows = await self._parse_inputs(request, body, model, deadline)
                if isinstance(queue, StreamQueue):
                    outputs = await unless_gone(request, queue.submit(rows))
                    # A stream may take long, as long as something comes of it.
                    deadline = find_deadline(serve.timeout_s)
                else:
                    outputs = await queue.submit(rows, deadline=deadline, are_short=len(body) <= FREE_BYTES)
                if model.answers_files and find_asked_type(request, model.predictor) is not None:
                    return self._send_file(model, rows, outputs)
                content = await self._write_answer(model, rows, outputs, deadline)
            except ASKING_ERRORS as err:
                raise explain_error(err, model) from err
        return Response(content, media_type=MEDIA_TYPE)

    def _send_file(self, model: ServedModel, rows: Sequence[Row], outputs: Sequence[Output]) -> Response:
        """Return the one file of the one answer as the body; what else there is of it stands in headers.

        Raises:
            Problem: there are several answers (422), or it has no file.
        """
        if len(outputs) != 1:
            detail = f"inputs: one answer may be a file, got {len(outputs)} inputs. Send one, or ask for JSON."
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail)
        signed = self._sign(model, rows[0], outputs[0])
        media = next((value for value in signed.values() if isinstance(value, Media)), None)
        if media is None:
            raise Problem(HTTPStatus.NOT_ACCEPTABLE, "this answer holds no file. Ask for JSON.")
        _check_size(media)
        headers = {OUTPUT_ID: str(signed["id"]), MODEL_VERSION: str(model.release.version), "vary": "accept"}
        return Response(media.data, media_type=media.type, headers=headers)

    async def _stream(self, request: Request, model: ServedModel, queue: StreamQueue) -> Response:
        """Return the events of one input's answer; what goes wrong before the first of them is a problem document."""
        serve = model.spec.serve
        async with AsyncExitStack() as used:
            used.enter_context(model.used())
            with self.held.room(HELD_BODIES * serve.max_body_bytes) as hold:
                body = await _read_input(request, model, hold)
                try:
                    rows = await self._parse_inputs(request, body, model, find_deadline(serve.timeout_s))
                    if len(rows) > 1:
                        detail = f"inputs: a stream answers one input, got {len(rows)}. Send one, or ask for JSON."
                        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail)
                    events = await queue.open(rows[0])
                    used.push_async_callback(events.aclose)
                    first = await unless_gone(request, _take(events))
                except ASKING_ERRORS as err:
                    raise explain_error(err, model) from err
            return EventStream(self._write_events(model, rows[0], queue, first, events), used.pop_all())

    async def _write_events(
        self, model: ServedModel, row: Row, queue: StreamQueue, first: list[StreamEvent], events: Events
    ) -> AsyncGenerator[bytes, None]:
        """Yield what is sent: each event, and at last the whole answer, or what went wrong."""
        taken = first
        try:
            for event in first:
                yield write_event(event)
            async for event in events:
                taken.append(event)
                yield write_event(event)
            output = self._sign(model, row, _choose_spelling(model)(queue.collect(taken)))
        except ASKING_ERRORS as err:
            yield write_event(explain_error(err, model).document(), "error")
        else:
            yield write_event({"model": model.identity, "outputs": [output]}, "answer")

    async def _parse_inputs(self, request: Request, body: bytes, model: ServedModel, deadline: float) -> list[Row]:
        if model.takes_files and find_type(request) != MEDIA_TYPE:
            raw = await parse_file_body(request, body, model.predictor)
            return [await self.parse_row(raw, model)]

        def parse() -> list[Row]:
            rows = parse_rows(body, model.predictor, model.spec.serve.max_inputs, deadline)
            # Own ids of people go no further than here.
            return [name_subject(model.spec, row, self._signer.key) for row in rows]

        return parse() if len(body) <= SMALL_BODY_BYTES else await self._parsing.run(parse, deadline=deadline)

    async def parse_row(self, raw: object, model: ServedModel) -> Row:
        """Return the row of one raw input, without the own id of whom it is about.

        Raises:
            Problem: the kind refuses it (422).
            TimeoutError: it was not read in time.
            LaneFull: too many inputs wait to be read already.
        """
        parse = partial(parse_row, raw, model.predictor)
        row = await self._parsing.run(parse, deadline=find_deadline(model.spec.serve.timeout_s))
        return name_subject(model.spec, row, self._signer.key)

    async def run_parsing(self, parse: Callable[[], Result], size_bytes: int, timeout_s: float) -> Result:
        """Return what ``parse`` makes of a body: at once where that is small, else in a thread.

        Raises:
            TimeoutError: it was not read in time.
            LaneFull: too many large bodies wait already.
        """
        if size_bytes <= SMALL_BODY_BYTES:
            return parse()
        return await self._parsing.run(parse, deadline=find_deadline(timeout_s))

    async def _write_answer(
        self, model: ServedModel, rows: Sequence[Row], outputs: Sequence[Output], deadline: float
    ) -> bytes:
        spell = _choose_spelling(model)

        def write() -> bytes:
            # One by one, so that other threads run in between.
            written = b",".join(
                to_json(self._sign(model, row, spell(output))) for row, output in zip(rows, outputs, strict=True)
            )
            return b'{"model":%b,"outputs":[%b]}' % (to_json(model.identity), written)

        return write() if len(rows) <= FEW_OUTPUTS else await self._writing.run(write, deadline=deadline)

    def _sign(self, model: ServedModel, row: Row, output: Output) -> dict[str, object]:
        """Return an output with its id."""
        return {"id": self.sign(model, row), **output}

    def sign(self, model: ServedModel, row: Row) -> str:
        """Return a new id of an answer to a row."""
        return self._signer.sign(model.release.version, find_subject(model.spec, row))


async def _read_input(request: Request, model: ServedModel, hold: Callable[[int], None]) -> bytes:
    types = list_body_types(model.predictor) if model.takes_files else (MEDIA_TYPE,)
    return await read_body(request, model.spec.serve.max_body_bytes, hold, types)


def _choose_spelling(model: ServedModel) -> Callable[[Output], Output]:
    """Return what makes JSON of an output: nothing where it holds no file, which is nearly always."""
    if not model.answers_files:
        return lambda output: output

    def spell(output: Output) -> Output:
        for value in output.values():
            if isinstance(value, Media):
                _check_size(value)
        spelled: Output = spell_media(output)
        return spelled

    return spell


def _check_size(media: Media) -> None:
    """Refuse to answer with a file that is larger than any answer may be.

    Raises:
        Problem: it is (500).
    """
    if len(media.data) > MAX_FILE_BYTES:
        detail = f"the answer is a file of {len(media.data)} bytes, at most {MAX_FILE_BYTES} are sent. Ask for less."
        raise Problem(HTTPStatus.INTERNAL_SERVER_ERROR, detail)


async def _take(events: Events) -> list[StreamEvent]:
    """Return the first event, or none when the stream has ended without one."""
    try:
        return [await anext(events)]
    except StopAsyncIteration:
        return []


def find_deadline(timeout_s: float) -> float:
    """Return the time of the event loop's clock in ``timeout_s``."""
    return asyncio.get_running_loop().time() + timeout_s


def explain_busy(reason: str) -> Problem:
    """Return the problem of a request that is to be sent again."""
    detail = f"{reason} Send it again in {BUSY_RETRY_S} s."
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, retry_after_s=BUSY_RETRY_S)


def explain_timeout(model: ServedModel, hint: str) -> Problem:
    """Return the problem of a request that took too long."""
    what = "the next event did not come" if isinstance(model.predictions, StreamQueue) else "not answered"
    detail = f"{what} within the {model.spec.serve.timeout_s:g} s of serve.timeout_s. {hint}"
    return Problem(HTTPStatus.GATEWAY_TIMEOUT, detail)


ASKING_ERRORS = (TimeoutError, QueueFull, LaneFull, RowFailed, StreamStopped, ClientDisconnect)
"""What asking a model may end with, beside an answer."""


def explain_error(error: Exception, model: ServedModel) -> Problem:
    """Return the problem that one of ``ASKING_ERRORS`` is to the caller."""
    match error:
        case QueueFull(retry_after_s=retry_after_s):
            detail = f"too many inputs wait already. Try again in {retry_after_s} s."
            return Problem(HTTPStatus.TOO_MANY_REQUESTS, detail, retry_after_s=retry_after_s)
        case LaneFull():
            detail = f"too many large bodies wait already. Try again in {BUSY_RETRY_S} s."
            return Problem(HTTPStatus.TOO_MANY_REQUESTS, detail, retry_after_s=BUSY_RETRY_S)
        case RowFailed():
            return explain_failed_row(error)
        case ClientDisconnect():
            # Read by nobody but the server's log.
            return Problem(HTTPStatus.BAD_REQUEST, "the connection was closed before the answer.")
        case StreamStopped():
            return explain_busy("another version takes this one's place.")
        case _:
            return explain_timeout(model, "Send fewer inputs, or raise it.")


def explain_failed_row(failed: RowFailed) -> Problem:
    """Return the problem of a request one of whose rows the model failed on; what it raised goes to the log alone."""
    position = failed.position
    if isinstance(failed.__cause__, RequestError):
        status, detail = HTTPStatus.UNPROCESSABLE_ENTITY, str(failed.__cause__)
    else:
        logger.error("the model failed on a row", exc_info=failed.__cause__)
        status, detail = HTTPStatus.INTERNAL_SERVER_ERROR, "the model failed on this input. The server's log has why."
    return Problem(
        status, f"inputs/{position}: {detail}", errors=[{"pointer": f"/inputs/{position}", "detail": detail}]
    )
