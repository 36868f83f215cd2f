"""One value wherever it is read: the bundle's own counts, Feast's point-in-time join, the online store."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from launchyard.adapters.feast.online import OnlineReader
from launchyard.contract.predictor import Device
from launchyard.data.prepare import prepare_dataset
from launchyard.errors import DataError
from launchyard.features.publishing import opening_store, publish_features
from launchyard.features.sets import Feature, FeatureSet, sum_buckets
from launchyard.kinds.recommendation.data.day_counts import WINDOWS_DAYS, read_day_counts, read_online
from launchyard.kinds.recommendation.data.declared import (
    list_numeric,
    load_declared,
    read_declared,
    read_rows,
    save_declared,
)
from launchyard.kinds.recommendation.data.profiles import Profile, describe_features
from launchyard.kinds.recommendation.predict.item_table import ItemTable
from launchyard.kinds.recommendation.predict.predict import RecommendationPredictor
from launchyard.kinds.recommendation.spec import Recommendation
from launchyard.settings import Settings
from recommendation_samples import deploy_recommender, make_linear_spec
from tiny_interactions import START_S, TASTES, write_sources

DAY_S = 86_400
PRICES = {
    "entity": "item",
    "source": "prices.csv",
    "key": "sku",
    "timestamp": "since",
    "ttl_hours": 20 * 24,
    "columns": {"price_now": {"column": "amount", "unit": "EUR"}, "stock": {"column": "left", "type": "integer"}},
}


@pytest.fixture(scope="module")
def spec() -> Recommendation:
    return make_linear_spec(features={"timeout_ms": 2000, "sets": {"prices": PRICES}})


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, spec: Recommendation) -> tuple[Settings, Path]:
    """A data set whose features are published, with prices that change every ten days."""
    folder = tmp_path_factory.mktemp("features")
    settings = Settings(home=folder / "home")
    sources = write_sources(folder / "sources")
    write_prices(sources)
    prepare_dataset(spec, settings, base_dir=sources, output_dir=folder / "dataset")
    publish_features(settings, spec, folder / "dataset")
    return settings, folder / "dataset"


def write_prices(sources: Path) -> None:
    with (sources / "prices.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["sku", "since", "amount", "left"])
        for place, item in enumerate(TASTES["drama"]):
            for step in range(5):
                writer.writerow([item, START_S + step * 10 * DAY_S, 10 * place + step, "" if step == 2 else step])
        writer.writerow(["no-such-item", START_S, 1, 1])


def list_pairs(items: list[str]) -> tuple[pa.Table, list[float]]:
    """Return every item at moments before, within and after the events, and these moments."""
    moments = np.linspace(START_S - DAY_S, START_S + 90 * DAY_S, 12).tolist()
    pairs = [(item, moment) for moment in moments for item in items]
    table = pa.table({"item": [item for item, _ in pairs], "timestamp": [moment for _, moment in pairs]})
    return table, moments


def test_the_bundles_windows_equal_the_point_in_time_join(
    prepared: tuple[Settings, Path], spec: Recommendation
) -> None:
    settings, dataset_dir = prepared
    items = pq.read_table(dataset_dir / "items.parquet")["item"].to_pylist()
    counts = read_day_counts(pq.read_table(dataset_dir / "features" / "item_statistics.parquet"), items)
    pairs, moments = list_pairs(items)

    with opening_store(settings, spec) as store:
        joined = store.join(pairs, ["item_statistics"]).to_pylist()

    for place, row in enumerate(joined):
        moment, item = moments[place // len(items)], place % len(items)
        totals = counts.total(moment)
        assert totals.num_events_I[item] == (row["item_statistics.num_events"] or 0)
        for days in WINDOWS_DAYS:
            numbers = row["item_statistics.day_numbers"] or []
            found = sum_buckets(numbers, row["item_statistics.day_counts"] or [], time=moment, window_days=days)
            assert totals.windows_I[days][item] == found
    assert sum(row["item_statistics.num_events"] or 0 for row in joined) > 1000


def test_declared_numbers_equal_the_point_in_time_join_and_expire(
    prepared: tuple[Settings, Path], spec: Recommendation, tmp_path: Path
) -> None:
    settings, dataset_dir = prepared
    items = pq.read_table(dataset_dir / "items.parquet")["item"].to_pylist()
    ((found, names),) = list_numeric([declared.describe(name) for name, declared in spec.features.sets.items()])
    save_declared([read_declared(dataset_dir / "features" / "prices.parquet", found, names, items)], tmp_path)
    (declared,) = load_declared(tmp_path)
    pairs, moments = list_pairs(items)

    with opening_store(settings, spec) as store:
        joined = store.join(pairs, ["prices"]).to_pylist()

    known = 0
    for place, row in enumerate(joined):
        values = declared.look_up(np.array([place % len(items)]), moments[place // len(items)])[:, 0]
        expected = [row["prices.price_now"], row["prices.stock"]]
        for value, other in zip(values.tolist(), expected, strict=True):
            known += other is not None
            assert math.isnan(value) if other is None else value == other
    assert names == ("price_now", "stock")
    assert 30 < known < 2 * len(joined)


def test_what_the_store_says_now_equals_what_the_bundle_says_of_now(
    prepared: tuple[Settings, Path], spec: Recommendation
) -> None:
    settings, dataset_dir = prepared
    items = pq.read_table(dataset_dir / "items.parquet")["item"].to_pylist()
    offline = read_day_counts(pq.read_table(dataset_dir / "features" / "item_statistics.parquet"), items)
    newest = max(pq.read_table(dataset_dir / "features" / "item_statistics.parquet")["timestamp"].to_pylist())
    reader = OnlineReader(settings, spec.product, describe_features(spec), timeout_ms=2000)

    rows = reader.read("item_statistics", items, now=newest + 10)

    reader.close()
    online = read_online(rows)
    for moment in (newest + 10, newest + 5 * DAY_S, newest + 40 * DAY_S):
        left, right = online.total(moment), offline.total(moment)
        np.testing.assert_array_equal(left.num_events_I, right.num_events_I)
        np.testing.assert_array_equal(left.first_event_I, right.first_event_I)
        for days in WINDOWS_DAYS:
            np.testing.assert_array_equal(left.windows_I[days], right.windows_I[days])
    assert offline.total(newest + 10).windows_I[30].sum() > 0


def test_a_stored_profile_equals_the_one_that_the_events_make(
    prepared: tuple[Settings, Path], spec: Recommendation
) -> None:
    settings, dataset_dir = prepared
    item_table = ItemTable.load(dataset_dir)
    held = pq.read_table(dataset_dir / "test.parquet").slice(0, 20).to_pylist()
    reader = OnlineReader(settings, spec.product, describe_features(spec), timeout_ms=2000)

    rows = reader.read("user_profile", [row["user"] for row in held], now=START_S + 200 * DAY_S)

    reader.close()
    for row, found in zip(held, rows, strict=True):
        assert found is not None
        made = Profile.start()
        events = [
            *row["events"],
            {"item": row["items"][0], "timestamp": row["time"], "weight": found["recent_weights"][-1]},
        ]
        made.add(
            item_table.find([event["item"] for event in events]),
            [event["timestamp"] for event in events],
            [event["weight"] for event in events],
            item_table.facts,
        )
        stored = Profile.read(found)
        assert (stored.num_events, stored.first_event, stored.last_event) == (
            made.num_events,
            made.first_event,
            made.last_event,
        )
        assert (stored.days, stored.categories, stored.recent_items) == (made.days, made.categories, made.recent_items)
        assert stored.price_sum == pytest.approx(made.price_sum)


def test_what_the_store_says_of_now_holds_for_any_moment_of_the_hour() -> None:
    found = FeatureSet(name="prices", entity="item", features=(Feature(name="amount", type="number"),))

    declared = read_rows(found, ("amount",), [{"amount": 1.5}, None, {"amount": None}])

    for moment in (0.0, START_S, 4e9):
        values = declared.look_up(np.arange(3), moment)[0].tolist()
        assert values[0] == 1.5
        assert math.isnan(values[1])
        assert math.isnan(values[2])


def test_a_set_without_a_known_item_knows_nothing(tmp_path: Path, spec: Recommendation) -> None:
    empty = read_rows(describe_features(spec)[2], ("price_now", "stock"), [])

    assert np.isnan(empty.look_up(np.arange(4), START_S)).all()


def test_declared_numbers_of_another_catalogue_are_refused(tmp_path: Path, spec: Recommendation) -> None:
    sources = write_sources(tmp_path / "sources")
    (sources / "prices.csv").write_text(f"sku,since,amount,left\nother,{START_S},1,1\n", encoding="utf-8")

    with pytest.raises(DataError, match=r"features\.sets\.prices: none of its ids is an item of the catalogue"):
        prepare_dataset(spec, Settings(home=tmp_path / "home"), base_dir=sources, output_dir=tmp_path / "dataset")


def test_declared_numbers_take_part_in_the_second_look(tmp_path: Path, spec: Recommendation) -> None:
    settings = Settings(home=tmp_path / "home")
    sources = write_sources(tmp_path / "sources")
    write_prices(sources)
    deploy_recommender(settings, tmp_path, spec)

    predictor = RecommendationPredictor.load(tmp_path / "bundle", Device(1))

    assert predictor.reranker is not None
    assert predictor.reranker.names[-2:] == ("prices.price_now", "prices.stock")
    row: dict[str, Any] = {"events": [{"item": item, "timestamp": START_S} for item in TASTES["noir"][:3]]}
    (output,) = predictor.explain([predictor.parse({**row, "time": START_S + 45 * DAY_S})])
    assert all("prices.price_now" in added for added in output["explanation"]["features"].values())
