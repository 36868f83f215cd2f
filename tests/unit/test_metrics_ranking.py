"""The ranking metrics agree with scikit-learn and with arithmetic on paper, on all users and on resamples."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import ndcg_score

from launchyard.evaluation.metrics.bootstrap import Bootstrap, iter_weights, measure
from launchyard.evaluation.metrics.ranking import RankingScores, collect_facts, popularity_percentiles

NUM_ITEMS = 50
FACTS = collect_facts(np.array([8, 4, 2, 0]), [["action"], ["action", "war"], ["love"], []])


def make_scores(num_users: int = 40, *, seed: int = 0) -> RankingScores:
    """Return random lists of 20 of 50 items and one to four relevant items per user."""
    generator = np.random.default_rng(seed)
    lists_BK = np.array([generator.permutation(NUM_ITEMS)[:20] for _ in range(num_users)])
    truth = [generator.permutation(NUM_ITEMS)[: generator.integers(1, 5)] for _ in range(num_users)]
    categories = [[f"c{number % 7}", f"d{number % 3}"] for number in range(NUM_ITEMS)]
    return RankingScores(lists_BK, truth, collect_facts(generator.integers(0, 99, NUM_ITEMS), categories))


@pytest.mark.parametrize("k", [10, 20])
def test_ndcg_agrees_with_scikit_learn(k: int) -> None:
    generator = np.random.default_rng(3)
    scores_BI = generator.normal(size=(30, NUM_ITEMS))
    relevant_BI = generator.random((30, NUM_ITEMS)) < 0.05
    relevant_BI[:, 0] = True
    lists_BK = np.argsort(-scores_BI, axis=1)[:, :20]
    truth = [np.flatnonzero(row) for row in relevant_BI]

    metrics = RankingScores(lists_BK, truth, collect_facts(np.ones(NUM_ITEMS, np.int64), [])).metrics()

    assert metrics[f"ndcg@{k}"] == pytest.approx(ndcg_score(relevant_BI, scores_BI, k=k))


def test_one_user_is_measured_as_on_paper() -> None:
    scores = RankingScores(np.array([[1, 3, 0, -1]]), [np.array([0, 2])], FACTS)

    metrics = scores.metrics()

    assert metrics["ndcg@10"] == pytest.approx((1 / math.log2(4)) / (1 + 1 / math.log2(3)))
    assert metrics["recall@10"] == pytest.approx(1 / 2)
    assert metrics["mrr@10"] == pytest.approx(1 / 3)
    assert metrics["coverage@10"] == pytest.approx(3 / 4)
    # Percentiles of 8, 4, 2 and 0 events are 7/8, 5/8, 3/8 and 1/8.
    assert metrics["popularity_bias@10"] == pytest.approx((5 + 1 + 7) / 8 / 3)
    # Shares with one event more each: 9, 5, 3 and 1 of 18.
    assert metrics["novelty@10"] == pytest.approx(-(math.log2(5 / 18) + math.log2(1 / 18) + math.log2(9 / 18)) / 3)
    # Item 3 has no category; action beside action and war: cosine 1 / sqrt(2).
    assert metrics["diversity@10"] == pytest.approx(1 - 1 / math.sqrt(2))


def test_an_item_outside_the_catalogue_counts_as_missed() -> None:
    metrics = RankingScores(np.array([[0, 1]]), [np.array([0, -1])], FACTS).metrics()

    assert metrics["recall@10"] == pytest.approx(1 / 2)


def test_hits_after_the_tenth_place_count_only_in_the_longer_lists() -> None:
    lists_BK = np.arange(20)[None]

    metrics = RankingScores(lists_BK, [np.array([15])], collect_facts(np.ones(20, np.int64), [])).metrics()

    assert metrics["recall@10"] == metrics["mrr@10"] == metrics["ndcg@10"] == 0
    assert metrics["recall@20"] == 1


def test_resampling_equals_measuring_the_drawn_users() -> None:
    scores = make_scores()
    weights_RB = next(iter_weights(scores.num_rows, Bootstrap(resamples=8, confidence=0.9)))

    sampled = scores.resample(weights_RB)

    for resample, weights_B in enumerate(weights_RB.astype(np.int64)):
        drawn = np.repeat(np.arange(scores.num_rows), weights_B)
        truth = [np.flatnonzero(np.isin(np.arange(NUM_ITEMS), scores.truth[row])) for row in drawn]
        expected = RankingScores(scores.lists_BK[drawn], truth, scores.facts).metrics()
        # Coverage of drawn users would always be less: see _resample_coverage.
        del expected["coverage@10"]
        assert {name: sampled[name][resample] for name in expected} == pytest.approx(expected)


def recommend_popular(generator: np.random.Generator, num_users: int, num_items: int) -> RankingScores:
    """Return lists of ten in which an item stands the more often the more popular it is."""
    taste_BI = generator.gumbel(size=(num_users, num_items)) - np.log(np.arange(1, num_items + 1))
    lists_BK = np.argpartition(-taste_BI, 10, axis=1)[:, :10]
    facts = collect_facts(np.ones(num_items, np.int64), [])
    return RankingScores(lists_BK, [np.array([0])] * num_users, facts)


def test_leaving_a_user_out_takes_away_what_nobody_else_is_recommended() -> None:
    scores = RankingScores(np.array([[0, 1], [1, 2], [1, -1]]), [np.array([0])] * 3, FACTS)

    sampled = scores.resample(np.array([[0.0, 1, 1], [1, 1, 0], [2, 1, 0], [1, 2, 0]]))

    assert sampled["coverage@10"].tolist() == [2 / 4, 3 / 4, 1.0, 1.0]


def test_the_interval_of_coverage_holds_what_as_many_other_users_are_recommended_about_as_often_as_it_claims() -> None:
    generator = np.random.default_rng(0)
    settings = Bootstrap(resamples=200, confidence=0.9)

    found = [measure(recommend_popular(generator, 60, 600), settings).measures["coverage@10"] for _ in range(150)]

    expected = np.mean([measured.value for measured in found])
    assert 0.85 <= np.mean([measured.low <= expected <= measured.high for measured in found]) <= 0.98
    # On both sides alike: neither bound is the value itself.
    assert np.mean([measured.high - measured.value for measured in found]) == pytest.approx(
        np.mean([measured.value - measured.low for measured in found]), rel=0.15
    )


def test_every_metric_gets_an_interval_that_holds_it() -> None:
    measures = measure(make_scores(), Bootstrap(resamples=200, confidence=0.95)).measures

    assert all(found.low <= found.value <= found.high for found in measures.values())
    assert measures["ndcg@10"].low < measures["ndcg@10"].high


def test_metrics_of_categories_are_absent_without_categories() -> None:
    metrics = RankingScores(np.array([[0, 1]]), [np.array([0])], collect_facts(np.ones(2, np.int64), [])).metrics()

    assert "diversity@10" not in metrics


def test_an_empty_list_is_no_hit_and_has_no_popularity() -> None:
    metrics = RankingScores(np.full((1, 20), -1), [np.array([0])], FACTS).metrics()

    assert metrics["ndcg@10"] == 0
    assert metrics["coverage@10"] == 0
    assert "popularity_bias@10" not in metrics


def test_equally_popular_items_share_a_percentile() -> None:
    assert popularity_percentiles(np.array([5.0, 5.0, 0.0, 9.0])).tolist() == [0.5, 0.5, 0.125, 0.875]


@pytest.mark.parametrize(
    ("lists", "truth", "message"),
    [
        ([[0, 1]], [[]], "at least one relevant item"),
        ([], [], "0 lists"),
        ([[0, 1]], [[0], [1]], "1 lists beside 2"),
        ([[1, 1]], [[0]], "twice"),
        ([[0, 4]], [[0]], "position 4 of a catalogue of 4"),
    ],
)
def test_lists_that_cannot_be_measured_are_refused(
    lists: list[list[int]], truth: list[list[int]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        RankingScores(np.array(lists, np.int64), [np.array(items, np.int64) for items in truth], FACTS)
