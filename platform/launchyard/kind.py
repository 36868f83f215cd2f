"""What a product kind provides: the platform knows kinds through this module and ``launchyard.contract`` only."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

if TYPE_CHECKING:
    import pyarrow as pa

    from launchyard.contract.evaluation import Better, Evaluator
    from launchyard.contract.predictor import Device, Predictor, PredictorClass, ServingState
    from launchyard.contract.rows import PrepareFunction, Recipe, RowNames
    from launchyard.contract.training import ExportFunction, TrainFunction
    from launchyard.features.sets import FeatureSet
    from launchyard.settings import Settings
    from launchyard.spec.blocks import Product


Answers = Literal["batched", "singly", "streamed"]


@dataclass(frozen=True)
class Kind:
    """A product kind: its spec class, and its parts by dotted path so that nothing heavy is loaded early."""

    name: str
    summary: str
    spec: type[Product]
    recipe: str
    train: str | None
    evaluator: str
    predictor: str
    """A class of predictors, of the sort that ``answers`` says, or another object that loads them."""
    metrics: Mapping[str, Better]
    """Every quality metric its scores report; ``f1[*]`` stands for one per label, such as ``f1[negative]``."""
    measured_late: frozenset[str] = frozenset()
    """Metrics that evaluation measures and training does not, so that a search cannot go by them."""
    undefined: Mapping[str, str] = field(default_factory=dict)
    """Metric -> which rows leave it undefined, in words that end a sentence."""
    example_input: str = "your text"
    """An input to try, as one writes it after ``launchyard predict PRODUCT``."""
    export: str | None = None
    prepare: str | None = None
    """None: rows are prepared one by one with the recipe, and divided as ``data.split`` says."""
    features: str | None = None
    """Function from a spec to its feature sets."""
    identify: str | None = None
    """Function from rows of a split to their names; None: a row is its content."""
    serving_state: str | None = None
    answers: Answers = "batched"
    """How its models answer: rows of several requests computed together, one row at a time, or as streams of events."""

    def find_direction(self, metric: str) -> Better | None:
        """Return whether more or less of ``metric`` is better, or None when this kind reports no such metric."""
        name, bracket, label = metric.partition("[")
        is_labelled = bracket and label.endswith("]") and len(label) > 1
        return self.metrics.get(f"{name}[*]" if is_labelled else metric)

    @property
    def folder(self) -> Path:
        """Folder of the kind's own files: ``example.yaml`` and ``page.html``."""
        module = importlib.import_module(self.spec.__module__)
        return Path(cast(str, module.__file__)).parent

    def load_recipe(self, spec: Product) -> Recipe:
        """Return the kind's recipe for ``spec``."""
        return cast("type[Recipe]", load_part(self.recipe))(spec)

    def load_evaluator(self, spec: Product, dataset_dir: Path) -> Evaluator:
        """Return the kind's evaluator for ``spec`` on a prepared data set."""
        return cast("type[Evaluator]", load_part(self.evaluator))(spec, dataset_dir)

    def load_train_function(self) -> TrainFunction | None:
        """Return the function that each training worker runs; None for a kind that does not train."""
        return None if self.train is None else cast("TrainFunction", load_part(self.train))

    def load_export_function(self) -> ExportFunction | None:
        """Return the function that ends training; None for a kind whose training writes the served files."""
        return None if self.export is None else cast("ExportFunction", load_part(self.export))

    def load_prepare_function(self) -> PrepareFunction | None:
        """Return the kind's own preparation; None for a kind whose rows are prepared one by one."""
        return None if self.prepare is None else cast("PrepareFunction", load_part(self.prepare))

    def load_identify_function(self) -> Callable[[pa.Table], RowNames] | None:
        """Return the function that names rows of a split; None for a kind whose rows are their content."""
        return None if self.identify is None else cast("Callable[[pa.Table], RowNames]", load_part(self.identify))

    def load_features(self, spec: Product) -> tuple[FeatureSet, ...]:
        """Return the feature sets of a product; none for a kind that has no features."""
        return () if self.features is None else cast("tuple[FeatureSet, ...]", load_part(self.features)(spec))

    def load_serving_state(self, settings: Settings, spec: Product, bundle_dir: Path) -> ServingState | None:
        """Return what the bundle's predictor reads beside it while it serves; None for a kind that reads nothing."""
        if self.serving_state is None:
            return None
        return cast("type[ServingState]", load_part(self.serving_state)).open(settings, spec, bundle_dir)

    def load_predictor(self, bundle_dir: Path, device: Device) -> Predictor:
        """Return the predictor of the bundle at ``bundle_dir``, computing on ``device``.

        One that streams comes as a :class:`launchyard.prediction.streams.CollectedPredictor`.
        """
        predictor = cast("PredictorClass", load_part(self.predictor)).load(bundle_dir, device)
        if self.answers != "streamed":
            return cast("Predictor", predictor)
        # By dotted path: what runs streams is no part of reading a spec.
        collected: Predictor = load_part("launchyard.prediction.streams:CollectedPredictor")(predictor)
        return collected


def load_part(path: str) -> Any:
    """Return the object at a dotted path such as ``package.module:name``."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)
