"""Opening a released model: verified, loaded, self-tested, beside what it reads while it answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from launchyard.bundle.manifest import read_spec
from launchyard.bundle.self_test import self_test
from launchyard.bundle.store import BundleStore
from launchyard.contract.predictor import Device, Output, Predictor, ServingState
from launchyard.contract.rows import Row
from launchyard.isolation import RowFault, compute_each
from launchyard.kind import Kind
from launchyard.kinds import get_kind
from launchyard.prediction.closing import close_predictor
from launchyard.prediction.streams import CollectedPredictor
from launchyard.rollout.rules import Release
from launchyard.settings import Settings
from launchyard.spec.blocks import Product, StreamServe


@dataclass(frozen=True)
class OpenModel:
    """A released model that answers."""

    folder: Path
    """Of its bundle."""
    spec: Product
    kind: Kind
    predictor: Predictor
    serving_state: ServingState | None

    def enrich(self, rows: Sequence[Row]) -> Sequence[Row]:
        """Return the rows with what the serving state knows of them at this moment."""
        return rows if self.serving_state is None else self.serving_state.enrich(rows)

    def answer_each(self, rows: Sequence[Row]) -> list[Output | RowFault]:
        """Return the answer to each row, in order, with a fault in place of each that the model fails on; blocks.

        Raises:
            LaunchyardError: something is missing that all rows need, such as a store.
        """
        if isinstance(self.predictor, CollectedPredictor):
            return self.predictor.predict_each(self.enrich(rows))
        return compute_each(lambda part: self.predictor.predict(self.enrich(part)), rows)

    def close(self) -> None:
        """Let go of what the model holds beside memory; blocks."""
        if self.serving_state is not None:
            self.serving_state.close()
        close_predictor(self.predictor)


def open_model(
    settings: Settings,
    store: BundleStore,
    release: Release,
    device: Device,
    *,
    revise: Callable[[Product], Product] = lambda spec: spec,
) -> OpenModel:
    """Return the model of a release; takes seconds.

    Args:
        settings: Where records are.
        store: Where bundles are.
        release: The version.
        device: What it computes on.
        revise: Gives the spec that the serving state is opened with.

    Raises:
        BundleError: the bundle is not whole, not released, or answers otherwise than where it was measured.
    """
    folder, manifest = store.open(release.bundle_uri)
    spec, kind = read_spec(folder), get_kind(manifest.kind)
    # First, because its threads begin to read what many rows need while the model is loaded.
    serving_state = kind.load_serving_state(settings, revise(spec), folder)
    try:
        predictor = kind.load_predictor(folder, device)
    except BaseException:
        if serving_state is not None:
            serving_state.close()
        raise
    model = OpenModel(folder, spec, kind, predictor, serving_state)
    if isinstance(predictor, CollectedPredictor) and isinstance(spec.serve, StreamServe):
        predictor.at_once = spec.serve.max_streams
    try:
        self_test(predictor, folder, kind.load_compare_function())
    except BaseException:
        model.close()
        raise
    return model
