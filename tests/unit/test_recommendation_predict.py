"""What a recommender answers: to whom, within which rules, and what it says when it knows little."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic_core import from_json

from contract_recommendation import write_base
from launchyard.contract.predictor import Device
from launchyard.data.prepare import prepare_dataset
from launchyard.errors import RequestError
from launchyard.evaluation.results import Evaluation
from launchyard.evaluation.run import EvaluateJob, evaluate_candidate
from launchyard.kinds.recommendation.data.profiles import Profile
from launchyard.kinds.recommendation.evaluate.evaluate import RankingEvaluator
from launchyard.kinds.recommendation.predict.candidates import choose_candidates, favour_fresh
from launchyard.kinds.recommendation.predict.predict import RecommendationPredictor
from launchyard.kinds.recommendation.predict.request import ONLINE, OnlineFeatures, RecommenderConfig
from launchyard.kinds.recommendation.predict.rerank import FEATURES, Answer, fit_reranker
from launchyard.kinds.recommendation.predict.schemas import UserEventInput
from launchyard.settings import Settings
from recommendation_samples import deploy_recommender
from tiny_candidate import train_candidate
from tiny_interactions import START_S, TASTES, make_spec, write_sources

NOW = START_S + 90 * 86_400
Load = Callable[..., RecommendationPredictor]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Evaluation]:
    """A bundle of a linear model, which needs no training."""
    folder = tmp_path_factory.mktemp("recommender")
    sources = write_sources(folder / "sources")
    spec = make_spec(model={"architecture": "ease", "l2": 20}, train={})
    settings = Settings(home=folder / "home")
    prepare_dataset(spec, settings, base_dir=sources, output_dir=folder / "dataset")
    candidate = train_candidate(folder, spec, folder / "dataset", write_base)
    job = EvaluateJob(spec, folder / "dataset", candidate, folder / "bundle", threads=1, batch_threads=1)
    return folder / "bundle", evaluate_candidate(job, lambda *_: None)


@pytest.fixture
def load(bundle: tuple[Path, Evaluation]) -> Load:
    """Loads the predictor, with other rules if asked."""

    def run(**rules: Any) -> RecommendationPredictor:
        predictor = RecommendationPredictor.load(bundle[0], Device(1))
        predictor.config = RecommenderConfig.model_validate(predictor.config.model_dump() | rules)
        return predictor

    return run


def ask(predictor: RecommendationPredictor, items: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    """Return the answer to somebody who took ``items``, a day apart."""
    events = [{"item": item, "timestamp": NOW - (len(items) - place) * 86_400} for place, item in enumerate(items)]
    (output,) = predictor.predict([predictor.parse({"events": events, "time": NOW, **more})])
    predictor.output_schema.model_validate(output)
    return dict(output)


def list_items(output: dict[str, Any]) -> list[str]:
    return [found["item"] for found in output["items"]]


def test_a_history_of_one_taste_gets_that_taste_and_nothing_it_took(load: Load) -> None:
    output = ask(load(), TASTES["western"][:4], k=5)

    assert output["strategy"] == "personal"
    assert set(list_items(output)) <= set(TASTES["western"][4:])
    assert len(output["items"]) == 5


def test_a_measured_profile_counts_all_events_as_the_published_one_does(load: Load) -> None:
    predictor = load(max_history=3)
    items = [*TASTES["western"][:4], *TASTES["noir"][:3]]
    events = [{"item": item, "timestamp": float(START_S + place), "weight": 2.0} for place, item in enumerate(items)]
    published = Profile.start()
    published.add(
        predictor.item_table.find(items), [float(START_S + p) for p in range(7)], [2.0] * 7, predictor.item_table.facts
    )

    row = predictor.parse({"events": events, "time": NOW})
    measured, _ = predictor.make_profile(row["events"])

    assert measured.write(3) == published.write(3)
    assert (measured.num_events, len(measured.recent_items)) == (7, 3)
    assert len(predictor._make_history(measured, row).items_L) == 3


def test_a_slice_may_be_both_a_circumstance_and_an_attribute(bundle: tuple[Path, Evaluation]) -> None:
    spec = make_spec(model={"architecture": "ease"}, train={}, evaluate={"slices": ["country"]})
    dataset_dir = bundle[0].parent / "dataset"
    rows = pq.read_table(dataset_dir / "test.parquet")
    here = pa.array(["here"] * rows.num_rows)
    rows = rows.drop_columns(["context"]).append_column(
        "context", pa.StructArray.from_arrays([here], names=["country"])
    )

    found = RankingEvaluator(spec, dataset_dir).slices(rows)

    assert found["country"] == ["here"] * rows.num_rows


def test_another_event_changes_the_answer(load: Load) -> None:
    predictor = load()

    before = ask(predictor, TASTES["western"][:2])
    after = ask(predictor, (*TASTES["western"][:2], *TASTES["noir"][:4]))

    assert list_items(before) != list_items(after)


def test_nobody_in_particular_gets_what_most_people_take(load: Load) -> None:
    predictor = load()

    output = ask(predictor, k=5)

    assert (output["strategy"], output["notes"]) == ("popular", [])
    totals = predictor.day_counts.total(float(NOW)).num_events_I
    shown = [predictor.item_table.position[item] for item in list_items(output)]
    assert min(totals[shown]) >= sorted(totals)[-5]
    assert {found["reason"] for found in output["items"]} == {"Popular with everyone"}


def test_nothing_that_happened_later_counts(load: Load) -> None:
    predictor = load()

    early = predictor.day_counts.total(float(START_S))
    late = predictor.day_counts.total(float(NOW))

    assert early.num_events_I.sum() == 0
    assert late.num_events_I.sum() > 500
    assert np.isnan(early.first_event_I).all()


def test_circumstances_change_what_newcomers_get(bundle: tuple[Path, Evaluation], load: Load) -> None:
    predictor = load()
    lifts = predictor.contexts.lifts["device"]

    assert set(lifts) == {"phone", "tv"}
    assert list_items(ask(predictor, context={"device": "tv"})) != list_items(
        ask(predictor, context={"device": "phone"})
    )
    assert list_items(ask(predictor, context={"device": "fridge"})) == list_items(ask(predictor))


def test_filters_keep_only_what_they_name(load: Load) -> None:
    predictor = load()
    history = TASTES["western"][:3]

    comedies = ask(predictor, history, k=12, filters={"categories": ["comedy"]})
    cheap = ask(predictor, history, k=20, filters={"max_price": 7})
    chosen = ask(predictor, history, filters={"items": ["n1", "n2", "no-such-film"]})
    without = ask(predictor, history, filters={"exclude": list_items(ask(predictor, history))})

    assert sorted(list_items(comedies)) == sorted(TASTES["comedy"])
    assert all(
        predictor.item_table.facts.prices_I[predictor.item_table.position[item]] <= 7 for item in list_items(cheap)
    )
    assert sorted(list_items(chosen)) == ["n1", "n2"]
    assert not set(list_items(without)) & set(list_items(ask(predictor, history)))


def test_filters_that_leave_nothing_give_an_empty_answer(load: Load) -> None:
    assert ask(load(), TASTES["noir"][:3], filters={"categories": ["no such category"]})["items"] == []


def test_seen_items_come_back_when_they_may(load: Load) -> None:
    history = TASTES["noir"][:6]

    shown = list_items(ask(load(), history, k=48, exclude_seen=False))

    assert set(history) <= set(shown)


def test_no_category_is_shown_more_often_than_the_rule_allows(load: Load) -> None:
    predictor = load(max_per_category=2)

    output = ask(predictor, TASTES["western"][:3], k=8)

    first = [
        predictor.item_table.facts.categories[predictor.item_table.position[item]][0] for item in list_items(output)
    ]
    assert max(first.count(name) for name in first) == 2
    assert len(first) == 8


def test_freshness_moves_newer_items_up(load: Load) -> None:
    history = TASTES["western"][:3]

    def mean_year(output: dict[str, Any]) -> float:
        return float(np.mean([int(item[1:]) for item in list_items(output)]))

    assert mean_year(ask(load(freshness_half_life_days=1000), history)) > mean_year(ask(load(), history))


def test_events_of_unknown_items_are_left_out_and_said_so(load: Load) -> None:
    output = ask(load(), ("deleted-item", *TASTES["noir"][:3]))

    assert output["strategy"] == "personal"
    assert output["notes"] == ["1 of 4 events are of items outside the catalogue."]


def test_only_unknown_items_are_a_cold_start(load: Load) -> None:
    output = ask(load(), ("deleted-item",))

    assert output["strategy"] == "popular"
    assert len(output["items"]) == 10


@pytest.mark.parametrize(
    ("written", "user"),
    [
        ('"42"', "42"),
        ("42", "42"),
        ("42.0", "42"),
        ('" 42.0 "', "42"),
        ('"42.000000000"', "42"),
        ("11611419085129123283", "11611419085129123283"),
        ("1e20", "100000000000000000000"),
        ("0.5", "0.5"),
        ('"007"', "007"),
        ('"cafe\u0301"', "caf\u00e9"),
    ],
)
def test_a_request_names_users_items_and_circumstances_as_sources_do(load: Load, written: str, user: str) -> None:
    raw = from_json(f'{{"user": {written}, "events": [{{"item": {written}}}], "context": {{"device": {written}}}}}')

    row = load().parse(raw)
    event = UserEventInput.model_validate({"user": raw["user"], "item": raw["user"]})

    assert (row["user"], row["events"][0]["item"], row["context"]["device"]) == (user,) * 3
    assert (event.user, event.item) == (user, user)


def test_moments_of_a_request_are_read_as_those_of_sources(load: Load) -> None:
    row = load().parse({"time": 20231115, "events": [{"item": "n1", "timestamp": "20231114"}]})

    assert row["time"] == datetime(2023, 11, 15, tzinfo=UTC).timestamp()
    assert row["events"][0]["timestamp"] == datetime(2023, 11, 14, tzinfo=UTC).timestamp()


@pytest.mark.parametrize("user", ["true", "Infinity", "NaN", "[1]", '" "', '"a\\u0000b"', "1" + 600 * "0"])
def test_what_is_no_id_is_refused(load: Load, user: str) -> None:
    with pytest.raises(RequestError, match="user"):
        load().parse(from_json(f'{{"user": {user}}}'))


def test_events_out_of_order_are_one_history(load: Load) -> None:
    predictor = load()
    items = TASTES["noir"][:4]
    events = [{"item": item, "timestamp": NOW - (4 - place) * 3600} for place, item in enumerate(items)]

    outputs = predictor.predict(
        [predictor.parse({"events": order, "time": NOW}) for order in (events, events[::-1], events[2:] + events[:2])]
    )

    assert outputs[0] == outputs[1] == outputs[2]


def test_a_reason_names_something_of_the_history(load: Load) -> None:
    history = TASTES["western"][:4]
    titles = [f"Western {number}" for number in range(4)]

    output = ask(load(), history, k=3)

    reasons = [found["reason"] for found in output["items"]]
    assert all(reason.endswith(tuple(titles)) or "often choose" in reason for reason in reasons), reasons


def test_explanations_add_up_to_the_score(load: Load, bundle: tuple[Path, Evaluation]) -> None:
    predictor = load()
    assert predictor.reranker is not None
    row = predictor.parse({"events": [{"item": item, "timestamp": NOW} for item in TASTES["noir"][:3]], "time": NOW})

    (output,) = predictor.explain([row])

    for found in output["items"]:
        added = output["explanation"]["features"][found["item"]]
        assert tuple(added) == FEATURES
        assert sum(added.values()) == pytest.approx(found["score"], abs=1e-4)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"k": 101}, r"k: at most 100 items may be asked for \(serve.max_k\), got 101"),
        ({"k": 0}, "k: Input should be greater than or equal to 1"),
        ({"events": [{"item": "n1", "timestamp": "soon"}]}, "events.timestamp: 'soon' is no moment in time"),
        ({"events": [{"item": "n1", "weight": -1}]}, r"events\.0\.weight: Input should be greater than 0"),
        (
            {"context": {"mood": "good"}},
            "context: 'mood' is not known to this product. Known: device, country",
        ),
        ({"user": True}, "user: Input should be a valid string"),
    ],
)
def test_a_wrong_request_says_what_is_wrong(load: Load, raw: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        load().parse(raw)


def test_the_report_compares_with_and_without_features(bundle: tuple[Path, Evaluation]) -> None:
    _, evaluation = bundle

    names = [figure.name for figure in evaluation.figures]
    runtimes = {candidate.name: candidate for candidate in evaluation.runtimes}

    assert "users" in names
    assert ("features" in names) == runtimes["re-ranked with online features"].chosen
    assert "ndcg@10" in runtimes["re-ranked with online features"].reason
    assert evaluation.metrics["test"]["ndcg@10"].value > evaluation.prior["ndcg@10"].value


def test_a_second_look_is_kept_out_of_the_way_when_features_say_nothing() -> None:
    generator = np.random.default_rng(0)
    answers = []
    for _ in range(60):
        features_CF = generator.normal(size=(20, len(FEATURES)))
        features_CF[:, 0] = np.linspace(4, -4, 20)
        answers.append(Answer(features_CF, np.arange(20) == generator.integers(3), 1))

    fitted = fit_reranker(answers)

    assert abs(fitted.gain) < 0.15
    assert fitted.weights[0] > 0


def test_a_second_look_learns_a_planted_feature() -> None:
    generator = np.random.default_rng(0)
    answers = []
    for _ in range(60):
        features_CF = generator.normal(size=(20, len(FEATURES)))
        answers.append(Answer(features_CF, np.arange(20) == features_CF[:, 5].argmax(), 1))

    fitted = fit_reranker(answers)

    assert fitted.gain > 0.4
    assert int(np.argmax(fitted.weights)) == 5


def test_the_best_are_taken_in_order_and_ties_by_position() -> None:
    scores_I = np.array([1.0, 3.0, 3.0, -np.inf, 2.0, 3.0], dtype=np.float32)

    positions, scores = choose_candidates(scores_I, 4)

    assert positions.tolist() == [1, 2, 5, 4]
    assert scores.tolist() == [3, 3, 3, 2]
    assert choose_candidates(scores_I, 10)[0].tolist() == [1, 2, 5, 4, 0]


def test_a_log_of_nothing_but_users_items_and_times_makes_a_bundle_that_may_be_served(tmp_path: Path) -> None:
    spec = make_spec(
        model={"architecture": "item-knn"},
        train={},
        evaluate={"bootstrap": 100, "beat_baseline": None},
        data={"source": "events.csv", "interactions": {"user": "who", "item": "what", "timestamp": "when"}},
    )
    settings = Settings(home=tmp_path / "home")

    deploy_recommender(settings, tmp_path, spec)

    predictor = RecommendationPredictor.load(tmp_path / "bundle", Device(1))
    assert len(list_items(ask(predictor, TASTES["noir"][:3], k=5))) == 5
    assert predictor.contexts.names == ()


def test_a_search_index_finds_what_scoring_all_items_finds(tmp_path: Path) -> None:
    sources = write_sources(tmp_path / "sources")
    settings = Settings(home=tmp_path / "home")
    spec = make_spec(train={"epochs": 3, "batch_size": 32, "learning_rate": 1e-2, "precision": "fp32"})
    prepare_dataset(spec, settings, base_dir=sources, output_dir=tmp_path / "dataset")
    candidate = train_candidate(tmp_path, spec, tmp_path / "dataset", write_base)
    predictors = {}
    for search in ("exact", "approximate"):
        asked = make_spec(serve={"search": search, "rerank": None})
        job = EvaluateJob(asked, tmp_path / "dataset", candidate, tmp_path / search, threads=1, batch_threads=1)
        evaluate_candidate(job, lambda *_: None)
        predictors[search] = RecommendationPredictor.load(tmp_path / search, Device(1))

    answers = {
        search: [
            set(list_items(ask(predictor, found[:4], k=8, filters=filters)))
            for found in TASTES.values()
            for filters in (None, {"categories": ["comedy"]}, {"exclude": ["n7", "c3"]})
        ]
        for search, predictor in predictors.items()
    }

    assert (tmp_path / "approximate" / "model" / "index").is_dir()
    assert not (tmp_path / "exact" / "model" / "index").exists()
    assert answers["approximate"] == answers["exact"]


def test_a_model_that_is_no_better_than_popularity_is_refused(tmp_path: Path) -> None:
    sources = write_sources(tmp_path / "sources")
    settings = Settings(home=tmp_path / "home")
    spec = make_spec(model={"architecture": "popularity"}, train={}, serve={"rerank": None})
    prepare_dataset(spec, settings, base_dir=sources, output_dir=tmp_path / "dataset")
    candidate = train_candidate(tmp_path, spec, tmp_path / "dataset", write_base)

    evaluation = evaluate_candidate(
        EvaluateJob(spec, tmp_path / "dataset", candidate, tmp_path / "bundle", threads=1, batch_threads=1),
        lambda *_: None,
    )

    failed = [gate.rule for gate in evaluation.gates if not gate.passed]
    assert not evaluation.passed
    assert any("prior" in rule for rule in failed), failed
    assert any("EASE" in rule for rule in failed), failed


@pytest.mark.parametrize(
    ("blocks", "is_same"),
    [
        ({"serve": {"rerank": None}}, True),
        ({"serve": {"rerank": None, "rules": {"max_per_category": 3}}}, False),
        ({"serve": {"rerank": None}, "model": {"architecture": "ease", "l2": 20}}, False),
    ],
)
def test_a_model_that_is_the_baseline_itself_is_not_compared_with_it(
    tmp_path: Path, blocks: dict[str, Any], is_same: bool
) -> None:
    settings = Settings(home=tmp_path / "home")
    spec = make_spec(**{"model": {"architecture": "ease"}, "train": {}} | blocks)
    prepare_dataset(spec, settings, base_dir=write_sources(tmp_path / "sources"), output_dir=tmp_path / "dataset")
    candidate = train_candidate(tmp_path, spec, tmp_path / "dataset", write_base)

    evaluation = evaluate_candidate(
        EvaluateJob(spec, tmp_path / "dataset", candidate, tmp_path / "bundle", threads=1, batch_threads=1),
        lambda *_: None,
    )

    (gate,) = [gate for gate in evaluation.gates if "EASE" in gate.rule]
    assert any("itself: no comparison" in note for note in evaluation.notes) is is_same
    assert not any("label" in note for note in evaluation.notes)
    assert (evaluation.baseline == {name: evaluation.metrics["test"][name] for name in evaluation.baseline}) is is_same
    assert gate.passed or not is_same


def test_an_item_of_unknown_age_is_neither_new_nor_old() -> None:
    scores_C, ages_C = np.array([3.0, 2.0, 1.0, 0.0]), np.array([1000.0, np.nan, 0.0, 500.0])

    fresh_C = favour_fresh(scores_C, ages_C, 500.0)

    assert fresh_C.tolist() == [0.75, 1.0, 1.0, 0.0]


def test_rules_of_variety_look_further_down_until_the_answer_is_full(load: Load) -> None:
    predictor = load(max_per_category=2, candidates=6)

    output = ask(predictor, TASTES["western"][:2], k=8)

    assert len(output["items"]) == 8


def test_only_what_is_served_is_remembered_and_only_until_the_next_event(load: Load) -> None:
    predictor = load()
    row = predictor.parse({"events": [{"item": item, "timestamp": NOW} for item in TASTES["noir"][:3]], "time": NOW})
    profile, _ = predictor.make_profile(row["events"])
    longer, _ = predictor.make_profile([*row["events"], {"item": "w1", "timestamp": NOW, "weight": 1.0}])

    measured, again = predictor.predict([row]), predictor.predict([row])
    unnoted = OnlineFeatures(profile, None, None)
    live = {**row, ONLINE: replace(unnoted, notes=("slow today",))}
    first, second = (
        predictor.predict([live]),
        predictor.predict([{**live, ONLINE: unnoted}]),
    )
    (changed,) = predictor.predict([{**row, ONLINE: OnlineFeatures(longer, None, None)}])

    assert measured == again
    assert measured[0]["items"] is not again[0]["items"]
    assert first[0]["items"] is second[0]["items"]
    assert first[0]["items"] == measured[0]["items"]
    assert (first[0]["notes"], second[0]["notes"]) == (["slow today"], [])
    assert "w1" not in list_items(dict(changed))
    assert list_items(dict(changed)) != list_items(dict(first[0]))
