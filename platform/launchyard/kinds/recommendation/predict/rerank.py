"""Re-ranking: the model's best candidates in a new order, with features of the moment.

A conditional logit (McFadden 1974) over the candidates of one answer: score = weights . features, fitted so that what
the user took stands above what was offered beside it. It is linear, so what each feature adds can be told.

Array legend: C candidates of one answer, F features, G answers with a taken item among the candidates.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.optimize import minimize

from launchyard.features.sets import DAY_S
from launchyard.kinds.recommendation.data.day_counts import Totals
from launchyard.kinds.recommendation.data.declared import DeclaredSet
from launchyard.kinds.recommendation.data.profiles import Profile
from launchyard.kinds.recommendation.predict.item_table import ItemTable
from launchyard.stored import Stored

Floats = NDArray[np.float64]
DAYS_OF_MEAN = 7
"""A trend compares the last week with the mean week of a month: weekdays differ too much for less."""
MODEL_FEATURES = ("model_score", "model_rank")
FEATURES = (
    *MODEL_FEATURES,
    "item_events",
    "item_events_7d",
    "item_events_30d",
    "item_trend",
    "item_age",
    "item_release_age",
    "favourite_category",
    "top_category",
    "taste_similarity",
    "last_items_similarity",
    "price_gap",
    "activity_and_popularity",
    "pause_and_trend",
    "context_lift",
)
"""What re-ranking sees of a candidate; all but the first two come from online features and the request."""
PENALTY = 1.0
"""L2 penalty, in answers: weights of standardised features stay near 0 unless the answers insist."""
LAST_ITEMS = 3
"""Taste of the moment; older items are in the query that found the candidates."""


class Reranker(Stored):
    """A fitted re-ranking; written as ``model/rerank.json``."""

    names: tuple[str, ...] = Field(description="The features, those that the spec declares last.")
    means: tuple[float, ...]
    scales: tuple[float, ...] = Field(description="Standard deviation of each feature; 1 where it never changes.")
    weights: tuple[float, ...]
    gain: float = Field(description="Mean gain of ndcg@10 on validation users that it was not fitted on.")

    def contribute(self, features_CF: Floats) -> Floats:
        """Return what each feature adds to each candidate's score, compared with a mean candidate."""
        standard_CF = (features_CF - np.array(self.means)) / np.array(self.scales)
        contributions_CF: Floats = standard_CF * np.array(self.weights)
        return contributions_CF


@dataclass(frozen=True)
class Moment:
    """What is known when an answer is made: the user, and each item's totals."""

    profile: Profile
    items_L: NDArray[np.int32]
    """The user's newest items, as the model sees them."""
    totals: Totals
    time: float
    declared: Sequence[DeclaredSet] = ()
    """Numbers about items from sources of their own."""
    lift_I: Floats | None = None
    """What the request's context speaks for: log of how much more often each item is taken in it."""


def compute_features(
    candidates_C: NDArray[np.intp], scores_C: NDArray[np.float32], moment: Moment, item_table: ItemTable
) -> Floats:
    """Return the features of candidates that stand in the model's order, of shape (C, F)."""
    profile, totals, facts = moment.profile, moment.totals, item_table.facts
    events_C = np.log1p(totals.num_events_I[candidates_C])
    week_C = np.log1p(totals.windows_I[7][candidates_C])
    month_C = np.log1p(totals.windows_I[30][candidates_C])
    trend_C = week_C - np.log1p(totals.windows_I[30][candidates_C] * DAYS_OF_MEAN / 30)
    spread = float(scores_C.std()) or 1.0
    share_C, top_C = item_table.match_categories(candidates_C, profile.categories)
    vectors_CV = facts.vectors_IV[candidates_C]
    pause = 0.0 if profile.last_event is None else np.log1p(max(moment.time - profile.last_event, 0.0) / DAY_S)
    columns = (
        np.clip((scores_C - scores_C.mean()) / spread, -4, 4),
        1 / np.log2(2 + np.arange(len(candidates_C))),
        events_C,
        week_C,
        month_C,
        trend_C,
        _log_age(moment.time - totals.first_event_I[candidates_C]),
        _log_age(moment.time - item_table.times_I[candidates_C]),
        share_C,
        top_C.astype(np.float64),
        vectors_CV @ _normalise(facts.vectors_IV[moment.items_L].sum(axis=0).astype(np.float64)),
        _match_last(vectors_CV, profile, item_table),
        _price_gap(facts.prices_I[candidates_C], profile),
        np.log1p(profile.num_events) * events_C,
        pause * trend_C,
        np.zeros(len(candidates_C)) if moment.lift_I is None else moment.lift_I[candidates_C],
    )
    return np.concatenate([np.stack(columns, axis=1), *_look_up_declared(candidates_C, moment)], axis=1)


def _look_up_declared(candidates_C: NDArray[np.intp], moment: Moment) -> Iterator[Floats]:
    """Yield the declared numbers of the candidates less their mean; what is unknown is as the mean."""
    for found in moment.declared:
        values_CJ = found.look_up(candidates_C, moment.time).T
        is_known_CJ = np.isfinite(values_CJ)
        counts_J = np.maximum(is_known_CJ.sum(axis=0), 1)
        means_J = np.where(is_known_CJ, values_CJ, 0.0).sum(axis=0) / counts_J
        yield np.where(is_known_CJ, values_CJ - means_J, 0.0)


def _match_last(vectors_CV: NDArray[np.float32], profile: Profile, item_table: ItemTable) -> Floats:
    places = item_table.find(profile.recent_items[-LAST_ITEMS:])
    if not places:
        return np.zeros(len(vectors_CV))
    similarity_C: Floats = (vectors_CV @ item_table.facts.vectors_IV[places].T).max(axis=1).astype(np.float64)
    return similarity_C


def _price_gap(prices_C: Floats, profile: Profile) -> Floats:
    """Return how far a price is from the user's mean, as the absolute logarithm of the ratio; 0 where unknown."""
    if not profile.price_count or profile.price_sum <= 0:
        return np.zeros(len(prices_C))
    mean = profile.price_sum / profile.price_count
    with np.errstate(invalid="ignore", divide="ignore"):
        gap_C = np.abs(np.log(prices_C / mean))
    return np.where(np.isfinite(gap_C), gap_C, 0.0)


def _log_age(seconds_C: Floats) -> Floats:
    """Return ln(1 + days); 0 where the beginning is unknown."""
    days_C = np.nan_to_num(np.maximum(seconds_C, 0.0) / DAY_S, nan=0.0)
    return np.log1p(days_C)


def _normalise(vector_V: Floats) -> Floats:
    norm = float(np.linalg.norm(vector_V))
    return vector_V / norm if norm else vector_V


@dataclass(frozen=True)
class Answer:
    """One validation answer: the candidates' features, and which of them the user took."""

    features_CF: Floats
    taken_C: NDArray[np.bool_]
    num_taken: int
    """Items that the user took, whether they were among the candidates or not."""


def fit_reranker(answers: Sequence[Answer], *, names: tuple[str, ...] = FEATURES, folds: int = 5) -> Reranker:
    """Return re-ranking fitted on all answers, with its gain measured on answers left out of the fit.

    Args:
        answers: In an order that says nothing about them; those without a taken candidate only count in the gain.
        names: What the features are called.
        folds: Parts that are left out one after the other.
    """
    part_of = np.arange(len(answers)) % folds
    gains = np.zeros(len(answers))
    for fold in range(folds):
        fitted = _fit([answer for answer, part in zip(answers, part_of, strict=True) if part != fold])
        for index in np.flatnonzero(part_of == fold).tolist():
            answer = answers[index]
            scores_C = ((answer.features_CF - fitted[0]) / fitted[1]) @ fitted[2]
            order = np.argsort(-np.round(scores_C, 6), kind="stable")
            gains[index] = _ndcg(answer.taken_C[order], answer.num_taken) - _ndcg(answer.taken_C, answer.num_taken)
    means_F, scales_F, weights_F = _fit(answers)
    return Reranker(
        names=names,
        means=tuple(means_F.tolist()),
        scales=tuple(scales_F.tolist()),
        weights=tuple(weights_F.tolist()),
        gain=float(gains.mean()),
    )


def _ndcg(taken_C: NDArray[np.bool_], num_taken: int) -> float:
    discounts = 1 / np.log2(np.arange(2, 12))
    gained = taken_C[:10] @ discounts[: len(taken_C[:10])]
    return float(gained / discounts[: min(num_taken, 10)].sum()) if num_taken else 0.0


def _fit(answers: Sequence[Answer]) -> tuple[Floats, Floats, Floats]:
    """Return means, scales and weights; with no answer to learn from the model's order stands."""
    useful = [answer for answer in answers if answer.taken_C.any()]
    num_features = answers[0].features_CF.shape[1]
    start_F = np.zeros(num_features)
    start_F[0] = 1.0
    if not useful:
        return np.zeros(num_features), np.ones(num_features), start_F
    stacked = np.concatenate([answer.features_CF for answer in useful])
    means_F, scales_F = stacked.mean(axis=0), stacked.std(axis=0)
    scales_F[scales_F < 1e-9] = 1.0
    standard = [(answer.features_CF - means_F) / scales_F for answer in useful]
    penalty_F = np.full(num_features, PENALTY)
    penalty_F[: len(MODEL_FEATURES)] = 0.0

    def loss(weights_F: Floats) -> tuple[float, Floats]:
        value, slope_F = 0.5 * float(penalty_F @ weights_F**2), penalty_F * weights_F
        for features_CF, answer in zip(standard, useful, strict=True):
            scores_C = features_CF @ weights_F
            scores_C -= scores_C.max()
            shares_C = np.exp(scores_C)
            shares_C /= shares_C.sum()
            taken_C = answer.taken_C / answer.taken_C.sum()
            value -= float(taken_C @ np.log(np.maximum(shares_C, 1e-12)))
            slope_F = slope_F + (shares_C - taken_C) @ features_CF
        return value, slope_F

    found = minimize(loss, start_F, jac=True, method="L-BFGS-B", options={"maxiter": 200})
    return means_F, scales_F, found.x
