from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from feature_samples import PROFILE, TTL_S
from launchyard.errors import SpecError
from launchyard.features.sets import DAY_S, Feature, FeatureSet, get_set, sum_buckets
from launchyard.settings import Settings
from launchyard.spec.features import Features

PRICES: dict[str, Any] = {
    "entity": "item",
    "source": "prices.csv",
    "key": "sku",
    "timestamp": "changed_at",
    "ttl_hours": 48.0,
    "columns": {"price": {"column": "eur", "unit": "EUR", "description": "What it costs."}},
}


def test_unknown_set_names_the_nearest() -> None:
    with pytest.raises(SpecError, match=r"no set 'user_profil'\. Did you mean 'user_profile'\? Known: user_profile"):
        get_set([PROFILE], "user_profil")


def test_unknown_feature_names_the_nearest_and_the_set() -> None:
    with pytest.raises(
        SpecError, match=r"set 'user_profile': there is no feature 'favorite'\. Did you mean 'favourite'"
    ):
        PROFILE.get("favorite")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"name": "timestamp"}, "is a column of every set"),
        ({"name": "Price"}, "pattern"),
        ({"type": "text", "length": 3}, "Only numbers have"),
        ({"unti": "EUR"}, "Extra inputs"),
    ],
)
def test_malformed_feature_is_refused(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        Feature.model_validate({"name": "price", "type": "number"} | changes)


def test_two_features_of_one_name_are_refused() -> None:
    with pytest.raises(ValidationError, match="'a' is there twice"):
        FeatureSet(name="s", entity="user", features=(Feature(name="a", type="text"), Feature(name="a", type="number")))


@pytest.mark.parametrize(
    ("now", "holds"), [(10.1 - 1e-6, False), (10.1, True), (10.1 + TTL_S, True), (10.1 + TTL_S + 1e-6, False)]
)
def test_row_holds_from_its_time_to_the_end_of_its_ttl(now: float, holds: bool) -> None:
    assert PROFILE.holds(10.1, now) is holds


def test_row_of_a_set_without_ttl_holds_for_ever() -> None:
    eternal = PROFILE.model_copy(update={"ttl_s": None})

    assert eternal.holds(0.0, 1e10)


def test_missing_value_becomes_the_default_and_a_false_one_stays() -> None:
    filled = PROFILE.fill({"num_events": None, "mean_price": 0.0, "is_member": False})

    assert (filled["num_events"], filled["mean_price"], filled["is_member"], filled["favourite"]) == (
        0,
        0.0,
        False,
        None,
    )


@pytest.mark.parametrize(("window_days", "total"), [(1, 4.0), (2, 6.0), (3, 7.0), (30, 7.0)])
def test_window_counts_whole_days_before_the_day_asked(window_days: int, total: float) -> None:
    assert sum_buckets([7, 8, 9, 10], [1, 2, 4, 8], time=10 * DAY_S + 3600, window_days=window_days) == total


def test_window_is_the_same_all_day_long_and_moves_at_midnight() -> None:
    def count(time: float) -> float:
        return sum_buckets([8, 9], [2, 4], time=time, window_days=1)

    assert {count(10.0 * DAY_S), count(10.5 * DAY_S), count(11 * DAY_S - 1e-3)} == {4.0}
    assert count(11.0 * DAY_S) == 0.0


def test_buckets_of_the_day_asked_and_later_never_count() -> None:
    assert sum_buckets([10, 11, 400], [100, 100, 100], time=10.5 * DAY_S, window_days=9) == 0.0


def test_declared_set_becomes_a_feature_set() -> None:
    declared = Features.model_validate({"sets": {"prices": PRICES}}).sets["prices"]

    described = declared.describe("prices")

    assert (described.entity, described.ttl_s) == ("item", 48 * 3600)
    assert described.get("price") == Feature(name="price", type="number", unit="EUR", description="What it costs.")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"entty": "item"}, "Extra inputs"),
        ({"entity": "shop"}, "'user' or 'item'"),
        ({"columns": {}}, "at least 1"),
        ({"columns": {"timestamp": {"column": "a"}}}, "cannot be called 'timestamp'"),
        ({"columns": {"item": {"column": "a"}}}, "cannot be called 'item'"),
        ({"ttl_hours": 0.0}, "greater than 0"),
    ],
)
def test_malformed_declaration_is_refused(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        Features.model_validate({"sets": {"prices": PRICES | changes}})


def test_online_store_must_be_a_redis_url() -> None:
    with pytest.raises(ValidationError, match="rediss"):
        Settings(online_store="localhost:6379")
