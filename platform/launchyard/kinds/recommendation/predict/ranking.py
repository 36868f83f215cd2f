"""From scores of a whole catalogue to the best items that a user has not taken.

Shapes: B users, I items, K places of a list.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from launchyard.evaluation.metrics.ranking import LONG_CUTOFF, CatalogueFacts, RankingScores
from launchyard.kinds.recommendation.data.histories import Events, HeldOut, ItemVocabulary

LOSS = "log_loss"
METRIC = "ndcg@10"


def rank_unseen(scores_BI: NDArray[np.float32], events: Events, rows_B: NDArray[np.intp], k: int) -> NDArray[np.int64]:
    """Return the ``k`` best items of each user that are not among the user's events, best first; -1 after the last.

    Equal scores are ranked by catalogue position, so that the answer depends on nothing else.
    """
    scores_BI = scores_BI.copy()
    for scores_I, row in zip(scores_BI, rows_B, strict=True):
        scores_I[events.items_E[events.starts_U[row] : events.starts_U[row + 1]]] = -np.inf
    return take_best(scores_BI, k)


def take_best(scores_BI: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Return the positions of the ``k`` best finite scores, best first, equal ones by position; -1 after the last."""
    k_found = min(k, scores_BI.shape[1])
    worst_B1 = np.partition(scores_BI, scores_BI.shape[1] - k_found, axis=1)[:, scores_BI.shape[1] - k_found, None]
    lists_BK = np.full((len(scores_BI), k), -1, dtype=np.int64)
    for list_K, scores_I, worst in zip(lists_BK, scores_BI, worst_B1[:, 0], strict=True):
        candidates = np.flatnonzero((scores_I >= worst) & (scores_I > -np.inf))
        best = candidates[np.argsort(-scores_I[candidates], kind="stable")][:k]
        list_K[: len(best)] = best
    return lists_BK


def measure_lists(lists_VK: NDArray[np.int64], held_out: HeldOut, catalogue: ItemVocabulary) -> dict[str, float]:
    """Return the ranking metrics of lists for all validation rows; categories are the evaluation's business."""
    return RankingScores(lists_VK, held_out.truth, CatalogueFacts(catalogue.num_events_I.astype(np.float64))).metrics()


def compute_log_loss(
    scores_BI: NDArray[np.float32], held_out: HeldOut, rows_B: NDArray[np.intp]
) -> NDArray[np.float32]:
    """Return the mean -log softmax of each user's taken items; NaN when none of them is in the catalogue."""
    top_B1 = scores_BI.max(axis=1, keepdims=True)
    normalisers_B = top_B1[:, 0] + np.log(np.exp(scores_BI - top_B1).sum(axis=1))
    losses_B = np.full(len(rows_B), np.nan, dtype=np.float32)
    for place, row in enumerate(rows_B):
        taken = held_out.truth[row][held_out.truth[row] >= 0]
        if len(taken):
            losses_B[place] = normalisers_B[place] - scores_BI[place, taken].mean()
    return losses_B


def list_best(
    scores_BI: NDArray[np.float32], held_out: HeldOut, rows_B: NDArray[np.intp], *, exclude_seen: bool
) -> NDArray[np.int64]:
    """Return the list of the best items for each validation row, as long as any metric looks at."""
    if exclude_seen:
        return rank_unseen(scores_BI, held_out.events, rows_B, LONG_CUTOFF)
    return take_best(scores_BI, LONG_CUTOFF)


def answer_rows(
    scores_BI: NDArray[np.float32], held_out: HeldOut, rows_B: NDArray[np.intp], *, exclude_seen: bool
) -> NDArray[np.float32]:
    """Return for each validation row its list of the best items, followed by the loss of what the user took.

    Positions are exact in this type up to 16 million items.
    """
    lists_BK = list_best(scores_BI, held_out, rows_B, exclude_seen=exclude_seen)
    return np.column_stack([lists_BK, compute_log_loss(scores_BI, held_out, rows_B)]).astype(np.float32)


def measure_answers(answers_VK: NDArray[np.float32], held_out: HeldOut, catalogue: ItemVocabulary) -> dict[str, float]:
    """Return the metrics of the answers to all validation rows."""
    losses_V = answers_VK[:, -1]
    known_V = np.isfinite(losses_V)
    loss = float(losses_V[known_V].mean(dtype=np.float64)) if known_V.any() else 0.0
    return measure_lists(answers_VK[:, :-1].astype(np.int64), held_out, catalogue) | {LOSS: loss}
