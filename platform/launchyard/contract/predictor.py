"""A trained model as serving loads it, and what it reads beside its bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

if TYPE_CHECKING:
    from pydantic import BaseModel

    from launchyard.contract.rows import Row
    from launchyard.records.events import AddedEvents, Event
    from launchyard.settings import Settings
    from launchyard.spec.blocks import Product
    from launchyard.spec.events import EventLimits

Output = Mapping[str, Any]
"""One answer of a predictor: JSON-ready, fits the predictor's ``output_schema``."""


class Predictor(Protocol):
    """A trained model as serving loads it: rows in, outputs out, batched by the platform.

    Serving calls ``parse``, ``predict`` and ``explain`` in threads of their own, so they may overlap with each other.
    """

    input_schema: type[BaseModel]
    output_schema: type[BaseModel]

    @classmethod
    def load(cls, bundle_dir: Path, *, threads: int) -> Self:
        """Return the predictor of a bundle folder, computing on ``threads`` CPU threads.

        Where a library has one number of threads for the whole process (torch), the newest load sets it.
        """
        ...

    def parse(self, raw: object) -> Row:
        """Return the row of one raw request input, preprocessed as training rows were.

        Raises:
            RequestError: the input is empty, too large or of the wrong type.
        """
        ...

    def predict(self, rows: Sequence[Row]) -> list[Output]:
        """Return one output per row, in order; a row's output does not depend on its batch."""
        ...

    def explain(self, rows: Sequence[Row]) -> list[Output]:
        """Return each row's output together with what in the row speaks for it."""
        ...

    def describe(self, row: Row) -> dict[str, float | str]:
        """Return the features of a row that drift is measured on; nothing personal."""
        ...


class ServingState(Protocol):
    """What a predictor reads beside its bundle while it serves: online features, and events as they happen."""

    event_schema: type[BaseModel]
    """One event, as requests send it."""
    event_limits: EventLimits
    """How many events are taken."""

    @classmethod
    def open(cls, settings: Settings, spec: Product, bundle_dir: Path) -> Self:
        """Return the state of a replica that serves ``bundle_dir``; a store that cannot be reached is no error."""
        ...

    def enrich(self, rows: Sequence[Row]) -> list[Row]:
        """Return the rows with what is known of them at this moment, in order.

        Called in the thread that predicts, with a whole batch, just before it. Returns within a deadline of its own:
        what a store did not say until then is left out, and the row's answer says so.
        """
        ...

    def recall(self, predictor: Any, rows: Sequence[Row]) -> list[Output] | None:
        """Return what the product's predictor answered to the same rows, if that still holds for all; else None.

        Called on the event loop, so it looks into memory alone and takes microseconds. A kind that remembers nothing
        returns None.
        """
        ...

    def parse_event(self, raw: object) -> Event:
        """Return one raw event, read as the rows of training were.

        Raises:
            RequestError: it is malformed.
        """
        ...

    def add_events(self, events: Sequence[Event], *, sender: str | None = None) -> AddedEvents:
        """Keep events, and the pseudonym of who sent them; they are on the disk, and known, when this returns.

        Raises:
            RegistryError: the database cannot be used.
        """
        ...

    def close(self) -> None:
        """Close connections and stop threads."""
        ...
