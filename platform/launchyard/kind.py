"""What a product kind provides. The platform knows kinds only through this module."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, cast

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray
    from pydantic import BaseModel

    from launchyard.data.intake import Watch
    from launchyard.dataset import DatasetManifest
    from launchyard.evaluation import Abstention, RuntimeCandidate
    from launchyard.event_log import AddedEvents, Event
    from launchyard.features import FeatureSet
    from launchyard.figures import Figure
    from launchyard.settings import Settings
    from launchyard.spec.blocks import Product
    from launchyard.spec.events import EventLimits
    from launchyard.training.context import TrainContext, TrainJob

Row = Mapping[str, Any]
"""One example or one parsed request input, as column -> value."""

Output = Mapping[str, Any]
"""One answer of a predictor: JSON-ready, fits the predictor's ``output_schema``."""


Better = Literal["max", "min"]
"""Whether more or less of a metric is better."""


@dataclass(frozen=True)
class RowNames:
    """What identifies some rows, whatever split they are in: a row may be several things, such as events."""

    places: NDArray[np.intp]
    """The row that each name belongs to."""
    names: Sequence[str]
    owners: Sequence[str] | None
    """The pseudonym of whom each name is about; None for rows that are about nobody in particular."""


class Recipe(Protocol):
    """How a kind turns source rows into example rows. Picklable: workers run it, batch by batch."""

    content_columns: tuple[str, ...]
    """Columns of an example that make it what it is: equal content is a duplicate."""
    label_column: str | None
    """Column of an example that splits are stratified by; None when the kind has no label."""

    def __init__(self, spec: Product) -> None: ...

    def source_columns(self) -> tuple[str, ...]:
        """Return the source columns that :meth:`convert` reads; no other column is loaded."""
        ...

    def convert(self, batch: pa.Table) -> pa.Table:
        """Return the examples of one batch, row by row: pure, order kept, nulls kept as nulls.

        The batch holds the source columns and ``data.columns.ROW_NUMBER``. Masked personal data is counted in columns
        named ``data.intake.REDACTED`` and the pattern, which preparation sums up and leaves out.

        Raises:
            DataError: a value cannot become an example; the message names it and its row.
        """
        ...

    def inspect(self, sample: pa.Table) -> list[str]:
        """Return what looks wrong about some training examples, though a model can be trained on them."""
        ...


class Scores(Protocol):
    """A model's answers beside the truth, ready to be measured any number of times."""

    num_rows: int

    def metrics(self) -> dict[str, float]:
        """Return every metric over all rows; one that these rows leave undefined is absent."""
        ...

    def resample(self, weights_RB: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Return every metric R times over, row b counting ``weights_RB[r, b]`` times; NaN where undefined.

        All R resamples at once are what makes an interval beside every figure affordable.
        """
        ...


class Evaluator(Protocol):
    """How a kind measures a model. Rows are tables of examples, outputs are in the same order."""

    prior_metric: str
    """Metric on which a model that has learned nothing scores as the prior does, however skewed the labels."""
    baseline_name: str
    """What the cheap baseline is, in words."""

    def __init__(self, spec: Product, dataset_dir: Path) -> None: ...

    def score(self, rows: pa.Table, outputs: Sequence[Output]) -> Scores:
        """Return the scores of ``outputs`` against the labels in ``rows``."""
        ...

    def answer_prior(self, train: pa.Table, rows: pa.Table) -> list[Output]:
        """Return what a model would answer that knows only the training labels' frequencies."""
        ...

    def is_baseline(self, bundle_dir: Path) -> bool:
        """Return whether the bundle's model is the cheap baseline itself: the two are not compared then."""
        ...

    def answer_baseline(self, train: pa.Table, rows: pa.Table) -> list[Output]:
        """Return the answers of a cheap baseline that is fitted on ``train`` in seconds."""
        ...

    def slices(self, rows: pa.Table) -> dict[str, list[str]]:
        """Return slice name -> the slice of each row: those of the kind, and the columns that the spec names."""
        ...

    def figures(self, bundle_dir: Path, rows: pa.Table, outputs: Sequence[Output]) -> list[Figure]:
        """Return what the launch report shows of the bundle's answers, worst rows included."""
        ...

    def measure_abstention(self, bundle_dir: Path, rows: pa.Table, outputs: Sequence[Output]) -> Abstention | None:
        """Return how often and how well the bundle's model is sure of its answer; None when it always is."""
        ...

    def choose_explained(self, rows: pa.Table, outputs: Sequence[Output]) -> list[int]:
        """Return the positions of a few rows whose answers the launch report explains, the most telling first."""
        ...

    def draw_explanations(self, rows: pa.Table, explained: Sequence[Output]) -> list[Figure]:
        """Return what the launch report shows of explained answers, which the predictor's ``explain`` gave."""
        ...

    def choose_examples(self, rows: pa.Table, outputs: Sequence[Output]) -> list[int]:
        """Return the positions of a few rows, each answer far from turning into another: for the self-test."""
        ...


class Predictor(Protocol):
    """A trained model as serving loads it: rows in, outputs out, batched by the platform.

    Serving calls ``parse``, ``predict`` and ``explain`` in threads of their own, so they may overlap with each other.
    """

    input_schema: type[BaseModel]
    output_schema: type[BaseModel]

    @classmethod
    def load(cls, bundle_dir: Path, *, threads: int) -> Self:
        """Return the predictor of a bundle folder, computing on ``threads`` CPU threads.

        Where a library has one number of threads for the whole process (torch), the newest load sets it.
        """
        ...

    def parse(self, raw: object) -> Row:
        """Return the row of one raw request input, preprocessed as training rows were.

        Raises:
            RequestError: the input is empty, too large or of the wrong type.
        """
        ...

    def predict(self, rows: Sequence[Row]) -> list[Output]:
        """Return one output per row, in order; a row's output does not depend on its batch."""
        ...

    def explain(self, rows: Sequence[Row]) -> list[Output]:
        """Return each row's output together with what in the row speaks for it."""
        ...

    def describe(self, row: Row) -> dict[str, float | str]:
        """Return the features of a row that drift is measured on; nothing personal."""
        ...


class Resources(Protocol):
    """What a predictor reads beside its bundle while it serves: online features, and events as they happen."""

    event_schema: type[BaseModel]
    """One event, as requests send it."""
    event_limits: EventLimits
    """How many events are taken."""

    @classmethod
    def open(cls, settings: Settings, spec: Product, bundle_dir: Path) -> Self:
        """Return the resources of a replica that serves ``bundle_dir``; a store that cannot be reached is no error."""
        ...

    def enrich(self, rows: Sequence[Row]) -> list[Row]:
        """Return the rows with what is known of them at this moment, in order.

        Called in the thread that predicts, with a whole batch, just before it. Returns within a deadline of its own:
        what a store did not say until then is left out, and the row's answer says so.
        """
        ...

    def recall(self, predictor: Any, rows: Sequence[Row]) -> list[Output] | None:
        """Return what the product's predictor answered to the same rows, if that still holds for all; else None.

        Called on the event loop, so it looks into memory alone and takes microseconds. A kind that remembers nothing
        returns None.
        """
        ...

    def parse_event(self, raw: object) -> Event:
        """Return one raw event, read as the rows of training were.

        Raises:
            RequestError: it is malformed.
        """
        ...

    def add_events(self, events: Sequence[Event], *, sender: str | None = None) -> AddedEvents:
        """Keep events, and the pseudonym of who sent them; they are on the disk, and known, when this returns.

        Raises:
            RegistryError: the database cannot be used.
        """
        ...

    def close(self) -> None:
        """Close connections and stop threads."""
        ...


@dataclass(frozen=True)
class PrepareJob:
    """One preparation: what a kind needs that divides its rows itself."""

    spec: Product
    settings: Settings
    base_dir: Path
    """Folder that relative sources start from."""
    output_dir: Path
    """Becomes the data set; an older one is replaced."""
    watch: Watch


class PrepareFunction(Protocol):
    """Preparation of a kind whose rows depend on each other, such as the events of one user."""

    def __call__(self, job: PrepareJob) -> DatasetManifest:
        """Write the prepared data set, whole or not at all, and return its manifest.

        Raises:
            DataError: the rows are not fit to train on.
            SourceError: a source cannot be fetched or read.
        """
        ...


@dataclass(frozen=True)
class ExportJob:
    """Everything that turns trained weights into the files that serving loads."""

    spec: Product
    bundle_dir: Path
    """Holds what training left; the export adds to ``model/`` and may remove from it."""
    dataset_dir: Path
    validation: pa.Table
    """Rows to choose on: the runtime, thresholds, calibration."""
    threads: int
    """CPU threads of one serving replica, for timing."""
    batch_threads: int
    """CPU threads for passes over many rows, where no time is taken."""


class ExportFunction(Protocol):
    """The end of training: choose how the model is computed and write what the predictor loads."""

    def __call__(self, job: ExportJob) -> tuple[RuntimeCandidate, ...]:
        """Return every way of computing the model that was tried; exactly one is chosen."""
        ...


class TrainFunction(Protocol):
    """Training, called once in each data-parallel worker."""

    def __call__(self, context: TrainContext, job: TrainJob) -> None:
        """Train in this worker; rank 0 leaves the result in ``job.output_dir``."""
        ...


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
    resources: str | None = None

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
        return cast(type[Recipe], load_part(self.recipe))(spec)

    def load_evaluator(self, spec: Product, dataset_dir: Path) -> Evaluator:
        """Return the kind's evaluator for ``spec`` on a prepared data set."""
        return cast(type[Evaluator], load_part(self.evaluator))(spec, dataset_dir)

    def load_train_function(self) -> TrainFunction | None:
        """Return the function that each training worker runs; None for a kind that does not train."""
        return None if self.train is None else cast(TrainFunction, load_part(self.train))

    def load_export_function(self) -> ExportFunction | None:
        """Return the function that ends training; None for a kind whose training writes the served files."""
        return None if self.export is None else cast(ExportFunction, load_part(self.export))

    def load_prepare_function(self) -> PrepareFunction | None:
        """Return the kind's own preparation; None for a kind whose rows are prepared one by one."""
        return None if self.prepare is None else cast(PrepareFunction, load_part(self.prepare))

    def load_identify_function(self) -> Callable[[pa.Table], RowNames] | None:
        """Return the function that names rows of a split; None for a kind whose rows are their content."""
        return None if self.identify is None else cast("Callable[[pa.Table], RowNames]", load_part(self.identify))

    def load_features(self, spec: Product) -> tuple[FeatureSet, ...]:
        """Return the feature sets of a product; none for a kind that has no features."""
        return () if self.features is None else cast("tuple[FeatureSet, ...]", load_part(self.features)(spec))

    def load_resources(self, settings: Settings, spec: Product, bundle_dir: Path) -> Resources | None:
        """Return what the bundle's predictor reads beside it while it serves; None for a kind that reads nothing."""
        if self.resources is None:
            return None
        return cast(type[Resources], load_part(self.resources)).open(settings, spec, bundle_dir)

    def load_predictor(self, bundle_dir: Path, *, threads: int) -> Predictor:
        """Return the predictor of the bundle at ``bundle_dir``."""
        return cast(type[Predictor], load_part(self.predictor)).load(bundle_dir, threads=threads)


def load_part(path: str) -> Any:
    """Return the object at a dotted path such as ``package.module:name``."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)
