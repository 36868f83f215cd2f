"""The events of a log once they are cleaned, and what is told of them without naming anybody."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from launchyard.data.manifest import ColumnProfile
from launchyard.data.profile import ColumnProfiler
from launchyard.kinds.recommendation.data.event_rows import Events


@dataclass
class CleanLog:
    """The events of a log, cleaned and sorted, and what the numbers in them stand for."""

    events: Events
    users: list[str]
    """The users' own ids, in memory only; the pseudonym of one who is in no source but sent events."""
    pseudonyms: list[str]
    kinds: list[str]
    contexts: dict[str, list[str]]
    dropped: dict[str, int] = field(default_factory=dict)


def decode(texts: list[str], codes: NDArray[np.int32]) -> pa.Array:
    """Return the texts that numbers stand for; null for -1."""
    return pa.array([*texts, None], pa.string()).take(pa.array(np.where(codes < 0, len(texts), codes)))


def fingerprint(log: CleanLog, catalogue: pa.Table) -> str:
    """Return the digest of all events and items: equal for equal data, whatever the namespace."""
    digest = hashlib.sha256()
    events = log.events
    for values in (
        events.users_N,
        events.items_N,
        events.times_N,
        events.kinds_N,
        events.weights_N,
        events.contexts_CN,
    ):
        digest.update(np.ascontiguousarray(values).tobytes())
    for texts in (log.users, log.kinds, *log.contexts.values()):
        digest.update("\0".join(texts).encode() + b"\n")
    for name in ("item", "title", "text", "categories", "time", "price"):
        digest.update(repr(catalogue[name].to_pylist()).encode())
    return digest.hexdigest()


def profile_columns(log: CleanLog, catalogue: pa.Table) -> Iterable[ColumnProfile]:
    """Yield what the report shows of the events; of users nothing but how many there are."""
    events = log.events
    columns = {"user": pa.array(events.users_N), "item": pa.array(events.items_N), "weight": pa.array(events.weights_N)}
    if log.kinds:
        columns["event"] = decode(log.kinds, events.kinds_N)
    for row, (name, texts) in enumerate(log.contexts.items()):
        columns[name] = decode(texts, events.contexts_CN[row])
    titles = pa.array(catalogue["title"].to_pylist(), pa.string())
    for name, values in columns.items():
        shown = titles.take(values) if name == "item" else values
        profiler = ColumnProfiler(name, shown.type)
        profiler.add(pa.chunked_array([shown]))
        yield profiler.build(len(events), shown.null_count, shows_values=name != "user")
