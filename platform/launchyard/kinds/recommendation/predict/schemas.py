"""What a recommender accepts and answers."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from launchyard.data.values.canonical import format_id
from launchyard.kinds.recommendation.data.recipe import MAX_ID_CHARACTERS, MAX_WEIGHT
from launchyard.text.normal_form import normalize

PRINTABLE = r"^[^\x00-\x1f\x7f]+$"
"""No control characters: a database may refuse them."""
LARGEST_NUMBER = 10**MAX_ID_CHARACTERS
MAX_EVENTS = 10_000
"""Held-out histories are cut to as many, so that what is measured can be asked."""
MAX_FILTER_ITEMS = 10_000


def read_id(value: object) -> object:
    """Return an id as :func:`launchyard.data.values.canonical.format_id` writes it; what can be none stays."""
    if isinstance(value, str):
        value = value.strip()
        # What is too long is refused; before, it would only cost time.
        return format_id(value) or "" if len(value) <= MAX_ID_CHARACTERS else value
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    is_plain = abs(value) < LARGEST_NUMBER if isinstance(value, int) else math.isfinite(value)
    return format_id(value) if is_plain else value


Id = Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARACTERS, pattern=PRINTABLE), BeforeValidator(read_id)]
"""An id as text; numbers are taken as well."""
Circumstance = Annotated[str, BeforeValidator(read_id)]
"""A value of a context column, which is read as ids are."""
Category = Annotated[str, AfterValidator(normalize)]
MAX_MOMENT_CHARACTERS = 100
"""Longer than any time in ISO 8601: such a text is refused before it is parsed."""
Moment = Annotated[float | Annotated[str, Field(max_length=MAX_MOMENT_CHARACTERS)], Field(union_mode="left_to_right")]
"""Seconds, milliseconds, microseconds or nanoseconds since 1970, or ISO 8601; without a zone it is UTC."""


class Strict(BaseModel):
    """A form that refuses what it does not know."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class EventInput(Strict):
    """One thing that the user did."""

    item: Id = Field(description="What it was done with.")
    timestamp: Moment | None = Field(None, description="When; default: now.")
    event: Id | None = Field(None, description="What was done, such as view or purchase.")
    weight: float | None = Field(None, gt=0, le=MAX_WEIGHT, description="How much it counts; default: 1.")


class UserEventInput(EventInput):
    """One event as POST events takes it."""

    user: Id = Field(description="Who did it.")


class Filters(Strict):
    """What an answer may hold."""

    categories: Annotated[list[Category], Field(fail_fast=True)] | None = Field(
        None, min_length=1, description="Only items of one of these categories."
    )
    items: Annotated[list[Id], Field(fail_fast=True)] | None = Field(
        None, min_length=1, max_length=MAX_FILTER_ITEMS, description="Only these items."
    )
    exclude: Annotated[list[Id], Field(fail_fast=True)] | None = Field(
        None, max_length=MAX_FILTER_ITEMS, description="None of these items."
    )
    min_price: float | None = Field(None, description="Only items that cost at least this.")
    max_price: float | None = Field(None, description="Only items that cost at most this.")


class RecommendationInput(Strict):
    """Whom to recommend to: a user, or a session's events, or nobody in particular."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        json_schema_extra={"examples": [{"user": "42"}, {"events": [{"item": "50"}, {"item": "181"}]}, {"k": 5}]},
    )

    user: Id | None = Field(None, description="The user's id; what the user did before is looked up.")
    events: Annotated[list[EventInput], Field(fail_fast=True)] | None = Field(
        None, max_length=MAX_EVENTS, description="What was done in this session, oldest first or with timestamps."
    )
    k: int | None = Field(None, ge=1, description="How many items; default: serve.k.")
    time: Moment | None = Field(None, description="The moment of the recommendation; default: now.")
    context: dict[str, Circumstance | None] | None = Field(
        None, description="Circumstances and attributes, by the names that the spec gives them."
    )
    filters: Filters | None = Field(None, description="What the answer may hold.")
    exclude_seen: bool | None = Field(None, description="Leave out what the user took; default: the spec's rule.")


class RecommendedItem(BaseModel):
    """One recommended item."""

    item: str
    title: str
    score: float = Field(description="More is better; comparable within one answer only.")
    reason: str = Field(description="Why, in words for the user.")


class Explanation(BaseModel):
    """What speaks for each item."""

    because_of: dict[str, dict[str, float]] = Field(
        description="Item -> items of the history and their similarity to it, -1 to 1."
    )
    features: dict[str, dict[str, float]] = Field(
        description="Item -> feature and what it adds to the score of re-ranking, compared with an average item."
    )


class RecommendationOutput(BaseModel):
    """The answer to one request."""

    model_config = ConfigDict(extra="forbid")

    items: list[RecommendedItem] = Field(description="Best first; fewer than k when the filters leave no more.")
    strategy: Literal["personal", "popular"] = Field(
        description="personal: from a history; popular: nothing is known of the user, so what most people take."
    )
    notes: list[str] = Field(description="What could not be looked up, and what took its place.")
    explanation: Explanation | None = Field(None, description="Only in answers of explain.")
