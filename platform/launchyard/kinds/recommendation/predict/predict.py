"""A trained recommender as serving loads it: histories in, items with reasons out.

Array legend: B rows, I items, C candidates of one answer, K items of one answer.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from launchyard.bundle.manifest import parse_file
from launchyard.contract.predictor import Device, Output
from launchyard.contract.rows import Row
from launchyard.data.values.keyed_columns import read_moment
from launchyard.errors import RequestError
from launchyard.features.sets import number_day
from launchyard.kinds.recommendation.data.day_counts import DayCounts, Totals, load_day_counts
from launchyard.kinds.recommendation.data.declared import load_declared
from launchyard.kinds.recommendation.data.histories import History
from launchyard.kinds.recommendation.data.profiles import Profile
from launchyard.kinds.recommendation.predict.candidates import (
    SCORE_DIGITS,
    CandidateFinder,
    CandidateQuery,
    Candidates,
    RecentlyUsed,
    favour_fresh,
    keep_varied,
)
from launchyard.kinds.recommendation.predict.item_table import ItemTable
from launchyard.kinds.recommendation.predict.reasons import Reasons
from launchyard.kinds.recommendation.predict.request import (
    CONFIG_NAME,
    ONLINE,
    OnlineFeatures,
    RecommenderConfig,
    Request,
)
from launchyard.kinds.recommendation.predict.rerank import Answer, Moment, Reranker, compute_features
from launchyard.kinds.recommendation.predict.schemas import RecommendationInput, RecommendationOutput
from launchyard.kinds.recommendation.predict.scorers import Scorer, load_scorer
from launchyard.kinds.recommendation.train.context import ContextLifts
from launchyard.privacy.pseudonyms import FORMER_USERS, USER
from launchyard.vector_index import VectorIndex

INDEX_FOLDER = "index"
RERANK_NAME = "rerank.json"
KEPT_DAYS = 400
LARGEST_KEPT = 100
"""Items in an answer up to which it is kept."""
KEPT_ANSWERS = 5_000
"""Answers that are kept: the same question before the next event, in the same hour, has the same answer."""


@dataclass(frozen=True)
class _Chosen:
    """The items of one answer before they are put in words."""

    positions_K: NDArray[np.intp]
    scores_K: NDArray[np.float64]
    contributions_KF: NDArray[np.float64] | None
    is_personal: bool


class RecommendationPredictor:
    """Users, sessions or nobody in, ranked items out."""

    input_schema = RecommendationInput
    output_schema = RecommendationOutput

    def __init__(self, config: RecommenderConfig, scorer: Scorer, folder: Path, *, threads: int) -> None:
        """Take the loaded model; ``folder`` is the bundle's ``model/``."""
        self.config = config
        self.item_table = ItemTable.load(folder)
        self.day_counts = load_day_counts(folder)
        self.contexts = ContextLifts.load(folder)
        self.declared = load_declared(folder)
        path = folder / RERANK_NAME
        self.reranker = Reranker.model_validate_json(path.read_bytes()) if path.is_file() else None
        self._reasons = Reasons(self.item_table)
        has_index = (folder / INDEX_FOLDER).is_dir()
        index = VectorIndex.load(folder / INDEX_FOLDER, threads=threads) if has_index else None
        self._finder = CandidateFinder(self.item_table, scorer, index)
        self._memory: tuple[object, RecentlyUsed[Output]] = (None, RecentlyUsed(KEPT_ANSWERS))
        self._totals: tuple[DayCounts, dict[int, Totals]] = (self.day_counts, {})

    @classmethod
    def load(cls, bundle_dir: Path, device: Device) -> Self:
        """Return the predictor of a bundle folder, computing on the threads of ``device``.

        Raises:
            BundleError: a file is missing, damaged or written by a newer version.
        """
        config = parse_file(bundle_dir, CONFIG_NAME, RecommenderConfig)
        folder = bundle_dir / "model"
        return cls(config, load_scorer(folder, threads=device.threads), folder, threads=device.threads)

    def parse(self, raw: object) -> Row:
        """Return the row of one raw request input: ids as text, moments in seconds, events oldest first.

        Raises:
            RequestError: it is of the wrong form, or names a context that the product does not know.
        """
        try:
            given = RecommendationInput.model_validate(raw)
        except ValidationError as err:
            raise RequestError(_explain(err)) from err
        if given.k is not None and given.k > self.config.max_k:
            raise RequestError(f"k: at most {self.config.max_k} items may be asked for (serve.max_k), got {given.k}.")
        unknown = sorted(set(given.context or {}) - set(self.contexts.names))
        if unknown:
            known = ", ".join(self.contexts.names) or "none"
            raise RequestError(f"context: '{unknown[0][:40]}' is not known to this product. Known: {known}.")
        now = time.time() if given.time is None else _read_moment(given.time, "time")
        events = [
            {
                "item": event.item,
                "timestamp": now if event.timestamp is None else _read_moment(event.timestamp, "events.timestamp"),
                "event": event.event,
                "weight": 1.0 if event.weight is None else event.weight,
            }
            for event in given.events or ()
        ]
        events.sort(key=lambda event: float(str(event["timestamp"])))
        return {
            **_name_user(raw, given.user),
            "events": events,
            "k": given.k or self.config.k,
            "time": now,
            "context": given.context or {},
            "filters": None if given.filters is None else given.filters.model_dump(),
            "exclude_seen": given.exclude_seen,
        }

    def predict(self, rows: Sequence[Row]) -> list[Output]:
        """Return one output per row, in order; a row's output does not depend on its batch."""
        requests = [self._read(row) for row in rows]
        memory = self._find_memory(requests)
        answers = _look_up(memory, requests)
        missing = [row for row in range(len(requests)) if row not in answers]
        chosen = self._choose([requests[row] for row in missing])
        for row, items in zip(missing, chosen, strict=True):
            answers[row] = self._answer(requests[row], items)
            if requests[row].is_live and requests[row].k <= LARGEST_KEPT:
                memory.put(requests[row].key, answers[row])
        return _add_notes(requests, answers)

    def recall(self, rows: Sequence[Row]) -> list[Output] | None:
        """Return what :meth:`predict` returned for the same rows, as far as nothing has changed; None unless for all.

        Takes microseconds and waits for nothing.
        """
        requests = [self._read(row) for row in rows]
        answers = _look_up(self._find_memory(requests), requests)
        return _add_notes(requests, answers) if len(answers) == len(requests) else None

    def _find_memory(self, requests: Sequence[Request]) -> RecentlyUsed[Output]:
        """Return the answers that were given lately; when the store says something else of the items, none are left."""
        live = next((request for request in requests if request.is_live), None)
        known, memory = self._memory
        if live is not None and (now := (live.day_counts, live.declared)) != known:
            memory = RecentlyUsed[Output](KEPT_ANSWERS)
            self._memory = now, memory
        return memory

    def explain(self, rows: Sequence[Row]) -> list[Output]:
        """Return each row's output together with what speaks for each of its items."""
        requests = [self._read(row) for row in rows]
        return [
            {
                **self._answer(request, found),
                "notes": list(request.notes),
                "explanation": self._explain(request, found),
            }
            for request, found in zip(requests, self._choose(requests), strict=True)
        ]

    def describe(self, row: Row) -> dict[str, float | str]:
        """Return what drift is measured on: how much is known of the user, never who it is."""
        request = self._read(row)
        profile = request.profile
        last = profile.last_event
        favourite = max(profile.categories, key=lambda name: profile.categories[name], default="none")
        return {
            "num_events": float(profile.num_events),
            "days_since_last_event": -1.0 if last is None else max(request.row["time"] - last, 0.0) / 86_400,
            "num_categories": float(len(profile.categories)),
            "favourite_category": favourite[:29],
            "strategy": "personal" if len(request.history.items_L) else "popular",
        }

    @property
    def _feature_names(self) -> tuple[str, ...]:
        return () if self.reranker is None else self.reranker.names

    def without_second_look(self) -> RecommendationPredictor:
        """Return the same predictor without features, to compare with."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other.reranker = None
        other._memory = (None, RecentlyUsed(KEPT_ANSWERS))
        return other

    def look_at_candidates(self, rows: Sequence[Row], taken: Sequence[Sequence[str]]) -> list[Answer]:
        """Return the candidates of each row that has a history, as re-ranking sees them, and which were taken."""
        requests = [(self._read(row), items) for row, items in zip(rows, taken, strict=True)]
        personal = [(request, items) for request, items in requests if len(request.history.items_L)]
        found = self._find_candidates([request for request, _ in personal])
        return [
            Answer(
                self._compute_features(request, positions_C, scores_C),
                np.isin(positions_C, self.item_table.find(items)),
                len(set(items)),
            )
            for (request, items), (positions_C, scores_C) in zip(personal, found, strict=True)
        ]

    def _compute_features(
        self, request: Request, positions_C: NDArray[np.intp], scores_C: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        totals, lift_I = self._find_totals(request), self._find_lift(request)
        moment = Moment(request.profile, request.history.items_L, totals, request.time, request.declared, lift_I)
        return compute_features(positions_C, scores_C, moment, self.item_table)

    def _read(self, row: Row) -> Request:
        """Return a row with its history and profile; both come from its events when no resource knows more."""
        known: OnlineFeatures | None = row.get(ONLINE)
        notes = () if known is None else known.notes
        if known is None:
            profile, unknown = self.make_profile(row["events"])
            if unknown:
                notes = (*notes, f"{unknown} of {len(row['events'])} events are of items outside the catalogue.")
        else:
            profile = known.profile
        day_counts = self.day_counts if known is None or known.day_counts is None else known.day_counts
        declared = self.declared if known is None or known.declared is None else known.declared
        is_live = known is not None
        return Request(row, profile, day_counts, declared, notes, self._make_history, is_live)

    def make_profile(self, events: Sequence[Mapping[str, Any]]) -> tuple[Profile, int]:
        """Return the profile that events make, oldest first, and how many are of items outside the catalogue."""
        profile = Profile.start()
        num_unknown = self.item_table.extend(profile, events)
        profile.keep_newest(self.config.max_history)
        return profile, num_unknown

    def _make_history(self, profile: Profile, row: Row) -> History:
        position = self.item_table.position
        inside = [index for index, item in enumerate(profile.recent_items) if item in position]
        kept = inside[-self.config.max_history :]
        return History(
            items_L=np.array([position[profile.recent_items[index]] for index in kept], dtype=np.int32),
            times_L=np.array([profile.recent_times[index] for index in kept], dtype=np.float64),
            weights_L=np.array([profile.recent_weights[index] for index in kept], dtype=np.float32),
            time=row["time"],
            user=row["user"],
        )

    def _choose(self, requests: Sequence[Request]) -> list[_Chosen]:
        """Return the items of each request, personal ones computed together."""
        personal = [index for index, request in enumerate(requests) if len(request.history.items_L)]
        found = self._find_candidates([requests[index] for index in personal])
        candidates = dict(zip(personal, found, strict=True))
        return [
            self._fill_up(request, candidates[index]) if index in candidates else self._choose_popular(request)
            for index, request in enumerate(requests)
        ]

    def _fill_up(self, request: Request, candidates: Candidates) -> _Chosen:
        """Return an answer of as many items as are asked for: where the rules leave fewer, more are looked for."""
        wanted = self._ask_for(request)
        chosen = self._order(request, *candidates)
        while len(chosen.positions_K) < request.k and len(candidates[0]) == wanted.count:
            wanted = replace(wanted, count=4 * wanted.count)
            (candidates,) = self._finder.find([wanted], keeps=request.is_live)
            chosen = self._order(request, *candidates)
        return chosen

    def _find_candidates(self, requests: Sequence[Request]) -> list[Candidates]:
        wanted = [self._ask_for(request) for request in requests]
        return self._finder.find(wanted, keeps=all(request.is_live for request in requests))

    def _ask_for(self, request: Request) -> CandidateQuery:
        asked = request.row["exclude_seen"]
        return CandidateQuery(
            request.history,
            # Three times as many as asked for, so that rules of variety have something to choose from.
            count=max(self.config.candidates, 3 * request.k),
            excludes_seen=self.config.exclude_seen if asked is None else asked,
            filters=request.row["filters"],
        )

    def _order(self, request: Request, positions_C: NDArray[np.intp], scores_C: NDArray[np.float32]) -> _Chosen:
        """Return the answer that re-ranking and the rules make of the model's candidates."""
        final_C, contributions_CF = scores_C.astype(np.float64), None
        if self.reranker is not None and len(positions_C):
            contributions_CF = self.reranker.contribute(self._compute_features(request, positions_C, scores_C))
            final_C = contributions_CF.sum(axis=1)
        return self._apply_rules(request, positions_C, final_C, contributions_CF)

    def _choose_popular(self, request: Request) -> _Chosen:
        """Return what most people take, in the request's circumstances where these are known."""
        totals = self._find_totals(request)
        scores_I = np.log1p(totals.num_events_I if totals.num_events_I.any() else self.item_table.num_events_I)
        lift_I = self._find_lift(request)
        if lift_I is not None:
            scores_I = scores_I + lift_I
        # All of them: rules of variety then leave as many as there are.
        wanted = replace(self._ask_for(request), count=len(scores_I))
        positions_C, scores_C = self._finder.select(wanted, scores_I.astype(np.float32))
        return self._apply_rules(request, positions_C, scores_C.astype(np.float64), None)

    def _apply_rules(
        self,
        request: Request,
        positions_C: NDArray[np.intp],
        scores_C: NDArray[np.float64],
        contributions_CF: NDArray[np.float64] | None,
    ) -> _Chosen:
        half_life, most = self.config.freshness_half_life_days, self.config.max_per_category
        if half_life is not None:
            scores_C = favour_fresh(scores_C, (request.time - self.item_table.times_I[positions_C]) / 86_400, half_life)
        kept_K = np.argsort(-np.round(scores_C, SCORE_DIGITS), kind="stable")
        if most is not None:
            categories = [self.item_table.facts.categories[place] for place in positions_C.tolist()]
            kept_K = keep_varied(kept_K, categories, request.k, most)
        kept_K = kept_K[: request.k]
        return _Chosen(
            positions_C[kept_K],
            scores_C[kept_K],
            None if contributions_CF is None else contributions_CF[kept_K],
            is_personal=len(request.history.items_L) > 0,
        )

    def _find_totals(self, request: Request) -> Totals:
        """Return the totals at a request's moment; those of the newest counts are kept, day by day."""
        counts, kept = self._totals
        if counts is not request.day_counts or len(kept) > KEPT_DAYS:
            kept = {}
            self._totals = (request.day_counts, kept)
        day = number_day(request.time)
        if day not in kept:
            kept[day] = request.day_counts.total(request.time)
        return kept[day]

    def _find_lift(self, request: Request) -> NDArray[np.float64] | None:
        return self.contexts.find(request.row["context"]) if request.row["context"] else None

    def _answer(self, request: Request, chosen: _Chosen) -> Output:
        reasons = self._reasons.give(chosen.positions_K, request.profile, is_personal=chosen.is_personal)
        facts, titles = self.item_table.facts, self.item_table.titles
        return {
            "items": [
                {"item": facts.ids[place], "title": titles[place], "score": score, "reason": reason}
                for place, score, reason in zip(
                    chosen.positions_K.tolist(), np.round(chosen.scores_K, SCORE_DIGITS).tolist(), reasons, strict=True
                )
            ],
            "strategy": "personal" if chosen.is_personal else "popular",
        }

    def _explain(self, request: Request, chosen: _Chosen) -> dict[str, Any]:
        ids = self.item_table.facts.ids
        similar = self._reasons.find_similar(chosen.positions_K, request.profile)
        features: dict[str, dict[str, float]] = {}
        if chosen.contributions_KF is not None:
            for place, added_F in zip(chosen.positions_K.tolist(), chosen.contributions_KF.tolist(), strict=True):
                features[ids[place]] = dict(zip(self._feature_names, added_F, strict=True))
        return {"because_of": similar, "features": features}


def _look_up(memory: RecentlyUsed[Output], requests: Sequence[Request]) -> dict[int, Output]:
    """Return the kept answers by their places among the requests.

    There are none for rows of a data set: what is measured is always computed.
    """
    found = ((row, memory.get(request.key)) for row, request in enumerate(requests) if request.is_live)
    return {row: answer for row, answer in found if answer is not None}


def _add_notes(requests: Sequence[Request], answers: Mapping[int, Output]) -> list[Output]:
    return [{**answers[row], "notes": list(request.notes)} for row, request in enumerate(requests)]


def _name_user(raw: object, user: str | None) -> Row:
    """Return the user's id and, where the request wrote it in another form, that one: older code knew it by it."""
    given = raw.get(USER) if isinstance(raw, Mapping) else None
    written = given.strip() if isinstance(given, str) else user
    return {USER: user} if written in (user, None) else {USER: user, FORMER_USERS: (written,)}


def _read_moment(value: float | str, where: str) -> float:
    try:
        return read_moment(value)
    except ValueError as err:
        raise RequestError(
            f"{where}: '{str(value)[:40]}' is no moment in time. Send seconds since 1970 or ISO 8601."
        ) from err


def _explain(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in problem["loc"] if part not in ("float", "str")) or "input"
    return f"{where}: {problem['msg']}. Send an object such as {{'user': '42'}} or {{'events': [{{'item': '50'}}]}}."
