"""A model as a replica holds it: verified, self-tested, with a queue and what it reads beside its bundle of its own."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from launchyard.bundle.manifest import read_spec
from launchyard.bundle.self_test import self_test
from launchyard.bundle.store import BundleStore
from launchyard.contract.feedback import FeedbackRules
from launchyard.contract.predictor import Output, Predictor, ServingState
from launchyard.contract.rows import Row
from launchyard.kinds import get_kind
from launchyard.rollout.rules import Release
from launchyard.settings import Settings
from launchyard.spec.blocks import Product
from launchyard_serving.replica.batching import MicroBatcher

WAITING_BATCHES = 32
"""Full batches that may wait for the model before more requests are turned away."""

WAITING_EXPLANATIONS = 64
"""Explanations that may wait; each costs as much as many predictions."""

COLLECT_AFTER = 50_000
"""New objects after which the cycle collector looks at them; more than the requests of a moment need."""


@dataclass(eq=False)
class UseCount:
    """How many requests use a model, and whether it was replaced."""

    num_requests: int = 0
    is_retired: bool = False


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
    predictions: MicroBatcher
    explanations: MicroBatcher
    serving_state: ServingState | None = None
    uses: UseCount = field(default_factory=UseCount)

    @property
    def identity(self) -> dict[str, int | str]:
        """What answers say of the model they come from."""
        return {"version": self.release.version, "digest": self.release.digest}

    @contextmanager
    def used(self) -> Iterator[None]:
        """Keep the serving state open while the block runs; on the event loop only."""
        self.uses.num_requests += 1
        try:
            yield
        finally:
            self.uses.num_requests -= 1
            self._close_unused()

    def retire(self) -> None:
        """Close the serving state once the last request that uses them has ended; on the event loop only."""
        self.uses.is_retired = True
        self._close_unused()

    def _close_unused(self) -> None:
        if self.serving_state is not None and self.uses.is_retired and not self.uses.num_requests:
            asyncio.get_running_loop().run_in_executor(None, self.serving_state.close)


@dataclass(frozen=True)
class ModelLoader:
    """Loads the versions of one product into this process.

    Each executor has one thread: a prediction computes on all ``threads`` of the replica already, while an
    explanation takes long and must not hold predictions up.
    """

    settings: Settings
    store: BundleStore
    prediction_executor: Executor
    explanation_executor: Executor
    threads: int

    def load(self, release: Release) -> ServedModel:
        """Return the model of ``release``; takes seconds, so call it in a thread.

        Raises:
            BundleError: the bundle is not whole, not released, or answers otherwise than where it was measured.
        """
        folder, manifest = self.store.open(release.bundle_uri)
        spec = read_spec(folder)
        kind = get_kind(manifest.kind)
        predictor = kind.load_predictor(folder, threads=self.threads)
        self_test(predictor, folder, kind.load_compare_function())
        serving_state = kind.load_serving_state(self.settings, spec, folder)
        spare_collector()
        return ServedModel(
            release=release,
            spec=spec,
            feedback=kind.load_feedback_rules(folder),
            predictor=predictor,
            predictions=MicroBatcher(
                enrich_first(serving_state, predictor.predict),
                self.prediction_executor,
                max_batch_size=spec.serve.max_batch_size,
                max_waiting_rows=WAITING_BATCHES * spec.serve.max_batch_size,
                recall=None if serving_state is None else partial(serving_state.recall, predictor),
            ),
            # One row at a time, so that requests take turns.
            explanations=MicroBatcher(
                enrich_first(serving_state, predictor.explain),
                self.explanation_executor,
                max_batch_size=1,
                max_waiting_rows=WAITING_EXPLANATIONS,
            ),
            serving_state=serving_state,
        )


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
