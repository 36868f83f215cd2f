"""Confidence that means something: temperature scaling, and the confidence below which a model abstains.

Shapes: B rows, C classes, T temperatures. Both are chosen on validation rows and measured on test rows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MIN_ANSWERED = 20
"""Fewest answered validation rows that an accuracy is believed on."""
TEMPERATURES_T: Floats = np.geomspace(0.2, 5.0, 121)


def softmax(logits_BC: Floats) -> Floats:
    """Return probabilities over the last axis."""
    shifted_BC = np.exp(logits_BC - logits_BC.max(axis=-1, keepdims=True))
    probabilities_BC: Floats = shifted_BC / shifted_BC.sum(axis=-1, keepdims=True)
    return probabilities_BC


def fit_temperature(logits_BC: Floats, truth_B: NDArray[np.int64]) -> float:
    """Return the temperature in 0.2 to 5 that logits are divided by for the least log-loss (Guo et al. 2017).

    The bounds keep a model that makes no error on few rows from claiming certainty. The loss is convex in
    1 / temperature, so a grid of 121 steps of 2.7 % finds the minimum to that precision.
    """
    scaled_TBC = logits_BC[None] / TEMPERATURES_T[:, None, None]
    shifted_TBC = scaled_TBC - scaled_TBC.max(axis=-1, keepdims=True)
    log_total_TB = np.log(np.exp(shifted_TBC).sum(axis=-1))
    loss_T = (log_total_TB - shifted_TBC[:, np.arange(len(truth_B)), truth_B]).mean(axis=1)
    return float(TEMPERATURES_T[loss_T.argmin()])


def choose_threshold(
    confidence_B: Floats, correct_B: NDArray[np.bool_], *, coverage: float, accuracy: float | None
) -> float:
    """Return the confidence from which on a model answers.

    With an ``accuracy`` it is the lowest threshold that keeps this accuracy on at least 20 answered rows; when
    none does, the highest confidence seen, so that nearly everything is abstained from. Otherwise
    it is the confidence that the share ``coverage`` of the rows reaches.
    """
    order_B = np.argsort(-confidence_B, kind="stable")
    descending_B = confidence_B[order_B]
    if accuracy is None:
        return float(descending_B[max(0, int(np.ceil(coverage * len(descending_B))) - 1)])
    num_answered_B = np.arange(1, len(order_B) + 1)
    accuracy_B = np.cumsum(correct_B[order_B]) / num_answered_B
    # A threshold cannot part equal confidences: only the last row of each tie is a candidate.
    is_last_B = np.append(descending_B[1:] < descending_B[:-1], True)
    enough_B = num_answered_B >= min(MIN_ANSWERED, len(order_B))
    fits_B = is_last_B & enough_B & (accuracy_B >= accuracy)
    return float(descending_B[np.flatnonzero(fits_B)[-1]]) if fits_B.any() else float(descending_B[0])
