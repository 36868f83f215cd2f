"""Events as the rows of the three splits: training events one by one, held-out users with their histories.

Array legend: N events, H held-out users.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from launchyard.data.manifest import SplitName
from launchyard.errors import DataError
from launchyard.kinds.recommendation.data.clean_log import CleanLog, decode
from launchyard.kinds.recommendation.data.split import HeldOut
from launchyard.kinds.recommendation.predict.schemas import MAX_EVENTS

EVALUATED_K = 20
"""Items that are asked for of each held-out user: the longest list that a metric looks at."""
HISTORY_TYPE = pa.struct(
    [("item", pa.string()), ("timestamp", pa.float64()), ("event", pa.string()), ("weight", pa.float32())]
)


@dataclass(frozen=True)
class EventSplits:
    """Events as rows of the three splits, ready to be written."""

    folder: Path
    log: CleanLog
    items: list[str]
    users: pa.Table | None
    """Attributes of users, by pseudonym."""

    def write_train(self, trains_N: NDArray[np.bool_]) -> None:
        """Write the training events, by user and time."""
        write_tables(self.folder / "train.parquet", self._iter_events(np.flatnonzero(trains_N)))

    def _iter_events(self, places_N: NDArray[np.intp]) -> Iterable[pa.Table]:
        pseudonyms = pa.array(self.log.pseudonyms, pa.string())
        for begin in range(0, max(len(places_N), 1), 65_536):
            chosen = places_N[begin : begin + 65_536]
            columns = self._describe(chosen)
            columns = {"user": pseudonyms.take(pa.array(self.log.events.users_N[chosen])), **columns}
            yield pa.table(columns | self._describe_context(chosen))

    def _describe(self, places: NDArray[np.intp]) -> dict[str, pa.Array]:
        events = self.log.events
        return {
            "item": pa.array(self.items, pa.string()).take(pa.array(events.items_N[places])),
            "timestamp": pa.array(events.times_N[places]),
            "event": decode(self.log.kinds, events.kinds_N[places]),
            "weight": pa.array(events.weights_N[places]),
        }

    def _describe_context(self, places: NDArray[np.intp]) -> dict[str, pa.Array]:
        contexts = self.log.contexts.items()
        return {
            name: decode(texts, self.log.events.contexts_CN[row][places]) for row, (name, texts) in enumerate(contexts)
        }

    def _describe_users(self, users: NDArray[np.int32]) -> dict[str, pa.Array]:
        """Return the attributes of users; null where nothing is known of one."""
        if self.users is None:
            return {}
        pseudonyms = pa.array([self.log.pseudonyms[code] for code in users.tolist()], pa.string())
        rows = pc.index_in(pseudonyms, value_set=self.users["user"].combine_chunks())
        names = [name for name in self.users.column_names if name != "user"]
        return {name: self.users[name].take(rows).combine_chunks() for name in names}

    def write_held_out(
        self, split: SplitName, held: HeldOut, is_new_N: NDArray[np.bool_]
    ) -> list[tuple[str, list[str]]]:
        """Write one row for each user who has a target, and return these users' own ids with their targets."""
        targets = [
            np.arange(end, stop)[is_new_N[end:stop]] for end, stop in zip(held.ends_H, held.stops_H, strict=True)
        ]
        has_target_H = np.array([len(places) > 0 for places in targets], dtype=bool)
        held = held.take(has_target_H)
        targets = [places for places in targets if len(places)]
        firsts_H = np.array([places[0] for places in targets], dtype=np.intp)
        self.log.dropped[f"{split}_without_new_item"] = int((~has_target_H).sum())
        # More than a model looks at: counts, sums and tastes in a profile are of all events, online too.
        begins_H = np.maximum(held.starts_H, held.ends_H - MAX_EVENTS)
        history = [np.arange(begin, end) for begin, end in zip(begins_H, held.ends_H, strict=True)]
        flat = np.concatenate([np.empty(0, dtype=np.intp), *history])
        offsets = pa.array(np.r_[0, np.cumsum([len(part) for part in history])].astype(np.int32))
        events = pa.StructArray.from_arrays(list(self._describe(flat).values()), fields=list(HISTORY_TYPE))
        items = [[self.items[code] for code in self.log.events.items_N[places].tolist()] for places in targets]
        times = [self.log.events.times_N[places] for places in targets]
        table = pa.table(
            {
                "user": pa.array([self.log.pseudonyms[code] for code in held.users_H.tolist()], pa.string()),
                "events": pa.ListArray.from_arrays(offsets, events),
                "items": pa.array(items, pa.list_(pa.string())),
                "times": pa.array(times, pa.list_(pa.float64())),
                "time": pa.array(self.log.events.times_N[firsts_H]),
                "k": pa.array(np.full(len(targets), EVALUATED_K, dtype=np.int64)),
            }
        )
        # Apart from the context: a request for a known user does not come with attributes.
        extra = {"context": self._describe_context(firsts_H), "attributes": self._describe_users(held.users_H)}
        for name, columns in extra.items():
            if columns:
                values = pa.StructArray.from_arrays(list(columns.values()), names=list(columns))
                table = table.append_column(name, values)
        pq.write_table(table, self.folder / f"{split}.parquet", compression="zstd")
        return [(self.log.users[code], found) for code, found in zip(held.users_H.tolist(), items, strict=True)]


def write_tables(path: Path, tables: Iterable[pa.Table]) -> None:
    """Write tables of one schema to a parquet file.

    Raises:
        DataError: there is none.
    """
    writer: pq.ParquetWriter | None = None
    for table in tables:
        writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
        writer.write_table(table)
    if writer is None:
        raise DataError(f"{path.name}: nothing to write: no event is left. Check data.min_interactions.")
    writer.close()
