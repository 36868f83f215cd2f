"""Reading features while answering requests: in this process, within a deadline, several entities in one round trip."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from feast.infra.online_stores.helpers import get_online_store_from_config
from redis.exceptions import RedisError

from launchyard.adapters.feast.objects import CODINGS, MARKS, build_config, build_view, encode_key
from launchyard.errors import FeatureStoreError
from launchyard.features.sets import TIMESTAMP, Feature, FeatureSet, get_set
from launchyard.settings import Settings

MAX_FAILURES = 3
RETRY_AFTER_S = 1.0
# Not validated, for no feature of a set may have this name.
TIMESTAMP_FEATURE = Feature.model_construct(name=TIMESTAMP, type="number", default=None)


@dataclass(frozen=True)
class OnlineRow:
    """What the store holds of an entity, whether or not it has expired."""

    timestamp: float
    """When it became known, seconds since 1970."""
    values: dict[str, Any]
    """Feature -> value or None, defaults not filled in."""


class CircuitBreaker:
    """Says whether asking is worth a try: after some failures in a row, once in a while only."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._num_failures = 0
        self._retry_at = 0.0

    def allows(self) -> bool:
        """Tell whether to ask now; when the pause is over, one caller is let through to try."""
        with self._lock:
            if self._num_failures < MAX_FAILURES:
                return True
            if self._clock() < self._retry_at:
                return False
            # Before the answer is known: else all who wait would try at once.
            self._retry_at = self._clock() + RETRY_AFTER_S
            return True

    def note(self, *, failed: bool) -> None:
        """Take note of how asking went."""
        with self._lock:
            self._num_failures = self._num_failures + 1 if failed else 0
            if failed:
                self._retry_at = self._clock() + RETRY_AFTER_S


class OnlineReader:
    """Reads the newest features of a product; safe to share between threads. Opening it connects to nothing."""

    def __init__(self, settings: Settings, product: str, sets: Sequence[FeatureSet], *, timeout_ms: float) -> None:
        self._where = describe_store(settings, product)
        self._sets = {found.name: found for found in sets}
        self._views = {found.name: build_view(found) for found in (*sets, MARKS)}
        folder = settings.features_dir(product)
        self._config = build_config(settings, product, folder, timeout_s=timeout_ms / 1000)
        self._store = get_online_store_from_config(self._config.online_store)
        self._breaker = CircuitBreaker()

    def read(self, set_name: str, keys: Sequence[str], *, now: float) -> list[dict[str, Any] | None]:
        """Return what is known of each entity at ``now`` (seconds since 1970), feature -> value, in order.

        None where nothing is known, where it has expired, or where it becomes known only later. A feature that a row
        leaves open has its default.

        Raises:
            FeatureStoreError: the store does not answer in time; until it does, most calls fail at once.
            SpecError: there is no such set.
        """
        feature_set = get_set(self._sets.values(), set_name)
        return [
            feature_set.fill(row.values) if row is not None and feature_set.holds(row.timestamp, now) else None
            for row in self.read_rows(set_name, keys)
        ]

    def read_rows(self, set_name: str, keys: Sequence[str]) -> list[OnlineRow | None]:
        """Return what the store holds of each entity, in order, however old.

        Raises:
            FeatureStoreError: the store does not answer in time.
            SpecError: there is no such set.
        """
        return self._read(get_set(self._sets.values(), set_name), keys)

    def read_state(self) -> str | None:
        """Return a text that changes after each change of the product's rows, and nothing else about it is promised.

        None when the store lacks a set: nothing was published yet, or it lost its data.

        Raises:
            FeatureStoreError: the store does not answer in time.
        """
        marks = self._read(MARKS, list(self._sets))
        return None if None in marks else repr(marks)

    def close(self) -> None:
        """Close all connections."""
        self._store.close()

    def _read(self, feature_set: FeatureSet, keys: Sequence[str]) -> list[OnlineRow | None]:
        if not keys:
            return []
        if not self._breaker.allows():
            raise FeatureStoreError(f"{self._where}: did not answer lately; it is asked again in a moment.")
        try:
            with explaining(self._where):
                found = read_online(self._store, self._config, self._views[feature_set.name], feature_set, keys)
        except FeatureStoreError:
            self._breaker.note(failed=True)
            raise
        self._breaker.note(failed=False)
        return found


def read_online(
    store: Any, config: Any, view: Any, feature_set: FeatureSet, keys: Sequence[str]
) -> list[OnlineRow | None]:
    """Return what a Feast online store holds of each entity, in order."""
    # The Redis store appends to the list of names that it is given.
    names = [TIMESTAMP, *(feature.name for feature in feature_set.features)]
    entities = [encode_key(feature_set.entity, key) for key in keys]
    return [_decode(feature_set, values) for _, values in store.online_read(config, view, entities, names)]


def describe_store(settings: Settings, product: str) -> str:
    """Return what to call a product's online store in messages; no password."""
    if settings.online_store is None:
        return f"online features of {product}"
    return str(settings.online_store)


@contextmanager
def explaining(where: str) -> Iterator[None]:
    """Turn what a store raises into an error that says what to do.

    Raises:
        FeatureStoreError: the store failed or did not answer in time.
    """
    try:
        yield
    except RedisError as err:
        raise FeatureStoreError(
            f"{where}: the online store does not answer: {err}. Start it, or correct LAUNCHYARD_ONLINE_STORE."
        ) from err
    except sqlite3.Error as err:
        raise FeatureStoreError(
            f"{where}: the online store cannot be used: {err}. Fill it with: launchyard features materialize"
        ) from err


def _decode(feature_set: FeatureSet, values: dict[str, Any] | None) -> OnlineRow | None:
    # A row that was emptied online (FeatureStore._empty_vanished) has no time.
    if not values or (known_at := _decode_value(TIMESTAMP_FEATURE, values)) is None:
        return None
    decoded = {feature.name: _decode_value(feature, values) for feature in feature_set.features}
    return OnlineRow(known_at, decoded)


def _decode_value(feature: Feature, values: dict[str, Any]) -> Any:
    value = values.get(feature.name)
    if value is None or value.WhichOneof("val") is None:
        return None
    return CODINGS[feature.type].decode(value)
