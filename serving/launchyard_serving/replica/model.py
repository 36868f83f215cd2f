"""A model as a replica holds it: verified, self-tested, with a queue and what it reads beside its bundle of its own."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial

from launchyard.bundle.manifest import read_spec
from launchyard.bundle.store import BundleStore
from launchyard.contract.feedback import FeedbackRules
from launchyard.contract.predictor import Device, ExplainingPredictor, Output, Predictor, ServingState
from launchyard.contract.routes import KindRoute
from launchyard.contract.rows import Row
from launchyard.kind import Kind
from launchyard.kinds import get_kind
from launchyard.prediction.media import list_media_fields
from launchyard.prediction.open import OpenModel, open_model
from launchyard.prediction.streams import CollectedPredictor
from launchyard.rollout.rules import Release
from launchyard.settings import Settings
from launchyard.spec.blocks import Product, Serve, Swap
from launchyard_serving.replica.batching import MicroBatcher
from launchyard_serving.replica.streams import StreamQueue

WAITING_BATCHES = 32
"""Full batches that may wait for the model before more requests are turned away."""

WAITING_EXPLANATIONS = 64
"""Explanations that may wait; each costs as much as many predictions."""

COLLECT_AFTER = 50_000
"""New objects after which the cycle collector looks at them; more than the requests of a moment need."""

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class UseCount:
    """How many requests use a model, and whether it was replaced."""

    num_requests: int = 0
    is_retired: bool = False
    is_closing: bool = False
    closed: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True)
class ServedModel:
    """One version of a product's model, ready to answer.

    Requests keep the model that they began with, so a swap never changes a model under a request.
    """

    release: Release
    spec: Product
    feedback: FeedbackRules
    """What may be said about its answers."""
    predictor: Predictor
    predictions: MicroBatcher | StreamQueue
    explanations: MicroBatcher | None
    """None: the model explains nothing."""
    serving_state: ServingState | None = None
    close: Callable[[], None] = lambda: None
    """Lets go of what the model holds beside memory; blocks."""
    routes: Mapping[str, KindRoute] = field(default_factory=dict)
    """Path -> route of the kind's own."""
    uses: UseCount = field(default_factory=UseCount)

    @cached_property
    def kind(self) -> Kind:
        """Of the product."""
        return get_kind(self.spec.kind)

    @cached_property
    def answers_files(self) -> bool:
        """Whether its answers may hold files; asked by each request, and nearly always not so."""
        return bool(list_media_fields(self.predictor.output_schema, "serialization"))

    @cached_property
    def takes_files(self) -> bool:
        """Whether its inputs may hold files."""
        return bool(list_media_fields(self.predictor.input_schema, "validation"))

    @property
    def identity(self) -> dict[str, int | str]:
        """What answers say of the model they come from."""
        return {"version": self.release.version, "digest": self.release.digest}

    @contextmanager
    def used(self) -> Iterator[None]:
        """Keep the model open while the block runs; on the event loop only."""
        self.uses.num_requests += 1
        try:
            yield
        finally:
            self.uses.num_requests -= 1
            self._close_unused()

    def retire(self) -> None:
        """Close the model once the last request that uses it has ended; on the event loop only."""
        self.uses.is_retired = True
        self._close_unused()

    async def unload(self, *, patience_s: float) -> None:
        """Close the model and return when it is closed; streams that use it after ``patience_s`` are ended."""
        self.retire()
        try:
            async with asyncio.timeout(patience_s):
                await self.uses.closed.wait()
        except TimeoutError:
            if isinstance(self.predictions, StreamQueue):
                self.predictions.stop()
            await self.uses.closed.wait()

    def _close_unused(self) -> None:
        if self.uses.is_retired and not self.uses.num_requests and not self.uses.is_closing:
            self.uses.is_closing = True
            closing = asyncio.get_running_loop().run_in_executor(None, self.close)
            closing.add_done_callback(self._note_closed)

    def _note_closed(self, closing: asyncio.Future[None]) -> None:
        self.uses.closed.set()
        if not closing.cancelled() and (error := closing.exception()):
            logger.warning("version %d could not be closed", self.release.version, exc_info=error)


@dataclass(frozen=True)
class ModelLoader:
    """Loads the versions of one product into this process.

    Each executor has one thread: a prediction computes on all threads of the replica already, while an explanation
    takes long and must not hold predictions up.
    """

    settings: Settings
    store: BundleStore
    prediction_executor: Executor
    explanation_executor: Executor
    device: Device

    def load(self, release: Release) -> ServedModel:
        """Return the model of ``release``; takes seconds, so call it in a thread.

        Raises:
            BundleError: the bundle is not whole, not released, or answers otherwise than where it was measured.
        """
        opened = open_model(self.settings, self.store, release, self.device)
        spare_collector()
        return ServedModel(
            release=release,
            spec=opened.spec,
            feedback=opened.kind.load_feedback_rules(opened.folder),
            predictor=opened.predictor,
            predictions=self._queue_predictions(opened),
            explanations=self._queue_explanations(opened),
            serving_state=opened.serving_state,
            close=opened.close,
            routes={route.path: route for route in opened.kind.load_routes(opened.spec)},
        )

    def find_swap(self, release: Release) -> Swap:
        """Return how a release wants to take the place of the one before it; blocks.

        Raises:
            BundleError: its bundle is not whole or not released.
        """
        folder, _ = self.store.open(release.bundle_uri)
        return read_spec(folder).serve.swap

    def _queue_predictions(self, opened: OpenModel) -> MicroBatcher | StreamQueue:
        serve, predictor, state = opened.spec.serve, opened.predictor, opened.serving_state
        if isinstance(predictor, CollectedPredictor):
            return StreamQueue(predictor, opened.enrich, max_streams=predictor.at_once, timeout_s=serve.timeout_s)
        size = count_batch_rows(opened.kind, serve)
        return MicroBatcher(
            enrich_first(state, predictor.predict),
            self.prediction_executor,
            max_batch_size=size,
            max_waiting_rows=WAITING_BATCHES * size,
            recall=None if state is None else partial(state.recall, predictor),
        )

    def _queue_explanations(self, opened: OpenModel) -> MicroBatcher | None:
        if not isinstance(opened.predictor, ExplainingPredictor):
            return None
        # One row at a time, so that requests take turns.
        return MicroBatcher(
            enrich_first(opened.serving_state, opened.predictor.explain),
            self.explanation_executor,
            max_batch_size=1,
            max_waiting_rows=WAITING_EXPLANATIONS,
        )


def count_batch_rows(kind: Kind, serve: Serve) -> int:
    """Return the most rows of one forward pass."""
    return serve.max_batch_size if kind.answers == "batched" else 1


def make_room() -> None:
    """Free what a model that was unloaded has left in memory."""
    gc.unfreeze()
    gc.collect()


def spare_collector() -> None:
    """Let Python's cycle collector pass over what is loaded by now, libraries above all, and look less often.

    Else each of its full passes holds requests up for 0.2 s, and the objects of 64 requests at once, which need no
    collector, call for one all the time. What the model before left in cycles goes first.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)


def enrich_first(
    serving_state: ServingState | None, compute: Callable[[Sequence[Row]], list[Output]]
) -> Callable[[Sequence[Row]], list[Output]]:
    """Return ``compute`` on rows with what the state knows of them when their batch begins."""
    if serving_state is None:
        return compute
    enrich = serving_state.enrich
    return lambda rows: compute(enrich(rows))
