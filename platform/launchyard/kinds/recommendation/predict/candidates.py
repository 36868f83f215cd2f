"""From a trained model to the items that may be shown: the best of the catalogue that a request allows.

Array legend: I items, C candidates of one answer, B requests.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from launchyard.kinds.recommendation.data.histories import History
from launchyard.kinds.recommendation.predict.item_table import ItemTable
from launchyard.kinds.recommendation.predict.ranking import take_best
from launchyard.kinds.recommendation.predict.scorers import Scorer
from launchyard.vector_index import VectorIndex

SCORE_DIGITS = 5
"""Scores are compared to so many digits: what rounding moves by less than that keeps its place."""
KEPT_CANDIDATES = 5_000
"""Histories whose candidates are kept: who asks again before the next event costs no forward pass."""

Value = TypeVar("Value")
Candidates = tuple[NDArray[np.intp], NDArray[np.float32]]
"""Positions and scores of items, best first."""


@dataclass(frozen=True)
class CandidateQuery:
    """What candidates are asked for."""

    history: History
    count: int
    excludes_seen: bool
    filters: Mapping[str, Any] | None

    @property
    def key(self) -> bytes:
        """A digest of all that the model's candidates depend on."""
        history = self.history
        asked = repr((history.user, self.filters, self.excludes_seen, self.count)).encode()
        parts = (history.items_L.tobytes(), history.weights_L.tobytes(), asked)
        return blake2b(b"".join(parts), digest_size=16).digest()

    @property
    def seen(self) -> NDArray[np.int32]:
        """Positions that must not come back."""
        return self.history.items_L if self.excludes_seen else np.empty(0, dtype=np.int32)


class RecentlyUsed(Generic[Value]):
    """The values of the keys that were asked for last; safe to share between threads."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._values: OrderedDict[Hashable, Value] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> Value | None:
        """Return what is kept under ``key``; None for nothing."""
        with self._lock:
            value = self._values.get(key)
            if value is not None:
                self._values.move_to_end(key)
            return value

    def put(self, key: Hashable, value: Value) -> None:
        """Keep a value, and drop the one that was asked for longest ago when there are too many.

        >>> kept = RecentlyUsed[int](2)
        >>> for name in "abc":
        ...     kept.put(name, 1)
        >>> kept.get("a"), kept.get("c")
        (None, 1)
        """
        with self._lock:
            self._values[key] = value
            if len(self._values) > self._capacity:
                self._values.popitem(last=False)


class CandidateFinder:
    """Finds the model's best items for requests with a history; a request's candidates depend on no other's."""

    def __init__(self, item_table: ItemTable, scorer: Scorer, index: VectorIndex | None) -> None:
        """Search with ``index`` where there is one, else score the whole catalogue."""
        self._shelf = item_table
        self._scorer = scorer
        self._index = index
        self._kept = RecentlyUsed[Candidates](KEPT_CANDIDATES)

    def find(self, wanted: Sequence[CandidateQuery], *, keeps: bool) -> list[Candidates]:
        """Return the candidates of each request, computed together as far as they are not kept already.

        Args:
            wanted: What is asked for.
            keeps: Whether the candidates are kept for the next time, and looked for among those that are.
        """
        if not keeps:
            return self._compute(wanted)
        keys = [request.key for request in wanted]
        found = {key: kept for key in keys if (kept := self._kept.get(key)) is not None}
        missing = {key: request for key, request in zip(keys, wanted, strict=True) if key not in found}
        found |= zip(missing, self._compute(list(missing.values())), strict=True)
        for key in missing:
            self._kept.put(key, found[key])
        return [found[key] for key in keys]

    def select(self, wanted: CandidateQuery, scores_I: NDArray[np.float32]) -> Candidates:
        """Return the best allowed items by the scores of all."""
        allowed_I = self._shelf.allow(wanted.filters)
        scores_I = scores_I.copy() if allowed_I is None else np.where(allowed_I, scores_I, -np.inf)
        scores_I[wanted.seen] = -np.inf
        return choose_candidates(scores_I, wanted.count)

    def _compute(self, wanted: Sequence[CandidateQuery]) -> list[Candidates]:
        if not wanted:
            return []
        histories = [request.history for request in wanted]
        if self._index is not None:
            queries_BD = self._scorer.compute_queries(histories)
            return [self._search(self._index, request, queries_BD[row : row + 1]) for row, request in enumerate(wanted)]
        scores_BI = self._scorer.score(histories)
        return [self.select(request, scores_I) for request, scores_I in zip(wanted, scores_BI, strict=True)]

    def _search(self, index: VectorIndex, wanted: CandidateQuery, query_1D: NDArray[np.float32]) -> Candidates:
        allowed_I = self._shelf.allow(wanted.filters)
        positions_1C, scores_1C = index.search(query_1D, wanted.count, excluded=[wanted.seen], allowed_I=allowed_I)
        found = positions_1C[0] >= 0
        return positions_1C[0][found].astype(np.intp), scores_1C[0][found]


def choose_candidates(scores_I: NDArray[np.float32], most: int) -> Candidates:
    """Return the positions of at most ``most`` finite scores, best first, ties by position, and these scores.

    Scores that differ by no more than rounding are ties, so that an answer does not depend on its batch.
    """
    best_K = take_best(np.round(scores_I, SCORE_DIGITS)[None], most)[0]
    best = best_K[best_K >= 0].astype(np.intp)
    return best, scores_I[best]


def favour_fresh(
    scores_C: NDArray[np.float64], ages_days_C: NDArray[np.float64], half_life_days: float
) -> NDArray[np.float64]:
    """Return scores whose lead over the weakest is halved for each half-life that an item is older than the newest.

    An item of unknown age (NaN) counts as old as the median one; one that is yet to come is new.
    """
    if not len(scores_C):
        return scores_C
    known = np.isfinite(ages_days_C)
    middle = float(np.median(ages_days_C[known])) if known.any() else 0.0
    ages_days_C = np.maximum(np.where(known, ages_days_C, middle), 0.0)
    lowest = scores_C.min()
    fresh_C: NDArray[np.float64] = lowest + (scores_C - lowest) * 0.5 ** (
        (ages_days_C - ages_days_C.min()) / half_life_days
    )
    return fresh_C


def keep_varied(
    order_C: NDArray[np.intp], categories_C: Sequence[Sequence[str]], k: int, most: int
) -> NDArray[np.intp]:
    """Return which candidates make an answer of ``k``: in order, no first category more often than ``most``.

    >>> keep_varied(np.array([2, 0, 1]), [["a"], [], ["a", "b"]], 2, 1)
    array([2, 1])
    """
    counts: dict[str, int] = {}
    kept: list[int] = []
    for place in order_C.tolist():
        name = next(iter(categories_C[place]), None)
        if name is not None:
            if counts.get(name, 0) >= most:
                continue
            counts[name] = counts.get(name, 0) + 1
        kept.append(place)
        if len(kept) == k:
            break
    return np.array(kept, dtype=np.intp)
