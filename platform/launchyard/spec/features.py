"""The ``features:`` block: what a user declares beside the features that a kind computes by itself."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from launchyard.features.sets import RESERVED_NAMES, Feature, FeatureSet, FeatureType, Name
from launchyard.spec.blocks import Block, SourceUri, Unit

HOUR_S = 3600


class FeatureColumn(Block):
    """One feature and where its values stand."""

    column: str = Field(description="Column of the source.")
    type: FeatureType = Field("number", description="What the values are; a vector is numbers, all of one length.")
    unit: str = Field("", description="What a value counts, such as EUR.")
    description: str = Field("", description="What it means, for people.")


class DeclaredSet(Block):
    """Features of users or items that come from a source of their own, such as prices as they change."""

    entity: Literal["user", "item"] = Field(description="What the rows are about.")
    source: SourceUri = Field(description="Where the rows are: a path or URI.")
    key: str = Field(description="Column of the user's or item's id.")
    timestamp: str = Field(description="Column of the time at which a row's values became known.")
    ttl_hours: Annotated[float | None, Unit("hours")] = Field(
        None, gt=0, description="How long a row holds; default: until the next one of the same id."
    )
    columns: dict[Name, FeatureColumn] = Field(min_length=1, description="Feature -> its column.")
    description: str = Field("", description="What it is, for people.")

    @model_validator(mode="after")
    def _has_free_names(self) -> Self:
        taken = sorted(self.columns.keys() & {*RESERVED_NAMES, self.entity})
        if taken:
            raise ValueError(f"a feature cannot be called '{taken[0]}': every set has that column. Rename it")
        return self

    def describe(self, name: str) -> FeatureSet:
        """Return the set, under the name that the spec gives it, as the platform keeps it."""
        return FeatureSet(
            name=name,
            entity=self.entity,
            features=tuple(
                Feature(name=feature, type=found.type, unit=found.unit, description=found.description)
                for feature, found in self.columns.items()
            ),
            ttl_s=None if self.ttl_hours is None else self.ttl_hours * HOUR_S,
            description=self.description,
        )


class Features(Block):
    """Online features: how long an answer waits for them, and sets beside those that the kind computes."""

    timeout_ms: Annotated[float, Unit("ms")] = Field(
        20.0, gt=0, le=60_000, description="Longest wait for the store; then the answer does without and says so."
    )
    sets: dict[Name, DeclaredSet] = Field({}, description="Name -> features of users or items from a source.")
