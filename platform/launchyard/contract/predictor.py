"""A trained model as serving loads it, and what it reads beside its bundle."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

if TYPE_CHECKING:
    from pydantic import BaseModel

    from launchyard.contract.rows import Row
    from launchyard.records.events import AddedEvents, Event
    from launchyard.settings import Settings
    from launchyard.spec.blocks import Product
    from launchyard.spec.events import EventLimits

Output = Mapping[str, Any]
"""One answer of a predictor: JSON-ready, fits the predictor's ``output_schema``."""
StreamEvent = Mapping[str, Any]
"""One event of a stream: JSON-ready, fits the predictor's ``event_schema``."""
Schema = Any
"""What an input, output or event looks like: a pydantic model, or a union of such models."""


@dataclass(frozen=True)
class Device:
    """What a loaded model computes on: CPU threads, and GPUs where the spec asks for them."""

    threads: int
    """CPU threads of one forward pass."""
    gpus: float = 0.0
    """GPUs of this process; below 1, its share of one. Which ones they are, the process's environment says."""

    @property
    def torch_name(self) -> str:
        """What torch calls it."""
        return "cuda" if self.gpus else "cpu"


class Predictor(Protocol):
    """A trained model as serving loads it: rows in, outputs out, batched by the platform.

    Serving calls ``parse``, ``predict`` and what :class:`ExplainingPredictor` adds in threads of their own, so they may
    overlap with each other.
    """

    input_schema: Schema
    output_schema: Schema

    def parse(self, raw: object) -> Row:
        """Return the row of one raw request input, preprocessed as training rows were.

        Raises:
            RequestError: the input is empty, too large or of the wrong type.
        """
        ...

    def predict(self, rows: Sequence[Row]) -> list[Output]:
        """Return one output per row, in order; a row's output does not depend on its batch."""
        ...

    def describe(self, row: Row) -> dict[str, float | str]:
        """Return the features of a row that drift is measured on; nothing personal."""
        ...


class StreamingPredictor(Protocol):
    """A trained model that answers bit by bit and schedules its requests by itself, as engines of language models do.

    No batch is made for it. All its streams run on one event loop, in a thread of its own, for as long as it is loaded.
    Evaluation, the self-test and batch prediction see :class:`launchyard.prediction.streams.CollectedPredictor` in its
    place, whose answers are its collected events.
    """

    input_schema: Schema
    output_schema: Schema
    event_schema: Schema
    """One event of a stream."""

    def parse(self, raw: object) -> Row:
        """Return the row of one raw request input, as :meth:`Predictor.parse` does; called in other threads.

        Raises:
            RequestError: the input is empty, too large or of the wrong type.
        """
        ...

    def stream(self, row: Row) -> AsyncIterator[StreamEvent]:
        """Yield what becomes known of a row's answer, as soon as it is known.

        When nobody waits for the answer any more, the iterator is cancelled where it waits, and closed.
        """
        ...

    def collect(self, events: Sequence[StreamEvent]) -> Output:
        """Return the answer that all the events of one stream make."""
        ...

    def describe(self, row: Row) -> dict[str, float | str]:
        """Return the features of a row that drift is measured on; nothing personal."""
        ...


class PredictorClass(Protocol):
    """What ``Kind.predictor`` names: most often the class of the predictor itself."""

    def load(self, bundle_dir: Path, device: Device) -> Predictor | StreamingPredictor:
        """Return the predictor of a bundle folder, computing on ``device``.

        Where a library has one number of threads for the whole process (torch), the newest load sets it.

        Raises:
            BundleError: a file is missing or damaged, or the device is not there.
        """
        ...


@runtime_checkable
class ExplainingPredictor(Predictor, Protocol):
    """A predictor that can say why. Without ``explain`` there is no such route, page or part of the report."""

    def explain(self, rows: Sequence[Row]) -> list[Output]:
        """Return each row's output together with what in the row speaks for it."""
        ...


@runtime_checkable
class Closing(Protocol):
    """A predictor, of any sort, that holds more than memory: a GPU, or an engine with processes of its own."""

    def close(self) -> None:
        """Let go of it, once no request uses the predictor any more."""
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
