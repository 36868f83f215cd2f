"""Metrics of single-label classification: plain arrays in, plain numbers out.

Shapes: B rows, C classes, R resamples, P rows of one class, K confidence bins, S statistics. Metrics that
undefined rows leave without a meaning are NaN in resamples and absent from the point estimates.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

NUM_CONFIDENCE_BINS = 15
"""Equal-width bins of the calibration error, as in Guo et al. 2017, "On Calibration of Modern Neural Networks"."""


def confidence_bins(confidence_B: Floats) -> Integers:
    """Return the bin, 0 to K - 1, of each confidence; bins are (low, high] and the first holds 0."""
    return np.clip(np.ceil(confidence_B * NUM_CONFIDENCE_BINS).astype(np.int64) - 1, 0, NUM_CONFIDENCE_BINS - 1)


class ClassificationScores:
    """Probabilities beside the true classes, ready to be measured any number of times.

    All metrics but the two ranking ones are functions of sums over rows, so that R resamples of them
    cost one matrix product.
    """

    def __init__(self, truth_B: Integers, probabilities_BC: Floats, labels: Sequence[str]) -> None:
        """Prepare the per-row statistics.

        Raises:
            ValueError: there are no rows, or the shapes do not fit together.
        """
        if not len(truth_B) or probabilities_BC.shape != (len(truth_B), len(labels)):
            raise ValueError(
                f"{len(truth_B)} true classes and probabilities of shape {probabilities_BC.shape} "
                f"do not fit {len(labels)} labels. Give one row of probabilities per true class"
            )
        self.num_rows = len(truth_B)
        self.labels = tuple(labels)
        self.truth_B = truth_B
        self.probabilities_BC = probabilities_BC
        self.predicted_B: Integers = probabilities_BC.argmax(axis=1)
        self.confidence_B: Floats = probabilities_BC.max(axis=1)
        self.correct_B = self.predicted_B == truth_B
        self.loss_B: Floats = -np.log(
            np.clip(probabilities_BC[np.arange(self.num_rows), truth_B], np.finfo(np.float64).eps, 1.0)
        )
        self._statistics_BS = self._statistics()
        self._gap_sign_K = np.sign(self._statistics_BS[:, -NUM_CONFIDENCE_BINS:].sum(axis=0))

    def metrics(self) -> dict[str, float]:
        """Return every metric over all rows; one that these rows leave undefined is absent."""
        sampled = self.resample(np.ones((1, self.num_rows)))
        return {name: float(values[0]) for name, values in sampled.items() if np.isfinite(values[0])}

    def resample(self, weights_RB: Floats) -> dict[str, Floats]:
        """Return every metric R times over, row b counting ``weights_RB[r, b]`` times; NaN where undefined."""
        num_classes = len(self.labels)
        sizes = (1, 1, 1, num_classes, num_classes, num_classes, NUM_CONFIDENCE_BINS)
        totals = np.split(weights_RB @ self._statistics_BS, np.cumsum(sizes), axis=1)
        (rows_R1, correct_R1, loss_R1), (true_RC, predicted_RC, hits_RC), gap_RK = totals[:3], totals[3:6], totals[6]
        roc_auc_R, pr_auc_R = macro_ranking(weights_RB, self.truth_B, self.probabilities_BC)
        return {
            "accuracy": (correct_R1 / rows_R1)[:, 0],
            **_counted_metrics(true_RC, predicted_RC, hits_RC, self.labels),
            "roc_auc": roc_auc_R,
            "pr_auc": pr_auc_R,
            "log_loss": (loss_R1 / rows_R1)[:, 0],
            "calibration_error": self._resample_calibration(gap_RK) / rows_R1[:, 0],
        }

    def _resample_calibration(self, gap_RK: Floats) -> Floats:
        """Return the calibration error of each resample, times its rows, as the signs of the measured gaps make it.

        Absolute gaps of drawn rows would be no use: what chance adds to a bin it adds to its absolute value, so that
        nearly every resample lies above the value. With the bins' measured signs the error is a mean over rows, its
        linear part (the delta method; Efron and Tibshirani 1993, ch. 21.9), and resamples lie on both sides.
        """
        error_R: Floats = np.maximum(gap_RK @ self._gap_sign_K, 0.0)
        return error_R

    def _statistics(self) -> Floats:
        """Return what is summed over rows: one column per statistic, in the order ``resample`` takes them apart."""
        classes_C = np.arange(len(self.labels))
        true_BC = self.truth_B[:, None] == classes_C
        predicted_BC = self.predicted_B[:, None] == classes_C
        in_bin_BK = confidence_bins(self.confidence_B)[:, None] == np.arange(NUM_CONFIDENCE_BINS)
        gap_B1 = (self.confidence_B - self.correct_B)[:, None]
        columns = (
            np.ones((self.num_rows, 1)),
            self.correct_B[:, None],
            self.loss_B[:, None],
            true_BC,
            predicted_BC,
            true_BC & predicted_BC,
            in_bin_BK * gap_B1,
        )
        return np.concatenate(columns, axis=1, dtype=np.float64)


def _counted_metrics(
    true_RC: Floats, predicted_RC: Floats, hits_RC: Floats, labels: tuple[str, ...]
) -> dict[str, Floats]:
    """Return precision, recall and F1, macro and per label.

    As in scikit-learn, the macro average runs over the labels that occur in the truth or in the answers and
    an undefined ratio counts as 0. Per label, all three are undefined when no row has that label.
    """
    occurs_RC = (true_RC + predicted_RC) > 0
    rates = {
        "precision": _divide(hits_RC, predicted_RC, 0.0),
        "recall": _divide(hits_RC, true_RC, 0.0),
        "f1": _divide(2 * hits_RC, true_RC + predicted_RC, 0.0),
    }
    result = {f"{name}_macro": (rate_RC * occurs_RC).sum(1) / occurs_RC.sum(1) for name, rate_RC in rates.items()}
    for column, label in enumerate(labels):
        for name, rate_RC in rates.items():
            result[f"{name}[{label}]"] = np.where(true_RC[:, column] > 0, rate_RC[:, column], np.nan)
    return result


def macro_ranking(weights_RB: Floats, truth_B: Integers, probabilities_BC: Floats) -> tuple[Floats, Floats]:
    """Return the macro one-vs-rest ROC-AUC and PR-AUC (average precision) of each resample, each of shape R.

    With two classes the ROC-AUC is the usual binary one. The average runs over the classes that occur;
    NaN where all rows are of one class.
    """
    weights_BR = np.ascontiguousarray(weights_RB.T)
    per_class = [
        _class_ranking(weights_BR, truth_B == column, probabilities_BC[:, column])
        for column in range(probabilities_BC.shape[1])
        if (truth_B == column).any()
    ]
    roc_CR, pr_CR = (np.stack(values) for values in zip(*per_class, strict=True))
    defined_CR = np.isfinite(roc_CR)
    num_R = defined_CR.sum(axis=0).astype(np.float64)
    return tuple(  # type: ignore[return-value]  # two arrays in, two arrays out
        _divide(np.where(defined_CR, values_CR, 0.0).sum(axis=0), num_R, np.nan) for values_CR in (roc_CR, pr_CR)
    )


def _class_ranking(weights_BR: Floats, positive_B: NDArray[np.bool_], score_B: Floats) -> tuple[Floats, Floats]:
    """Return ROC-AUC and average precision of one class against the rest, each of shape R.

    Rows are ordered once, best score first; cumulative weights then give, for each positive row, how much
    weight scores at least as high. Equal scores count half for ROC-AUC and all for precision.
    """
    order_B = np.argsort(-score_B, kind="stable")
    descending_B = -score_B[order_B]
    rank_P = np.flatnonzero(positive_B[order_B])
    first_P = np.searchsorted(descending_B, descending_B[rank_P], side="left")
    last_P = np.searchsorted(descending_B, descending_B[rank_P], side="right")
    above_BR = _running_total(weights_BR[order_B])
    weights_PR = weights_BR[order_B[rank_P]]
    hits_PR = _running_total(weights_PR)

    hits_last_PR = hits_PR[np.searchsorted(rank_P, last_P)]
    hits_first_PR = hits_PR[np.searchsorted(rank_P, first_P)]
    misses_PR = (above_BR[last_P] - hits_last_PR + above_BR[first_P] - hits_first_PR) / 2
    hits_R, misses_R = hits_PR[-1], above_BR[-1] - hits_PR[-1]
    roc_auc_R = _divide((weights_PR * (misses_R - misses_PR)).sum(axis=0), hits_R * misses_R, np.nan)
    precision_PR = _divide(hits_last_PR, above_BR[last_P], 0.0)
    return roc_auc_R, _divide((weights_PR * precision_PR).sum(axis=0), hits_R, np.nan)


def _running_total(values_BR: Floats) -> Floats:
    """Return sums of the first 0, 1, ... B rows."""
    total_BR = np.zeros((len(values_BR) + 1, values_BR.shape[1]))
    np.cumsum(values_BR, axis=0, out=total_BR[1:])
    return total_BR


def _divide(numerator: Floats, denominator: Floats, otherwise: float) -> Floats:
    ratio = np.full(numerator.shape, otherwise)
    np.divide(numerator, denominator, out=ratio, where=denominator > 0)
    return ratio
