"""The HTTP application of one product, the same for every kind; knows nothing of Ray."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from functools import partial
from http import HTTPStatus

from pydantic_core import to_json
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from launchyard.contract.feedback import FeedbackRules
from launchyard.contract.predictor import ServingState
from launchyard.errors import RequestError
from launchyard.prediction.schemas import describe_schema
from launchyard.prediction.streams import CollectedPredictor
from launchyard.privacy.pseudonyms import IdentitySigner
from launchyard.records.events import AddedEvents
from launchyard.records.records import Feedback, Records
from launchyard.spec.blocks import Serve
from launchyard.spec.events import EventLimits
from launchyard_serving.kind_routes import KindRoutes
from launchyard_serving.openapi import describe_product
from launchyard_serving.page import read_page
from launchyard_serving.predictions import Predictions, explain_busy, explain_timeout, find_deadline
from launchyard_serving.replica.follow import Follower
from launchyard_serving.replica.lanes import Lane, LaneFull
from launchyard_serving.replica.model import ServedModel
from launchyard_serving.requests.body import (
    MAX_FEEDBACK_BYTES,
    MEDIA_TYPE,
    FeedbackBody,
    parse_body,
    parse_correction,
    parse_events,
    read_body,
)
from launchyard_serving.requests.held_bytes import HELD_BODIES, HeldBytes
from launchyard_serving.requests.problems import EXCEPTION_HANDLERS, METHODS_HINT, Problem
from launchyard_serving.requests.rates import EventRates, TooFast, name_sender

WRITERS = 2
"""Threads that write feedback, and as many that write events: the database takes one writer at a time anyway."""
WAITING_WRITES = 64
"""Requests with feedback, and as many with events, that may wait for the database."""
SWAP_RETRY_S = 2
"""What a client is told to wait while versions change places: loading takes seconds."""

SENDER_PREFIX = "\0sender\0"
"""Before what is made a pseudonym of: no id of a user begins so."""

logger = logging.getLogger(__name__)

POSTED = ("predict", "explain", "feedback", "events")
"""Paths, and methods of the endpoint that answer them."""
FEEDBACK_EXAMPLE = '{"id": "...", "label": "..."} (or "rating": 1 to 5, "comment" or "correction")'


class ProductEndpoint:
    """Answers the requests on one product with the model that its follower holds at that moment.

    ``load_rules`` returns what may be said about a version's answers. It blocks, and is called in a thread.
    """

    def __init__(
        self,
        product: str,
        follower: Follower,
        signer: IdentitySigner,
        records: Records,
        load_rules: Callable[[int], FeedbackRules],
    ) -> None:
        self._product = product
        self._load_rules = load_rules
        self._follower = follower
        self._signer = signer
        self._records = records
        self._held = HeldBytes()
        self._predictions = Predictions(product, signer, self._held)
        self._kind_routes = KindRoutes(self._predictions)
        self._feedback = Lane("keep-feedback", num_threads=WRITERS, max_waiting=WAITING_WRITES)
        self._rates = EventRates()
        self._events = Lane("keep-events", num_threads=WRITERS, max_waiting=WAITING_WRITES)

    def build_app(self) -> Starlette:
        """Return the ASGI application; its start waits for the first try to load the champion."""
        routes = [
            *(Route(f"/{name}", getattr(self, name), methods=["POST"]) for name in POSTED),
            Route("/ready", self.ready),
            Route("/schema", self.schema),
            Route("/openapi.json", self.openapi),
            Route("/", self.page),
            Route("/{path:path}", self.kind_route, methods=["GET", "POST"]),
        ]
        return Starlette(routes=routes, exception_handlers=EXCEPTION_HANDLERS, lifespan=self._follow)

    @contextlib.asynccontextmanager
    async def _follow(self, _app: Starlette) -> AsyncIterator[None]:
        await self._follower.update()
        following = asyncio.create_task(self._follower.run())
        try:
            yield
        finally:
            following.cancel()
            self._follower.stop()
            for lane in (self._predictions, self._feedback, self._events):
                lane.close()

    async def predict(self, request: Request) -> Response:
        """Answer ``POST predict``."""
        return await self._predictions.predict(request, self._get_model())

    async def explain(self, request: Request) -> Response:
        """Answer ``POST explain``: predictions, and what in each input speaks for them."""
        return await self._predictions.explain(request, self._get_model())

    async def kind_route(self, request: Request) -> Response:
        """Answer a route of the kind's own, or say that there is none."""
        if request.path_params["path"] in POSTED:
            # As the path exists, but is not asked like this.
            raise HTTPException(HTTPStatus.METHOD_NOT_ALLOWED, headers={"allow": "POST"})
        return await self._kind_routes.answer(request, self._get_model())

    async def events(self, request: Request) -> Response:
        """Answer ``POST events``; when it answers 200, the events are on disk, and the next answers know them."""
        model = self._get_model()
        serving_state, serve = model.serving_state, model.spec.serve
        if serving_state is None:
            raise Problem(HTTPStatus.NOT_FOUND, f"{self._product}: this product takes no events. {METHODS_HINT}")
        with model.used(), self._held.room(HELD_BODIES * serve.max_body_bytes) as hold:
            body = await read_body(request, serve.max_body_bytes, hold)
            sender = self._find_sender(request, serving_state.event_limits)
            deadline = find_deadline(serve.timeout_s)
            keep = partial(self._keep_events, body, model, serving_state, sender, deadline)
            try:
                added = await self._events.run(keep, deadline=deadline)
            except TimeoutError as err:
                raise explain_timeout(model, "Send them again: an event with a timestamp is not kept twice.") from err
            except LaneFull as err:
                raise explain_busy("too many events wait for the database already. None of these is kept.") from err
            except TooFast as err:
                detail = f"events: too many of {err.limit}. None of these is kept. Send them in {err.retry_after_s} s."
                raise Problem(HTTPStatus.TOO_MANY_REQUESTS, detail, retry_after_s=err.retry_after_s) from err
        return _json({"stored": added.stored, "duplicates": added.duplicates})

    def _find_sender(self, request: Request, limits: EventLimits) -> str:
        """Return the pseudonym of who sent a request: whom the proxy names that the spec trusts, or who connects."""
        address = request.client.host if request.client else ""
        if limits.sender_header is not None and (named := request.headers.getlist(limits.sender_header)):
            # What stands before it came with the request, and may say anything.
            address = named[-1].rpartition(",")[2].strip() or address
        return self._signer.pseudonymise(SENDER_PREFIX + name_sender(address))

    def _keep_events(
        self, body: bytes, model: ServedModel, serving_state: ServingState, sender: str, deadline: float
    ) -> AddedEvents:
        """Keep events unless somebody sends too many; blocks.

        Raises:
            TooFast: somebody does.
        """
        limits = serving_state.event_limits
        self._rates.check_sender(sender, limits)
        events = parse_events(body, serving_state, model.spec.serve.max_inputs, deadline)
        self._rates.check_users(events, limits)
        added = serving_state.add_events(events, sender=sender)
        self._rates.count(events, sender, limits)
        return added

    async def feedback(self, request: Request) -> Response:
        """Answer ``POST feedback``; when it answers 200, the feedback is on disk."""
        with self._held.room(MAX_FEEDBACK_BYTES) as hold:
            body = await read_body(request, MAX_FEEDBACK_BYTES, hold)
        said = parse_body(body, FeedbackBody, FEEDBACK_EXAMPLE)
        try:
            output = self._signer.verify(said.id)
        except RequestError as err:
            raise Problem(HTTPStatus.FORBIDDEN, str(err)) from err
        feedback = Feedback(
            output_id=said.id,
            product=self._product,
            version=output.version,
            predicted_at=output.predicted_at,
            label=said.label,
            rating=said.rating,
            comment=said.comment,
            correction=said.correction,
            subject=output.subject,
        )
        model = self._follower.model
        if model is not None and model.release.version == output.version:
            feedback = _check_feedback(feedback, model.feedback)
            keep = partial(self._keep_feedback, feedback)
        else:
            keep = partial(self._check_and_keep_feedback, feedback)
        try:
            await self._feedback.run(keep, deadline=find_deadline(self._timeout_s))
        except TimeoutError as err:
            # Unlike an event without a timestamp, it may be sent again whether or not it was kept after all.
            raise explain_busy("the database did not answer in time. The same feedback is not kept twice.") from err
        except LaneFull as err:
            raise explain_busy("too much feedback waits for the database already. This is not kept.") from err
        return _json({"id": said.id, "stored": True})

    def _check_and_keep_feedback(self, feedback: Feedback) -> None:
        """Keep feedback on a version that does not serve, once it is known to fit it; blocks."""
        if feedback.label is not None or feedback.correction is not None:
            feedback = _check_feedback(feedback, self._load_rules(feedback.version))
        self._keep_feedback(feedback)

    def _keep_feedback(self, feedback: Feedback) -> None:
        """Keep checked feedback; blocks."""
        self._records.add_feedback(feedback)

    async def ready(self, _request: Request) -> Response:
        """Answer ``GET ready``: 200 once a model answers, and whether the champion is another that was refused.

        While none answers, the problem document's ``state`` says why: ``swapping`` versions, or ``waiting`` for one.
        """
        model = self._get_model()
        state = {"state": "answering", "swap": model.spec.serve.swap}
        return _json({"ready": True, "model": model.identity, "refused": self._follower.refusal, **state})

    async def schema(self, _request: Request) -> Response:
        """Answer ``GET schema``: the JSON schemas of one input, one output and perhaps one event, and inputs to try.

        These are the kind's own: the rows in a bundle's ``examples.json`` were written by people, for other eyes.
        """
        model = self._get_model()
        accepted = describe_schema(model.predictor.input_schema, "validation")
        schemas = {
            "product": self._product,
            "kind": model.spec.kind,
            "input": accepted,
            "output": describe_schema(model.predictor.output_schema, "serialization"),
            "examples": accepted.get("examples", []),
        }
        if isinstance(model.predictor, CollectedPredictor):
            schemas["stream"] = describe_schema(model.predictor.event_schema, "serialization")
        if model.serving_state is not None:
            schemas["event"] = model.serving_state.event_schema.model_json_schema()
        return _json(schemas)

    async def openapi(self, _request: Request) -> Response:
        """Answer ``GET openapi.json``."""
        model = self._get_model()
        return _json(describe_product(self._product, model))

    async def page(self, _request: Request) -> Response:
        """Answer ``GET /``: the kind's playground page."""
        kind = self._get_model().spec.kind
        try:
            html, headers = read_page(kind)
        except FileNotFoundError as err:
            raise Problem(HTTPStatus.NOT_FOUND, f"{self._product}: {kind} has no page. {METHODS_HINT}") from err
        return HTMLResponse(html, headers=headers)

    @property
    def _timeout_s(self) -> float:
        """The deadline of a request that needs no model, which is answered while none is loaded too."""
        model = self._follower.model
        return (Serve() if model is None else model.spec.serve).timeout_s

    def _get_model(self) -> ServedModel:
        model = self._follower.model
        if model is None:
            swapping = self._follower.swapping
            raise Problem(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"{self._product}: no model answers: {swapping or self._follower.refusal}",
                retry_after_s=1 if swapping is None else SWAP_RETRY_S,
                state="waiting" if swapping is None else "swapping",
            )
        return model


def _check_feedback(feedback: Feedback, rules: FeedbackRules) -> Feedback:
    """Return feedback as it is kept.

    Raises:
        Problem: the kind does not take it (422).
    """
    if feedback.correction is not None:
        correction = parse_correction(feedback.correction, rules)
        feedback = feedback.model_copy(update={"correction": correction})
    refusal = rules.find_refusal(version=feedback.version, label=feedback.label, correction=feedback.correction)
    if refusal is not None:
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            refusal.detail,
            errors=[{"pointer": f"/{refusal.field}", "detail": refusal.problem}],
        )
    return feedback


def _json(content: object) -> Response:
    return Response(to_json(content), media_type=MEDIA_TYPE)
