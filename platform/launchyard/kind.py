"""What a product kind provides: the platform knows kinds through this module and ``launchyard.contract`` only."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from launchyard.spec.blocks import HEADLINE, Product

if TYPE_CHECKING:
    import pyarrow as pa

    from launchyard.contract.evaluation import Better, CompareFunction, Evaluator, Metric
    from launchyard.contract.feedback import FeedbackRules
    from launchyard.contract.predictor import Device, Predictor, PredictorClass, ServingState
    from launchyard.contract.proposals import ProposeFunction
    from launchyard.contract.routes import KindRoute, RoutesFunction
    from launchyard.contract.rows import PrepareFunction, Recipe, RowNames
    from launchyard.contract.training import ExportFunction, FitFunction, TrainFunction
    from launchyard.features.sets import FeatureSet
    from launchyard.settings import Settings

LINK = re.compile(r"\[([^\]]+)\]\([^)\s]+\)")
"""A link in Markdown; its text is the group."""


Answers = Literal["batched", "singly", "streamed"]


@dataclass(frozen=True)
class Kind:
    """A product kind: its spec class, and its parts by dotted path so that nothing heavy is loaded early."""

    name: str
    summary: str
    spec: type[Product]
    recipe: str
    evaluator: str
    predictor: str
    """A class of predictors, of the sort that ``answers`` says, or another object that loads them."""
    metrics: Mapping[str, Metric]
    """Every quality metric its scores report; ``f1[*]`` stands for one per label, such as ``f1[negative]``."""
    headline: str
    """The metric that stands for all others: the report leads with it, comparisons and searches go by it."""
    train: str | None = None
    """Function that each worker of a training by gradients runs; needed where a spec's ``trains_by`` says so."""
    fit: str | None = None
    """Function that fits a model in one process; needed where a spec's ``trains_by`` says so."""
    compare: str = "launchyard.bundle.self_test:find_difference"
    """Function that compares an answer with the one that the self-test expects."""
    feedback: str = "launchyard.bundle.feedback:LabelFeedback"
    """What may be said about an answer."""
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
    routes: str | None = None
    """Function from a spec to routes of its own, beside predict and the others."""
    propose: str | None = None
    """Function that proposes a spec for a table; None: launchyard init has the example alone."""

    def __post_init__(self) -> None:
        """Refuse a kind that leads with what it does not measure."""
        if self.headline not in self.metrics:
            raise ValueError(
                f"{self.name}: headline: '{self.headline}' is none of its metrics. Take one of: "
                f"{', '.join(self.metrics)}"
            )

    def find_metric(self, name: str) -> Metric | None:
        """Return what the kind says of a metric, also of one label's, or None when it reports no such metric."""
        family, bracket, label = name.partition("[")
        is_labelled = bracket and label.endswith("]") and len(label) > 1
        return self.metrics.get(f"{family}[*]" if is_labelled else name)

    def find_direction(self, metric: str) -> Better | None:
        """Return whether more or less of ``metric`` is better, or None when this kind reports no such metric."""
        found = self.find_metric(metric)
        return None if found is None else found.better

    def resolve_metric(self, name: str) -> str:
        """Return the metric that a spec means: ``headline`` is the one that the kind leads with."""
        return self.headline if name == HEADLINE else name

    @property
    def folder(self) -> Path:
        """Folder of the kind's own files: ``example.yaml``, ``page.html``, ``guide.md`` and ``texts.yaml``."""
        module = importlib.import_module(self.spec.__module__)
        return Path(cast(str, module.__file__)).parent

    def read_guide(self) -> str | None:
        """Return how to use the kind, in Markdown for a terminal, where links lead nowhere; None when nothing says."""
        path = self.folder / "guide.md"
        return LINK.sub(r"\1", path.read_text(encoding="utf-8")).rstrip("\n") if path.is_file() else None

    def load_recipe(self, spec: Product) -> Recipe:
        """Return the kind's recipe for ``spec``."""
        return cast("type[Recipe]", load_part(self.recipe))(spec)

    def load_evaluator(self, spec: Product, dataset_dir: Path) -> Evaluator:
        """Return the kind's evaluator for ``spec`` on a prepared data set."""
        return cast("type[Evaluator]", load_part(self.evaluator))(spec, dataset_dir)

    def load_compare_function(self) -> CompareFunction:
        """Return the function by which the self-test compares two answers."""
        return cast("CompareFunction", load_part(self.compare))

    def load_feedback_rules(self, bundle_dir: Path) -> FeedbackRules:
        """Return what may be said about the answers of the version whose bundle this is."""
        return cast("type[FeedbackRules]", load_part(self.feedback)).load(bundle_dir)

    def load_train_function(self) -> TrainFunction | None:
        """Return the function that each training worker runs; None for a kind that does not learn by gradients."""
        return None if self.train is None else cast("TrainFunction", load_part(self.train))

    def load_fit_function(self) -> FitFunction | None:
        """Return the function that fits a model in one process; None for a kind without one."""
        return None if self.fit is None else cast("FitFunction", load_part(self.fit))

    def load_export_function(self) -> ExportFunction | None:
        """Return the function that writes the served files; None for a kind whose training writes them."""
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

    def load_propose_function(self) -> ProposeFunction | None:
        """Return the function that proposes a spec for a table; None for a kind that proposes nothing."""
        return None if self.propose is None else cast("ProposeFunction", load_part(self.propose))

    def load_routes(self, spec: Product) -> Sequence[KindRoute]:
        """Return the routes of a product that are its kind's own; none for most."""
        return () if self.routes is None else cast("RoutesFunction", load_part(self.routes))(spec)

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
