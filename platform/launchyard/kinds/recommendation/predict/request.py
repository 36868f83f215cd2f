"""A row on its way to an answer: what is known of the user and the items when it is asked."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, cast

from pydantic import Field

from launchyard.contract.rows import Row
from launchyard.files.atomic import write_text
from launchyard.kinds.recommendation.data.day_counts import DayCounts
from launchyard.kinds.recommendation.data.declared import DeclaredSet
from launchyard.kinds.recommendation.data.histories import History
from launchyard.kinds.recommendation.data.profiles import Profile
from launchyard.stored import Stored

CONFIG_NAME = "model/recommender.json"
MOMENT_S = 3600
"""Answers are made for the beginning of an hour: ages and windows are counted in days."""
ONLINE = "known"
"""Key of a row under which the serving state puts what it knows (an :class:`OnlineFeatures`)."""


class RecommenderConfig(Stored):
    """What the predictor needs beside model and catalogue; written as ``model/recommender.json``."""

    schema_version: Literal[1] = 1
    k: int = Field(ge=1)
    max_k: int = Field(ge=1)
    max_history: int = Field(ge=1)
    candidates: int = Field(ge=1, description="Best items of the model that rules and re-ranking choose from.")
    exclude_seen: bool
    max_per_category: int | None
    freshness_half_life_days: float | None

    def save(self, bundle_dir: Path) -> None:
        """Write ``model/recommender.json``."""
        write_text(bundle_dir / CONFIG_NAME, self.model_dump_json(indent=2) + "\n")


@dataclass(frozen=True)
class OnlineFeatures:
    """What online stores say of a row at the moment of its request."""

    profile: Profile
    """The user's profile, with events up to this moment in it."""
    day_counts: DayCounts | None
    """What happened to the items; None: the store did not say, the bundle's own counts take their place."""
    declared: tuple[DeclaredSet, ...] | None
    """Numbers about items; None: the store did not say, the bundle's own take their place."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Request:
    """A row as it is computed."""

    row: Row
    profile: Profile
    day_counts: DayCounts
    declared: tuple[DeclaredSet, ...]
    notes: tuple[str, ...]
    make_history: Callable[[Profile, Row], History]

    is_live: bool
    """Whether it comes from a request that is being served, not from a row of a data set."""

    @cached_property
    def history(self) -> History:
        """What the model sees of the user."""
        return self.make_history(self.profile, self.row)

    @property
    def k(self) -> int:
        """Items that are asked for."""
        return cast(int, self.row["k"])

    @property
    def time(self) -> float:
        """The moment that the answer is made for: the beginning of the hour that it is asked in."""
        return float(self.row["time"]) // MOMENT_S * MOMENT_S

    @property
    def key(self) -> Hashable:
        """All that an answer depends on, but what the store says of the items."""
        row = self.row
        filters = None if row["filters"] is None else repr(row["filters"])
        context = tuple(sorted(row["context"].items()))
        return row["user"], self.profile.digest, self.k, filters, row["exclude_seen"], context, self.time
