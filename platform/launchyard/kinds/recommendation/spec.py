"""Recommendation: what a person may want next, from what people did before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from launchyard.kinds.recommendation.architectures import ARCHITECTURES, Content, LightGcn, SasRec
from launchyard.spec.blocks import (
    Block,
    Data,
    EarlyStopping,
    Fraction,
    GradientTrain,
    Ineffective,
    Serve,
    SourceUri,
    TrainedProduct,
    TrainsBy,
    Unit,
    is_set,
)
from launchyard.spec.events import EventLimits
from launchyard.spec.features import Features

LEARNED = (Content, LightGcn, SasRec)
"""Architectures that learn by gradient descent; the others have a closed form."""


EVENT_COLUMNS = ("user", "item", "timestamp", "weight")
"""Columns that every event has, whatever the source calls them."""
USER_PROFILE, ITEM_STATISTICS = "user_profile", "item_statistics"
"""The feature sets that the kind computes by itself."""
OWN_PREFIX = "launchyard_"
"""Of sets that the platform keeps beside those of a product."""


class Interactions(Block):
    """Columns of the interaction log."""

    user: str = Field("user", description="Column of who; any value, kept as a pseudonym.")
    item: str = Field("item", description="Column of what.")
    timestamp: str = Field(
        "timestamp",
        description="Column of when: seconds, milliseconds, microseconds or nanoseconds since 1970, a day as 20240131, "
        "or ISO 8601; without a zone it is UTC.",
    )
    event: str | None = Field(None, description="Column of what was done, such as view or purchase.")
    weight: str | None = Field(None, description="Column of how much it counts, such as a rating; above 0.")
    context: tuple[str, ...] = Field(
        (), description="Columns of the circumstances, such as device or place; a request may give the same keys."
    )


class Items(Block):
    """The catalogue: one row for each item."""

    source: SourceUri = Field(description="Where the rows are: a path or URI.")
    id: str = Field("item", description="Column of the id, as in the interactions.")
    title: str | None = Field(None, description="Column of the name that people see.")
    text: tuple[str, ...] = Field((), description="Columns of text that describe it; read by architecture content.")
    categories: str | None = Field(None, description="Column of its categories.")
    separator: str = Field(" ", min_length=1, description="What stands between categories in one value.")
    time: str | None = Field(None, description="Column of when it came out: a year, or as the interactions' timestamp.")
    price: str | None = Field(None, description="Column of its price, a number.")


class Users(Block):
    """What is known about people beside what they did: one row for each."""

    source: SourceUri = Field(description="Where the rows are: a path or URI.")
    id: str = Field("user", description="Column of the id, as in the interactions.")
    attributes: tuple[str, ...] = Field(
        min_length=1,
        description="Columns of few values each, such as country: a request may give them for newcomers, and "
        "evaluate.slices may name them.",
    )


class HistorySplit(Block):
    """What is held out: of each user the last events, or of all users the newest."""

    strategy: Literal["leave-one-out", "time"] = Field(
        "leave-one-out",
        description="leave-one-out: each user's last event tests, the one before validates; time: the newest events of "
        "all users test, those before validate.",
    )
    validation: Annotated[Fraction, Unit("fraction")] = Field(
        0.1, description="Share of the events that validates, with strategy time."
    )
    test: Annotated[Fraction, Unit("fraction")] = Field(
        0.1, description="Share of the events that tests, with strategy time."
    )
    users: Annotated[int, Unit("users")] = Field(
        20_000, ge=10, description="Most users that anything is held out of; the others' events all train."
    )


class EventChecks(Block):
    """What the events must fulfil before anything is trained on them."""

    min_rows: Annotated[int, Unit("events")] = Field(100, ge=1, description="Fewest events after cleaning.")
    min_users: Annotated[int, Unit("users")] = Field(10, ge=2, description="Fewest users after cleaning.")
    min_items: Annotated[int, Unit("items")] = Field(10, ge=2, description="Fewest items with an event.")
    max_null_fraction: Annotated[float, Unit("fraction")] = Field(
        0.1, ge=0, le=1, description="Largest share of events without user, item or timestamp."
    )
    max_duplicate_fraction: Annotated[float, Unit("fraction")] = Field(
        0.5, ge=0, le=1, description="Largest share of events that repeat another exactly; they count once."
    )
    max_unknown_items: Annotated[float, Unit("fraction")] = Field(
        0.1, ge=0, le=1, description="Largest share of events of an item that the catalogue lacks; they are left out."
    )


class MinimumCounts(Block):
    """Who and what is rare enough to be left out; counted once, not until nothing changes."""

    user: Annotated[int, Unit("events")] = Field(1, ge=1, description="Fewest events of a user.")
    item: Annotated[int, Unit("events")] = Field(1, ge=1, description="Fewest events of an item.")


class RecommendationData(Data):
    """An interaction log, and what is known about items and users."""

    source: SourceUri = Field(description="Where the interactions are: a path or URI.")
    interactions: Interactions = Field(Interactions(), description="Columns of the interaction log.")
    items: Items | None = Field(None, description="The catalogue; null: every item that has an event.")
    users: Users | None = Field(None, description="Attributes of users.")
    min_interactions: MinimumCounts = Field(MinimumCounts(), description="Who and what is left out as too rare.")
    collected_events: bool = Field(
        True, description="Train on what the endpoint's POST events was sent, too, beside the source."
    )
    collected_per_user_per_day: Annotated[int, Unit("events")] = Field(
        1000, ge=1, description="Most events of one user that arrived at the endpoint on one day and train."
    )
    collected_per_sender_per_day: Annotated[int, Unit("events")] = Field(
        1_000_000, ge=1, description="Most events from one sender that arrived on one day and train."
    )
    max_history: Annotated[int, Unit("events")] = Field(
        1000, ge=1, le=10_000, description="Newest events of a user that an answer is computed from."
    )
    split: HistorySplit = Field(HistorySplit(), description="What is held out.")
    checks: EventChecks = Field(EventChecks(), description="What the events must fulfil.")

    def describe_split(self) -> str:
        """Return what is held out."""
        if self.split.strategy == "time":
            return f"newest events of all users: {self.split.validation:.0%} validate, then {self.split.test:.0%} test"
        return "each user's last event tests, the one before validates"

    def iter_ineffective(self) -> Iterator[Ineffective]:
        """Yield the sizes of held-out parts where each user gives one event to both, and limits on no events."""
        for name in ("collected_per_user_per_day", "collected_per_sender_per_day"):
            if not self.collected_events and is_set(self, name):
                yield ("data", name), "data.collected_events is false"
        for name in ("validation", "test"):
            if self.split.strategy == "leave-one-out" and is_set(self.split, name):
                yield ("data", "split", name), "data.split.strategy is leave-one-out"


class RecommendationTrain(GradientTrain):
    """Optimisation; the defaults suit sequence models on tens of thousands of events."""

    epochs: Annotated[int, Unit("epochs")] = Field(60, ge=1, le=1000, description="Passes over the training rows.")
    batch_size: Annotated[int, Unit("rows")] = Field(
        128, ge=1, le=65536, description="Rows (users; for lightgcn events) per optimiser step, over all workers."
    )
    learning_rate: float = Field(1e-3, gt=0, le=10, description="Peak learning rate.")
    early_stopping: EarlyStopping | None = Field(EarlyStopping(patience=10), description="null trains all epochs.")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "fp32", description="Arithmetic of the forward pass; auto: bf16 where the hardware computes it faster."
    )


class Rerank(Block):
    """Re-ranking of the best candidates, with features of this moment."""

    candidates: Annotated[int, Unit("items")] = Field(
        100, ge=20, le=1000, description="Best items of the model that are looked at again."
    )
    min_gain: float = Field(
        0.0, ge=0, description="Least gain of ndcg@10 in cross-validation for which re-ranking is kept."
    )


class Rules(Block):
    """What is never shown, whatever a model says."""

    exclude_seen: bool = Field(True, description="Leave out what the user took already.")
    max_per_category: Annotated[int | None, Unit("items")] = Field(
        None, ge=1, description="Most items of one category (the first that an item names) in one answer."
    )
    freshness_half_life_days: Annotated[float | None, Unit("days")] = Field(
        None,
        gt=0,
        description="An item this much older than the newest candidate keeps half of its lead over the weakest one.",
    )


class RecommendationServe(Serve):
    """How the endpoint answers."""

    k: Annotated[int, Unit("items")] = Field(10, ge=1, le=1000, description="Items in an answer that asks for none.")
    max_k: Annotated[int, Unit("items")] = Field(
        100, ge=20, le=1000, description="Most items that may be asked for; evaluation asks for 20."
    )
    search: Literal["auto", "exact", "approximate"] = Field(
        "auto", description="How the best items are found; auto: approximate from 200,000 items on."
    )
    rules: Rules = Field(Rules(), description="What is never shown.")
    events: EventLimits = Field(EventLimits(), description="How many events the endpoint takes.")
    rerank: Rerank | None = Field(
        Rerank(), description="Re-ranking of the best candidates with online features; null switches it off."
    )

    @model_validator(mode="after")
    def _k_is_allowed(self) -> Self:
        if self.k > self.max_k:
            raise ValueError(f"k must not exceed max_k, got {self.k} and {self.max_k}")
        return self


class Recommendation(TrainedProduct):
    """A recommendation product."""

    kind: Literal["recommendation"] = Field(description="What sort of product it is.")
    data: RecommendationData = Field(description="Where the interactions come from and what they must fulfil.")
    model: ARCHITECTURES = Field(description="What is trained.")
    train: RecommendationTrain = Field(RecommendationTrain(), description="Optimisation.")
    serve: RecommendationServe = Field(RecommendationServe(), description="How the endpoint answers.")
    features: Features = Field(Features(), description="What is known of users and items when a request comes.")

    @model_validator(mode="after")
    def _slices_are_known(self) -> Self:
        known = self.list_context()
        unknown = [name for name in self.evaluate.slices if name not in known]
        if unknown:
            raise ValueError(
                f"evaluate.slices: '{unknown[0]}' is in neither data.users.attributes nor data.interactions.context. "
                f"Known: {', '.join(known) or 'none'}"
            )
        return self

    @property
    def trains_by(self) -> TrainsBy | None:
        """How the architecture learns: by gradients, or in closed form."""
        return "gradients" if isinstance(self.model, LEARNED) else "fit"

    def list_context(self) -> tuple[str, ...]:
        """Return the circumstances and attributes that a request may give."""
        users = () if self.data.users is None else self.data.users.attributes
        return tuple(dict.fromkeys((*self.data.interactions.context, *users)))

    def iter_conflicts(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """Yield each name that the kind has for itself, and what needs columns of items that are not given."""
        yield from super().iter_conflicts()
        yield from self._iter_missing_columns()
        for name in self.data.interactions.context:
            if name in EVENT_COLUMNS:
                columns = ", ".join(EVENT_COLUMNS)
                problem = (
                    f"'{name}' is a column that every event has, as {columns} are. Rename the circumstance's column"
                )
                yield ("data", "interactions", "context"), problem
        if self.data.users is not None and "user" in self.data.users.attributes:
            yield ("data", "users", "attributes"), "'user' is the column of the id. Rename the attribute's column"
        for name in self.features.sets:
            if name in (USER_PROFILE, ITEM_STATISTICS) or name.startswith(OWN_PREFIX):
                yield ("features", "sets", name), "is the name of a set that the platform keeps. Rename yours"

    def _iter_missing_columns(self) -> Iterator[tuple[tuple[str, ...], str]]:
        items, evaluate = self.data.items, self.evaluate
        if isinstance(self.model, Content) and not (items and (items.title or items.text or items.categories)):
            text = "content reads what items are about. Name title, text or categories under data.items"
            yield ("model", "architecture"), text
        if items is not None and items.categories is not None:
            return
        named = [("evaluate", "gates", name) for name in evaluate.gates]
        named += [
            ("evaluate", name, "metric")
            for name in ("beat_baseline", "beat_champion")
            if getattr(evaluate, name) is not None
        ]
        for path in named:
            metric = path[-1] if path[1] == "gates" else getattr(evaluate, path[1]).metric
            if metric == "diversity@10":
                yield path, "diversity@10 is undefined without categories. Name data.items.categories"

    def iter_ineffective(self) -> Iterator[Ineffective]:
        """Yield each key that was changed from its default although nothing reads it in this spec."""
        yield from super().iter_ineffective()
        for name in ("serve", "evaluate"):
            if is_set(getattr(self.resources, name), "gpus"):
                yield ("resources", name, "gpus"), "recommenders answer from the CPU"
        if not isinstance(self.model, LEARNED):
            reason = f"model.architecture {self.model.architecture} has a closed form"
            if is_set(self.serve, "search"):
                yield ("serve", "search"), f"model.architecture {self.model.architecture} has no vectors to search"
            for name in ("workers", "gpus"):
                if is_set(self.resources.train, name):
                    yield ("resources", "train", name), reason
            for name in type(self.train).model_fields:
                if is_set(self.train, name):
                    yield ("train", name), reason
        items = self.data.items
        if items is not None and items.text and not isinstance(self.model, Content):
            yield ("data", "items", "text"), f"model.architecture {self.model.architecture} reads no text"
        if items is not None and items.categories is None and is_set(items, "separator"):
            yield ("data", "items", "separator"), "data.items.categories is not given"
        if (items is None or items.categories is None) and self.serve.rules.max_per_category is not None:
            yield ("serve", "rules", "max_per_category"), "data.items.categories is not given"
        if (items is None or items.time is None) and self.serve.rules.freshness_half_life_days is not None:
            yield ("serve", "rules", "freshness_half_life_days"), "data.items.time is not given"
