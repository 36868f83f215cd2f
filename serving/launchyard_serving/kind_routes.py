"""The routes of a kind's own: read, bounded and described as the platform's are; what they say is the kind's."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from functools import partial
from http import HTTPStatus
from typing import Any

from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from launchyard.contract.predictor import Output, StreamEvent
from launchyard.contract.routes import AskError, KindRoute, Reply
from launchyard.contract.rows import Row
from launchyard.errors import RequestError
from launchyard_serving.predictions import ASKING_ERRORS, Predictions, explain_error, find_deadline
from launchyard_serving.replica.lanes import LaneFull
from launchyard_serving.replica.model import ServedModel
from launchyard_serving.replica.streams import StreamQueue
from launchyard_serving.requests.body import MEDIA_TYPE, parse_document, read_body
from launchyard_serving.requests.events import EventStream, unless_gone, write_event
from launchyard_serving.requests.held_bytes import HELD_BODIES
from launchyard_serving.requests.problems import Problem


class ModelAsking:
    """One request's way to the model; see :class:`launchyard.contract.routes.Asking`.

    Args:
        model: Who answers.
        predictions: How the platform's own routes ask.
        request: The request, whose client may leave.
        used: Ends the streams that were begun, when the request ends.
    """

    def __init__(self, model: ServedModel, predictions: Predictions, request: Request, used: AsyncExitStack) -> None:
        self._model = model
        self._predictions = predictions
        self._request = request
        self._used = used

    async def parse(self, raw: object) -> Row:
        """Return the row of a raw input, without the own id of whom it is about."""
        try:
            return await self._predictions.parse_row(raw, self._model)
        except (TimeoutError, LaneFull) as err:
            raise _tell(err, self._model) from err

    async def answer(self, row: Row) -> Output:
        """Return the answer to a row."""
        queue = self._model.predictions
        deadline = find_deadline(self._model.spec.serve.timeout_s)
        try:
            (output,) = await unless_gone(self._request, queue.submit([row], deadline=deadline))
        except ASKING_ERRORS as err:
            raise _tell(err, self._model) from err
        return output

    async def stream(self, row: Row) -> AsyncGenerator[StreamEvent, None]:
        """Yield the events of a row's answer."""
        queue = self._model.predictions
        assert isinstance(queue, StreamQueue), "a kind that does not stream has asked for events"  # noqa: S101
        try:
            events = await queue.open(row)
            self._used.push_async_callback(events.aclose)
            async for event in events:
                yield event
        except ASKING_ERRORS as err:
            raise _tell(err, self._model) from err

    def sign(self, row: Row) -> str:
        """Return a new id of an answer to a row."""
        return self._predictions.sign(self._model, row)


def _tell(error: Exception, model: ServedModel) -> AskError:
    problem = explain_error(error, model)
    return AskError(problem.status, problem.detail, problem.retry_after_s)


class KindRoutes:
    """Answers the routes of whatever model serves."""

    def __init__(self, predictions: Predictions) -> None:
        self._predictions = predictions

    async def answer(self, request: Request, model: ServedModel) -> Response:
        """Answer a request to a path that is none of the platform's.

        Raises:
            HTTPException: it is none of the kind's either (404), or is asked by another method (405).
        """
        route = model.routes.get("/" + request.path_params["path"])
        if route is None:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        if request.method != route.method:
            raise HTTPException(HTTPStatus.METHOD_NOT_ALLOWED, headers={"allow": route.method})
        try:
            return await self._ask(request, model, route)
        except Problem as problem:
            return _write_problem(route, problem)
        except RequestError as err:
            return _write_problem(route, Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(err)))
        except AskError as err:
            failed = Problem(HTTPStatus(err.status), err.detail, retry_after_s=err.retry_after_s)
            return _write_problem(route, failed)

    async def _ask(self, request: Request, model: ServedModel, route: KindRoute) -> Response:
        async with AsyncExitStack() as used:
            used.enter_context(model.used())
            asking = ModelAsking(model, self._predictions, request, used)
            serve = model.spec.serve
            with self._predictions.held.room(HELD_BODIES * serve.max_body_bytes) as hold:
                content: Any = None
                if route.request is not None:
                    body = await read_body(request, serve.max_body_bytes, hold)
                    parse = partial(parse_document, body, route.request)
                    try:
                        content = await self._predictions.run_parsing(parse, len(body), serve.timeout_s)
                    except (TimeoutError, LaneFull) as err:
                        raise explain_error(err, model) from err
                reply = await route.handle(content, asking)
                if not isinstance(reply.content, AsyncGenerator):
                    return _write_reply(reply)
                used.push_async_callback(reply.content.aclose)
                # What goes wrong before the first bytes still has a status of its own.
                first = await unless_gone(request, _take(reply.content))
            chunks = _continue(first, reply.content, route)
            return EventStream(chunks, used.pop_all(), media_type=reply.media_type)


def _write_reply(reply: Reply) -> Response:
    content = reply.content if isinstance(reply.content, bytes) else to_json(reply.content)
    return Response(content, media_type=reply.media_type)


async def _take(chunks: AsyncGenerator[bytes, None]) -> list[bytes]:
    """Return the first chunk, or none when the stream has ended without one."""
    try:
        return [await anext(chunks)]
    except StopAsyncIteration:
        return []


async def _continue(
    first: list[bytes], chunks: AsyncGenerator[bytes, None], route: KindRoute
) -> AsyncGenerator[bytes, None]:
    """Yield all chunks; an error in their midst is the last of them, as a server-sent event."""
    try:
        for chunk in first:
            yield chunk
        async for chunk in chunks:
            yield chunk
    except AskError as err:
        yield write_event(_describe_problem(route, Problem(HTTPStatus(err.status), err.detail)))


def _describe_problem(route: KindRoute, problem: Problem) -> object:
    if route.write_error is None:
        return problem.document()
    return route.write_error(problem.status.value, problem.detail)


def _write_problem(route: KindRoute, problem: Problem) -> Response:
    response = problem.response()
    if route.write_error is None:
        return response
    content = to_json(route.write_error(problem.status.value, problem.detail))
    headers = {name: value for name, value in response.headers.items() if name == "retry-after"}
    return Response(content, problem.status, headers, MEDIA_TYPE)
