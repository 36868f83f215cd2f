"""Feature sets as plain models: what is known about an entity at a time, with types and units; no store is touched.

A row of a set says what became known of one entity at one moment. At a time asked for, the newest row that is not
after it counts, and only while it is not older than the set's ``ttl_s``. That one rule is computed offline by a
point-in-time join and online by reading, so both give equal values for equal times.

Counts over a window ("events in the last 7 days") change while nothing happens, so they are never stored: a set holds
the counts per day, and :func:`sum_buckets` adds them up for the moment asked.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from launchyard.errors import SpecError

Named = TypeVar("Named")

DAY_S = 86_400
ENTITY = "entity"
TIMESTAMP = "timestamp"
RESERVED_NAMES = frozenset({ENTITY, TIMESTAMP, "event_timestamp", "row"})
"""Columns that stand beside the features in the files of a set."""

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
FeatureType = Literal["number", "integer", "boolean", "text", "numbers", "integers", "texts"]
"""``numbers``, ``integers`` and ``texts`` are lists of any length; a vector is ``numbers`` with a ``length``."""

FeatureValue = bool | int | float | str | tuple[int, ...] | tuple[float, ...] | tuple[str, ...]
FeatureRow = Mapping[str, Any]
"""Feature -> value: a number, text or list, or None where it is unknown and has no default."""


class Described(BaseModel):
    """A description, immutable."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Feature(Described):
    """One thing that is known about an entity."""

    name: Name
    type: FeatureType
    unit: str = Field("", description="What a value counts, such as 'events' or 'EUR'.")
    description: str = ""
    default: FeatureValue | None = Field(None, description="Stands for a missing value in a row that is there.")
    length: int | None = Field(None, ge=1, description="Dimensions of a vector.")

    @model_validator(mode="after")
    def _is_sound(self) -> Self:
        if self.name in RESERVED_NAMES:
            raise ValueError(f"'{self.name}' is a column of every set. Choose another name")
        if self.length is not None and self.type != "numbers":
            raise ValueError(f"a feature of type {self.type} has no length. Only numbers have")
        return self


class FeatureSet(Described):
    """Features of one kind of entity that become known together."""

    name: Name
    entity: Name = Field(description="What the rows are about, such as user or item.")
    features: tuple[Feature, ...] = Field(min_length=1)
    ttl_s: float | None = Field(None, gt=0, description="How long a row holds, seconds; None: until the next one.")
    description: str = ""

    @model_validator(mode="after")
    def _is_sound(self) -> Self:
        names = [feature.name for feature in self.features]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"feature '{repeated[0]}' is there twice. Rename one")
        # In a set's file the entity, the features and the reserved columns stand side by side.
        if self.entity in (*names, *RESERVED_NAMES - {ENTITY}):
            raise ValueError(f"entity '{self.entity}' has the name of a column. Rename one")
        return self

    def get(self, name: str) -> Feature:
        """Return the feature called ``name``.

        Raises:
            SpecError: there is none; the message names the nearest and all known ones.
        """
        return _pick(name, {feature.name: feature for feature in self.features}, f"set '{self.name}': ", "feature")

    def has_expired(self, timestamp: float, now: float) -> bool:
        """Tell whether a row that became known at ``timestamp`` is too old at ``now``, both seconds since 1970."""
        return self.ttl_s is not None and _micros(now) - _micros(timestamp) > _micros(self.ttl_s)

    def holds(self, timestamp: float, now: float) -> bool:
        """Tell whether a row that became known at ``timestamp`` is known and not too old at ``now``."""
        return _micros(timestamp) <= _micros(now) and not self.has_expired(timestamp, now)

    def fill(self, row: FeatureRow) -> dict[str, Any]:
        """Return a value for each feature: the row's, or where that is missing the default."""
        return {
            feature.name: _plain(feature.default) if (value := row.get(feature.name)) is None else value
            for feature in self.features
        }


def get_set(sets: Iterable[FeatureSet], name: str) -> FeatureSet:
    """Return the set called ``name``.

    Raises:
        SpecError: there is none; the message names the nearest and all known ones.
    """
    return _pick(name, {found.name: found for found in sets}, "features: ", "set")


def number_day(time: float) -> int:
    """Return the number of the UTC day, since 1970-01-01, of a time in seconds since 1970.

    >>> number_day(86_400.0), number_day(86_399.9), number_day(-0.5)
    (1, 0, -1)
    """
    return math.floor(time / DAY_S)


def sum_buckets(days: Sequence[int], counts: Sequence[float], *, time: float, window_days: int) -> float:
    """Return what was counted in the ``window_days`` whole UTC days before the day of ``time``.

    The day of ``time`` itself never counts: it is not over, so a row written in the evening would tell of it what a
    row of the same morning could not know. The sum is therefore the same for every moment of a day, whichever of the
    day's rows it is computed from.

    >>> sum_buckets([10, 11, 12], [1, 2, 4], time=12 * 86_400.0 + 5, window_days=2)
    3.0
    """
    today = number_day(time)
    return float(sum(count for day, count in zip(days, counts, strict=True) if today - window_days <= int(day) < today))


def _micros(seconds: float) -> int:
    """Return a time as joins compare it: fractions of seconds add up exactly."""
    return round(seconds * 1e6)


def _plain(value: FeatureValue | None) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _pick(name: str, known: Mapping[str, Named], where: str, what: str) -> Named:
    if name in known:
        return known[name]
    near = get_close_matches(name, known, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    listed = f"Known: {', '.join(known)}." if known else "There is none; give the product features in its spec."
    raise SpecError(f"{where}there is no {what} '{name}'.{hint} {listed}")
