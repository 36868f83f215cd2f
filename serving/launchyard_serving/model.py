"""A model as a replica holds it: verified, self-tested, and with a queue of its own."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass

from launchyard.bundle import parse_file, read_spec
from launchyard.bundle_store import BundleStore
from launchyard.dataset import MANIFEST_NAME, DatasetManifest
from launchyard.kind import Predictor, get_kind
from launchyard.rollout import Release
from launchyard.self_test import self_test
from launchyard.spec.blocks import Product
from launchyard_serving.batching import MicroBatcher

WAITING_BATCHES = 32
"""Full batches that may wait for the model before more requests are turned away."""

WAITING_EXPLANATIONS = 64
"""Explanations that may wait; each costs as much as many predictions."""


@dataclass(frozen=True)
class ServedModel:
    """One version of a product's model, ready to answer.

    Requests keep the model that they began with, so a swap never changes a model under a request.
    """

    release: Release
    spec: Product
    labels: tuple[str, ...]
    predictor: Predictor
    predictions: MicroBatcher
    explanations: MicroBatcher

    @property
    def identity(self) -> dict[str, int | str]:
        """What answers say of the model they come from."""
        return {"version": self.release.version, "digest": self.release.digest}


@dataclass(frozen=True)
class ModelLoader:
    """Loads the versions of one product into this process.

    Each executor has one thread: a prediction computes on all ``threads`` of the replica already, while an
    explanation takes long and must not hold predictions up.
    """

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
        predictor = get_kind(manifest.kind).load_predictor(folder, threads=self.threads)
        self_test(predictor, folder)
        return ServedModel(
            release=release,
            spec=spec,
            labels=parse_file(folder, MANIFEST_NAME, DatasetManifest).labels,
            predictor=predictor,
            predictions=MicroBatcher(
                predictor.predict,
                self.prediction_executor,
                max_batch_size=spec.serve.max_batch_size,
                max_waiting_rows=WAITING_BATCHES * spec.serve.max_batch_size,
            ),
            # One row at a time, so that requests take turns.
            explanations=MicroBatcher(
                predictor.explain, self.explanation_executor, max_batch_size=1, max_waiting_rows=WAITING_EXPLANATIONS
            ),
        )
