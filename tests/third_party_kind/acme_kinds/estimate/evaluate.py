"""How estimates are measured.

Shapes: B rows, R resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from acme_kinds.estimate.spec import Estimate
from launchyard.contract.evaluation import Evaluator
from launchyard.contract.predictor import Output
from launchyard.evaluation.figures import BarFigure, Caption, Figure, LineFigure, Series
from launchyard.spec.blocks import Product

NUM_NEIGHBORS = 10
NUM_EXAMPLES = 6
NUM_EXPLAINED = 2
TRUTH = Caption(en="truth", zh="真实值")
ESTIMATE = Caption(en="estimate", zh="估计值")


@dataclass(frozen=True)
class EstimateScores:
    """Estimates beside the truth."""

    truth_B: NDArray[np.float64]
    estimates_B: NDArray[np.float64]

    @property
    def num_rows(self) -> int:
        """Number of estimates."""
        return len(self.truth_B)

    def metrics(self) -> dict[str, float]:
        """Return every metric; variance explained only where the truth varies."""
        found = {name: float(values[0]) for name, values in self.resample(np.ones((1, self.num_rows))).items()}
        return {name: value for name, value in found.items() if np.isfinite(value)}

    def resample(self, weights_RB: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Return every metric of each resample."""
        errors_B = self.estimates_B - self.truth_B
        totals_R = weights_RB.sum(axis=1)
        squares_R = weights_RB @ errors_B**2 / totals_R
        means_R = weights_RB @ self.truth_B / totals_R
        variances_R = weights_RB @ self.truth_B**2 / totals_R - means_R**2
        with np.errstate(divide="ignore", invalid="ignore"):
            explained_R = np.where(variances_R > 1e-12, 1 - squares_R / variances_R, np.nan)
        return {"mae": weights_RB @ np.abs(errors_B) / totals_R, "rmse": np.sqrt(squares_R), "r2": explained_R}


class EstimateEvaluator(Evaluator):
    """Compared with the usual number, and with the mean of the most similar rows."""

    prior_metric = "mae"
    baseline_name = f"mean of the {NUM_NEIGHBORS} most similar rows"

    def __init__(self, spec: Product, dataset_dir: Path) -> None:
        self.spec = cast(Estimate, spec)

    def score(self, rows: pa.Table, outputs: Sequence[Output]) -> EstimateScores:
        return EstimateScores(rows["target"].to_numpy(), np.array([output["estimate"] for output in outputs]))

    def answer_prior(self, train: pa.Table, rows: pa.Table) -> list[Output]:
        # Of all constants the median has the least mean absolute error.
        return [{"estimate": float(np.median(train["target"].to_numpy()))}] * rows.num_rows

    def answer_baseline(self, train: pa.Table, rows: pa.Table) -> list[Output]:
        neighbors = make_pipeline(StandardScaler(), KNeighborsRegressor(min(NUM_NEIGHBORS, train.num_rows)))
        neighbors.fit(self._stack(train), train["target"].to_numpy())
        return [{"estimate": float(value)} for value in neighbors.predict(self._stack(rows))]

    def slices(self, rows: pa.Table) -> dict[str, list[str]]:
        return {name: [str(value) for value in rows[name].to_pylist()] for name in self.spec.evaluate.slices}

    def figures(self, bundle_dir: Path, rows: pa.Table, outputs: Sequence[Output]) -> list[Figure]:
        scores = self.score(rows, outputs)
        order = np.argsort(scores.truth_B, kind="stable")
        return [
            LineFigure(
                name="estimates",
                title=Caption(en="Estimates over the truth", zh="估计值与真实值"),
                help=Caption(en="On the diagonal an estimate is right.", zh="位于对角线上的估计值是正确的。"),
                x_label=TRUTH,
                y_label=ESTIMATE,
                series=(
                    Series(
                        name="estimate",
                        x=tuple(scores.truth_B[order].tolist()),
                        y=tuple(scores.estimates_B[order].tolist()),
                    ),
                ),
                diagonal=True,
            )
        ]

    def choose_explained(self, rows: pa.Table, outputs: Sequence[Output]) -> list[int]:
        scores = self.score(rows, outputs)
        worst_first: list[int] = np.argsort(-np.abs(scores.estimates_B - scores.truth_B), kind="stable").tolist()
        return worst_first[:NUM_EXPLAINED]

    def draw_explanations(self, rows: pa.Table, explained: Sequence[Output]) -> list[Figure]:
        return [
            BarFigure(
                name=f"contributions_{number}",
                title=Caption(en=f"Why {output['estimate']:.0f}", zh=f"为何是 {output['estimate']:.0f}"),
                help=Caption(
                    en=f"What each feature adds to the usual number; {truth:.0f} was right.",
                    zh=f"各特征对通常值的影响；正确值为 {truth:.0f}。",
                ),
                y_label=Caption(en="added", zh="影响"),
                categories=tuple(output["contributions"]),
                values=tuple(output["contributions"].values()),
            )
            for number, (truth, output) in enumerate(zip(rows["target"].to_pylist(), explained, strict=True), start=1)
        ]

    def choose_examples(self, rows: pa.Table, outputs: Sequence[Output]) -> list[int]:
        return list(range(min(NUM_EXAMPLES, rows.num_rows)))

    def _stack(self, rows: pa.Table) -> NDArray[np.float64]:
        return np.stack([rows[name].to_numpy() for name in self.spec.data.features], axis=1)
