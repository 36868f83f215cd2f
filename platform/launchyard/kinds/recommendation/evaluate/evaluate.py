"""How recommenders are measured: every item of the catalogue is ranked, for users of whom the last events are held out.

Array legend: B rows (users), K places of a list, I items.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from launchyard.contract.evaluation import Evaluator
from launchyard.contract.predictor import Device, Output
from launchyard.evaluation.figures import Figure
from launchyard.evaluation.metrics.bootstrap import Bootstrap, measure, paired_difference
from launchyard.evaluation.metrics.ranking import LONG_CUTOFF, RankingScores, collect_facts
from launchyard.kinds.recommendation.data.histories import (
    HeldOut,
    collect_held_out,
    read_catalogue,
    read_events,
)
from launchyard.kinds.recommendation.evaluate import charts
from launchyard.kinds.recommendation.predict.item_table import ItemTable
from launchyard.kinds.recommendation.predict.predict import RERANK_NAME, RecommendationPredictor
from launchyard.kinds.recommendation.predict.ranking import take_best
from launchyard.kinds.recommendation.spec import Recommendation
from launchyard.kinds.recommendation.train.closed_form import choose_cheap_baseline, fit_cheap_baseline
from launchyard.kinds.recommendation.train.export import make_input
from launchyard.spec.blocks import Product

NUM_EXPLAINED = 5
NUM_EXAMPLES = 8
"""The self-test answers them at each load, so they are few."""
ROWS_AT_ONCE = 512
"""Scores of so many rows over all items are held at once."""
POPULAR_SHARE = 0.2
"""Share of the catalogue that counts as its popular head."""


class RankingEvaluator(Evaluator):
    """Scores, rivals, slices and figures of a recommendation product."""

    prior_metric = "ndcg@10"
    baseline_name = "EASE or item-kNN"

    def __init__(self, spec: Product, dataset_dir: Path) -> None:
        """Measure on the catalogue of a prepared data set."""
        self.spec = cast(Recommendation, spec)
        self.dataset_dir = dataset_dir
        self.catalogue = read_catalogue(dataset_dir)
        self.item_table = ItemTable.load(dataset_dir)
        self.facts = collect_facts(self.item_table.num_events_I, self.item_table.facts.categories)

    def score(self, rows: pa.Table, outputs: Sequence[Output]) -> RankingScores:
        """Return the scores of the recommended lists against what the users took."""
        lists_BK = np.full((len(outputs), LONG_CUTOFF), -1, dtype=np.int64)
        for list_K, output in zip(lists_BK, outputs, strict=True):
            places = self.item_table.find([found["item"] for found in output["items"][:LONG_CUTOFF]])
            list_K[: len(places)] = places
        return RankingScores(lists_BK, self._read(rows).truth, self.facts)

    def answer_prior(self, train: pa.Table, rows: pa.Table) -> list[Output]:
        """Return what most people took, without what each user has."""
        popularity_I = self.catalogue.score_popularity()
        return self._list(rows, lambda held, part: np.repeat(popularity_I[None], len(part), axis=0))

    def is_baseline(self, bundle_dir: Path) -> bool:
        """Return whether the model is what the baseline would be, without re-ranking or rules that change its order.

        ``exclude_seen`` holds for both.
        """
        rules = self.spec.serve.rules
        return (
            self.spec.model == choose_cheap_baseline(len(self.catalogue.items))
            and rules.max_per_category is None
            and rules.freshness_half_life_days is None
            and not (bundle_dir / "model" / RERANK_NAME).is_file()
        )

    def answer_baseline(self, train: pa.Table, rows: pa.Table) -> list[Output]:
        """Return the answers of a linear model of item pairs, fitted in seconds."""
        scorer = fit_cheap_baseline(read_events(self.dataset_dir, self.catalogue), self.catalogue)
        return self._list(rows, lambda held, part: scorer.score(held.get_histories(part)))

    def slices(self, rows: pa.Table) -> dict[str, list[str]]:
        """Return how much is known of each user, how popular the taken item is, and the columns the spec names."""
        held = self._read(rows)
        lengths_B = held.events.count_events()
        known = [rows[name].to_pylist() for name in ("context", "attributes") if name in rows.column_names]
        # What is both a circumstance and an attribute is told by the event itself.
        columns = {
            name: next([str(value[name]) for value in values] for values in known if values and name in values[0])
            for name in self.spec.evaluate.slices
            if rows.num_rows
        }
        return {
            "events of the user": [_name_length(int(length)) for length in lengths_B],
            "taken item": [self._name_popularity(items) for items in held.truth],
            **columns,
        }

    def figures(self, bundle_dir: Path, rows: pa.Table, outputs: Sequence[Output]) -> list[Figure]:
        """Return metrics by place, what features add, popularity of what is shown, and real users."""
        scores = self.score(rows, outputs)
        figures: list[Figure] = [
            charts.draw_cutoffs(scores),
            charts.draw_popularity(scores, self.item_table.num_events_I),
            charts.draw_users(rows, outputs, self.item_table),
        ]
        ablation = self._compare_features(bundle_dir, rows, scores)
        return figures if ablation is None else [ablation, *figures]

    def choose_explained(self, rows: pa.Table, outputs: Sequence[Output]) -> list[int]:
        """Return a few users whose taken item stands first, and one where it is missing."""
        first_B = self.score(rows, outputs).hits_BK[:, 0]
        hits, misses = np.flatnonzero(first_B), np.flatnonzero(~first_B)
        return [*hits[: NUM_EXPLAINED - 1].tolist(), *misses[:1].tolist()]

    def draw_explanations(self, rows: pa.Table, explained: Sequence[Output]) -> list[Figure]:
        """Return the table of what spoke for each first item."""
        return [charts.draw_explanations(explained, self.item_table)] if explained else []

    def choose_examples(self, rows: pa.Table, outputs: Sequence[Output]) -> list[int]:
        """Return the users whose answers are the furthest from turning: large gaps between neighbouring scores."""
        gaps_B = np.array([_find_smallest_gap(output) for output in outputs])
        return [int(row) for row in np.argsort(-gaps_B, kind="stable")[:NUM_EXAMPLES]]

    def _read(self, rows: pa.Table) -> HeldOut:
        return collect_held_out(rows, self.catalogue, self.spec.data.max_history)

    def _list(self, rows: pa.Table, score: charts.ScoreRows) -> list[Output]:
        """Return the best unseen items by ``score`` for each row."""
        held = self._read(rows)
        ids, titles = self.item_table.facts.ids, self.item_table.titles
        outputs: list[Output] = []
        for start in range(0, rows.num_rows, ROWS_AT_ONCE):
            part = np.arange(start, min(start + ROWS_AT_ONCE, rows.num_rows))
            scores_BI = score(held, part)
            if self.spec.serve.rules.exclude_seen:
                for scores_I, row in zip(scores_BI, part.tolist(), strict=True):
                    scores_I[held.get_history(row).items_L] = -np.inf
            for list_K in take_best(scores_BI, LONG_CUTOFF):
                places = [place for place in list_K.tolist() if place >= 0]
                outputs.append({"items": [{"item": ids[place], "title": titles[place]} for place in places]})
        return outputs

    def _name_popularity(self, taken: NDArray[np.int32]) -> str:
        place = int(taken[0])
        if place < 0 or not self.item_table.num_events_I[place]:
            return "new item, without a training event"
        is_head = place < POPULAR_SHARE * len(self.item_table.titles)
        return f"popular {POPULAR_SHARE:.0%} of the items" if is_head else f"the other {1 - POPULAR_SHARE:.0%}"

    def _compare_features(self, bundle_dir: Path, rows: pa.Table, scores: RankingScores) -> Figure | None:
        """Return the test figures with and without re-ranking; None when the bundle has none."""
        predictor = RecommendationPredictor.load(bundle_dir, Device(1))
        if predictor.reranker is None:
            return None
        plain = predictor.without_second_look()
        outputs: list[Output] = []
        for start in range(0, rows.num_rows, ROWS_AT_ONCE):
            part = rows.slice(start, ROWS_AT_ONCE).to_pylist()
            outputs += plain.predict([plain.parse(make_input(row)) for row in part])
        bootstrap = Bootstrap(self.spec.evaluate.bootstrap, self.spec.evaluate.confidence)
        with_features, without = measure(scores, bootstrap), measure(self.score(rows, outputs), bootstrap)
        difference = paired_difference(with_features, without, self.prior_metric, bootstrap)
        return charts.draw_ablation(with_features.measures, without.measures, difference)


def _name_length(num_events: int) -> str:
    """Return the slice of users with so many events.

    >>> [_name_length(count) for count in (0, 3, 50)]
    ['new: no event', '1 to 9', '50 or more']
    """
    if not num_events:
        return "new: no event"
    return "1 to 9" if num_events < 10 else "10 to 49" if num_events < 50 else "50 or more"


def _find_smallest_gap(output: Output) -> float:
    scores = np.array([found["score"] for found in output["items"]])
    return float(np.diff(-scores).min()) if len(scores) > 1 else 0.0
