"""Metrics of recommended lists: plain arrays in, plain numbers out.

Shapes: B users, K places of a list, I items, G categories, T relevant items of all users, R resamples, S statistics.
Means run over the users whom a metric is defined for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Floats = NDArray[np.float64]
Positions = NDArray[np.int64]
AnyPositions = NDArray[np.integer[Any]]

CUTOFF = 10
"""Length of list that all metrics but the two longer ones are measured at."""
LONG_CUTOFF = 20
"""Beside the first ten, which a page shows, what a second page would add."""


@dataclass(frozen=True)
class CatalogueFacts:
    """What the metrics know of the items beside who took them."""

    num_events_I: Floats
    """Training events of each item."""
    categories_IG: sparse.csr_array | None = None
    """1 where an item is of a category; None when items have none."""


def collect_facts(num_events_I: NDArray[np.int64], categories: Sequence[Sequence[str] | None]) -> CatalogueFacts:
    """Return the facts of a catalogue whose items are of the named ``categories``."""
    names = sorted({name for row in categories for name in row or ()})
    if not names:
        return CatalogueFacts(num_events_I.astype(np.float64))
    columns = {name: column for column, name in enumerate(names)}
    rows = [sorted({columns[name] for name in row or ()}) for row in categories]
    indices = np.array([column for row in rows for column in row], dtype=np.int64)
    starts = np.cumsum([0, *map(len, rows)])
    matrix = sparse.csr_array((np.ones(len(indices)), indices, starts), shape=(len(rows), len(names)))
    return CatalogueFacts(num_events_I.astype(np.float64), matrix)


class RankingScores:
    """Recommended lists beside what the users took, ready to be measured any number of times.

    All metrics but coverage are means over users, so that R resamples of them cost one matrix product.
    """

    def __init__(self, lists_BK: Positions, truth: Sequence[AnyPositions], facts: CatalogueFacts) -> None:
        """Prepare the per-user statistics.

        Args:
            lists_BK: Recommended items, best first, as catalogue positions; -1 fills a list that ends early.
            truth: What each user took. -1 is an item outside the catalogue, which no list can hold.
            facts: The catalogue.

        Raises:
            ValueError: there are no users, one of them took nothing, or the shapes do not fit together.
        """
        if not len(lists_BK) or len(lists_BK) != len(truth) or not all(map(len, truth)):
            raise ValueError(
                f"{len(lists_BK)} lists beside {len(truth)} sets of relevant items, the smallest of "
                f"{min(map(len, truth), default=0)}. Give one list and at least one relevant item per user"
            )
        self.num_rows = len(lists_BK)
        self.lists_BK = np.asarray(lists_BK, dtype=np.int64)
        self.truth = tuple(truth)
        self.facts = facts
        self.hits_BK = find_hits(self.lists_BK, truth, len(facts.num_events_I))
        self._num_relevant_B = np.array([len(np.unique(items[items >= 0])) + (items < 0).sum() for items in truth])
        self._statistics = {name: values_B.astype(np.float64) for name, values_B in self._iter_statistics()}
        self.coverage, self._only_here_B = self._measure_coverage()

    @property
    def per_user(self) -> dict[str, Floats]:
        """Metric -> its value for each user; NaN where undefined."""
        return dict(self._statistics)

    def metrics(self) -> dict[str, float]:
        """Return every metric over all users; one that these users leave undefined is absent."""
        sampled = self.resample(np.ones((1, self.num_rows)))
        return {name: float(values[0]) for name, values in sampled.items() if np.isfinite(values[0])}

    def resample(self, weights_RB: Floats) -> dict[str, Floats]:
        """Return every metric R times over, user b counting ``weights_RB[r, b]`` times; NaN where undefined."""
        values_BS = np.stack(list(self._statistics.values()), axis=1)
        defined_BS = np.isfinite(values_BS)
        totals_RS = weights_RB @ np.where(defined_BS, values_BS, 0.0)
        counts_RS = weights_RB @ defined_BS.astype(np.float64)
        means_RS = np.full(totals_RS.shape, np.nan)
        np.divide(totals_RS, counts_RS, out=means_RS, where=counts_RS > 0)
        means = dict(zip(self._statistics, means_RS.T, strict=True))
        return means | {f"coverage@{CUTOFF}": self._resample_coverage(weights_RB)}

    def _iter_statistics(self) -> list[tuple[str, Floats]]:
        """Return the value for each user of every metric that is a mean over users."""
        named = [
            (f"{name}@{k}", function(self.hits_BK[:, :k], self._num_relevant_B))
            for k in (CUTOFF, LONG_CUTOFF)
            for name, function in (("ndcg", ndcg), ("recall", recall))
        ]
        lists_BK = self.lists_BK[:, :CUTOFF]
        events_I = self.facts.num_events_I
        shares_I = (events_I + 1) / (events_I.sum() + len(events_I))
        return [
            *named,
            (f"mrr@{CUTOFF}", reciprocal_rank(self.hits_BK[:, :CUTOFF])),
            (f"popularity_bias@{CUTOFF}", _average_over_list(lists_BK, popularity_percentiles(events_I))),
            (f"novelty@{CUTOFF}", _average_over_list(lists_BK, -np.log2(shares_I))),
            (f"diversity@{CUTOFF}", intra_list_diversity(lists_BK, self.facts.categories_IG)),
        ]

    def _measure_coverage(self) -> tuple[float, Floats]:
        """Return the share of the catalogue that anybody is recommended, and the share that each user alone is."""
        rows_BK, places_BK = np.nonzero(self.lists_BK[:, :CUTOFF] >= 0)
        items, columns, num_users = np.unique(
            self.lists_BK[rows_BK, places_BK], return_inverse=True, return_counts=True
        )
        num_alone_B = np.bincount(rows_BK[num_users[columns] == 1], minlength=self.num_rows)
        num_items = len(self.facts.num_events_I)
        return len(items) / num_items, num_alone_B / num_items

    def _resample_coverage(self, weights_RB: Floats) -> Floats:
        """Return the catalogue coverage (Ge et al. 2010) of each resample, as the jackknife linearises it.

        Items counted over drawn users would be no use: a user who is left out takes items away, one who is drawn twice
        adds none, so that every resample lies below the value. Instead each user's weight moves the value by what
        leaving the user out changes, the items of nobody else (Efron and Tibshirani 1993, ch. 20.4). Resamples then lie
        on both sides, users of two models stay paired, and the variance is the jackknife's, on average no less than
        the true one (Efron and Stein 1981).
        """
        return np.clip(self.coverage + (weights_RB - 1) @ self._only_here_B, 0.0, 1.0)


def find_hits(lists_BK: Positions, truth: Sequence[AnyPositions], num_items: int) -> NDArray[np.bool_]:
    """Return which places of the lists hold an item that their user took; a repeated item counts once.

    Raises:
        ValueError: a list holds an item twice, or a position outside the catalogue.
    """
    if lists_BK.size and lists_BK.max() >= num_items:
        raise ValueError(f"a list holds position {lists_BK.max()} of a catalogue of {num_items} items")
    sorted_BK = np.sort(lists_BK, axis=1)
    if ((sorted_BK[:, 1:] == sorted_BK[:, :-1]) & (sorted_BK[:, 1:] >= 0)).any():
        raise ValueError("a list holds an item twice. Recommend each item once")
    users_T = np.repeat(np.arange(len(truth)), [len(items) for items in truth])
    items_T = np.concatenate(truth).astype(np.int64)
    relevant = (users_T * num_items + items_T)[items_T >= 0]
    keys_BK = np.where(lists_BK >= 0, np.arange(len(lists_BK))[:, None] * num_items + lists_BK, -1)
    return np.isin(keys_BK, relevant)


def ndcg(hits_BK: NDArray[np.bool_], num_relevant_B: Positions) -> Floats:
    """Return the normalised discounted cumulative gain of each list with binary gains (Järvelin and Kekäläinen 2002).

    The ideal list holds as many relevant items as there are and as fit, K.
    """
    discounts_K = 1 / np.log2(np.arange(2, hits_BK.shape[1] + 2))
    ideal_K = np.cumsum(discounts_K)
    best_B: Floats = ideal_K[np.minimum(num_relevant_B, len(ideal_K)) - 1]
    return hits_BK @ discounts_K / best_B


def recall(hits_BK: NDArray[np.bool_], num_relevant_B: Positions) -> Floats:
    """Return the share of each user's relevant items that the list holds; with one such item this is the hit rate."""
    shares_B: Floats = hits_BK.sum(axis=1) / num_relevant_B
    return shares_B


def reciprocal_rank(hits_BK: NDArray[np.bool_]) -> Floats:
    """Return 1 / place of the first relevant item of each list, 0 where there is none."""
    return np.where(hits_BK.any(axis=1), 1 / (hits_BK.argmax(axis=1) + 1), 0.0)


def popularity_percentiles(num_events_I: Floats) -> Floats:
    """Return the share of the catalogue that is less popular than each item, ties counting half: 0 to 1.

    The mean of it over recommended items is the average recommendation popularity (Yin et al. 2012; Abdollahpouri
    et al. 2019) on a scale that does not depend on the size of the data; popular items give about 1, a random list
    gives 0.5.
    """
    sorted_I = np.sort(num_events_I)
    below_I = np.searchsorted(sorted_I, num_events_I, side="left")
    up_to_I = np.searchsorted(sorted_I, num_events_I, side="right")
    return (below_I + up_to_I) / (2 * len(num_events_I))


def intra_list_diversity(lists_BK: Positions, categories_IG: sparse.csr_array | None) -> Floats:
    """Return 1 minus the mean cosine of the categories over all pairs of a list (Ziegler et al. 2005).

    Items without a category are left out; a list with fewer than two others is undefined, NaN.
    """
    diversity_B = np.full(len(lists_BK), np.nan)
    if categories_IG is None:
        return diversity_B
    norms_I = np.sqrt(categories_IG.sum(axis=1))
    has_category_BK = (lists_BK >= 0) & (norms_I[lists_BK] > 0)
    rows, places = np.nonzero(has_category_BK)
    items = lists_BK[rows, places]
    shape = (len(lists_BK), categories_IG.shape[0])
    # The sum of all pairs' cosines is the squared length of the sum of unit vectors, less the items with themselves.
    sums_BG = sparse.csr_array((1 / norms_I[items], (rows, items)), shape=shape) @ categories_IG
    num_B = has_category_BK.sum(axis=1)
    pairs_B = num_B * (num_B - 1)
    cosines_B = np.asarray(sums_BG.multiply(sums_BG).sum(axis=1)).ravel() - num_B
    np.divide(cosines_B, pairs_B, out=diversity_B, where=pairs_B > 0)
    return 1 - diversity_B


def _average_over_list(lists_BK: Positions, values_I: Floats) -> Floats:
    """Return the mean value of each list's items; NaN for an empty list."""
    filled_BK = lists_BK >= 0
    totals_B = np.where(filled_BK, values_I[lists_BK], 0.0).sum(axis=1)
    means_B = np.full(len(lists_BK), np.nan)
    np.divide(totals_B, filled_BK.sum(axis=1), out=means_B, where=filled_BK.any(axis=1))
    return means_B
