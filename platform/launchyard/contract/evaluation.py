"""How a kind's models are measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from launchyard.contract.predictor import Output
    from launchyard.evaluation.figures import Figure
    from launchyard.evaluation.results import Abstention
    from launchyard.spec.blocks import Product

Better = Literal["max", "min"]
"""Whether more or less of a metric is better."""


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
        """Return the positions of a few rows whose answers the launch report explains, the most telling first.

        Neither this nor :meth:`draw_explanations` is called where the predictor explains nothing.
        """
        ...

    def draw_explanations(self, rows: pa.Table, explained: Sequence[Output]) -> list[Figure]:
        """Return what the launch report shows of explained answers, which the predictor's ``explain`` gave."""
        ...

    def choose_examples(self, rows: pa.Table, outputs: Sequence[Output]) -> list[int]:
        """Return the positions of a few rows, each answer far from turning into another: for the self-test."""
        ...
