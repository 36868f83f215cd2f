"""How a kind's models are measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from launchyard.spec.blocks import HEADLINE, Product

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from launchyard.contract.predictor import Output
    from launchyard.evaluation.figures import Caption, Figure
    from launchyard.evaluation.results import Abstention

Better = Literal["max", "min"]
"""Whether more or less of a metric is better."""


@dataclass(frozen=True)
class Metric:
    """What a kind says of one of its metrics; names and helps are what people read, without the unit."""

    better: Better
    name: Caption
    help: Caption
    unit: Caption | None = None
    """What it counts, such as bits or euros; None for a number without a unit."""
    sentence: Caption | None = None
    """Of a share: what it says, ``{value}`` standing for its per cent, as in 'it was right {value} of the time'."""
    is_loss: bool = False
    """Whether it is what training minimises: the two share a plot."""
    measured_late: bool = False
    """Whether evaluation measures it and training does not, so that a search cannot go by it."""
    undefined: str = "these test rows give it no meaning"
    """Which rows leave it undefined, in words that end a sentence."""


@dataclass(frozen=True)
class Omitted:
    """Why a model is not compared with a prior or a baseline."""

    reason: str
    """In words that end a sentence, such as 'every answer is drawn at random'."""


class Scores(Protocol):
    """A model's answers beside the truth, ready to be measured any number of times."""

    @property
    def num_rows(self) -> int:
        """How many rows were answered."""
        ...

    def metrics(self) -> dict[str, float]:
        """Return every metric over all rows; one that these rows leave undefined is absent."""
        ...

    def resample(self, weights_RB: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Return every metric R times over, row b counting ``weights_RB[r, b]`` times; NaN where undefined.

        All R resamples at once are what makes an interval beside every figure affordable.
        """
        ...


class Evaluator(Protocol):
    """How a kind measures a model. Rows are tables of examples, outputs are in the same order.

    A kind derives from it, and leaves out the methods that have a body here unless it has something to say there.
    """

    prior_metric: str = HEADLINE
    """Metric on which a model that has learned nothing scores as the prior does, however skewed the labels."""
    baseline_name: str = ""
    """What the cheap baseline is, in words; empty for a kind without one."""

    def __init__(self, spec: Product, dataset_dir: Path) -> None: ...

    def score(self, rows: pa.Table, outputs: Sequence[Output]) -> Scores:
        """Return the scores of ``outputs`` against the labels in ``rows``."""
        ...

    def answer_prior(self, train: pa.Table, rows: pa.Table) -> list[Output] | Omitted:
        """Return what a model would answer that knows only the training labels' frequencies, or why nothing would."""
        return Omitted("products of this kind have no answer that is commonest")

    def is_baseline(self, bundle_dir: Path) -> bool:
        """Return whether the bundle's model is the cheap baseline itself: the two are not compared then."""
        return False

    def answer_baseline(self, train: pa.Table, rows: pa.Table) -> list[Output] | Omitted:
        """Return the answers of a cheap baseline that is fitted on ``train`` in seconds, or why there is none."""
        return Omitted("nothing cheap answers as products of this kind do")

    def slices(self, rows: pa.Table) -> dict[str, list[str]]:
        """Return slice name -> the slice of each row: those of the kind, and the columns that the spec names."""
        ...

    def figures(self, bundle_dir: Path, rows: pa.Table, outputs: Sequence[Output]) -> list[Figure]:
        """Return what the launch report shows of the bundle's answers, worst rows included."""
        ...

    def measure_abstention(self, bundle_dir: Path, rows: pa.Table, outputs: Sequence[Output]) -> Abstention | None:
        """Return how often and how well the bundle's model is sure of its answer; None when it always is."""
        return None

    def choose_explained(self, rows: pa.Table, outputs: Sequence[Output]) -> list[int]:
        """Return the positions of a few rows whose answers the launch report explains, the most telling first.

        Neither this nor :meth:`draw_explanations` is called where the predictor explains nothing.
        """
        return []

    def draw_explanations(self, rows: pa.Table, explained: Sequence[Output]) -> list[Figure]:
        """Return what the launch report shows of explained answers, which the predictor's ``explain`` gave."""
        return []

    def choose_examples(self, rows: pa.Table, outputs: Sequence[Output]) -> list[int]:
        """Return the positions of a few rows, each answer far from turning into another: for the self-test."""
        ...


class CompareFunction(Protocol):
    """How the self-test compares what a model answers here with what it answered where it was measured."""

    def __call__(self, expected: Any, given: Any, tolerance: float, /) -> str | None:
        """Return in words where two answers to one example differ by more than they may, or None.

        Args:
            expected: The answer as JSON, from when the bundle was made.
            given: The answer of this machine.
            tolerance: How far a number may lie off.
        """
        ...
