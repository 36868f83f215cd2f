"""The feature store of one product: published rows, Feast's registry of them, point-in-time joins, the online copy.

    <home>/<namespace>/features/<product>/
      offline/<set>.parquet   published rows, in time order
      registry.db             Feast's registry: entities and feature views
      online.db               the online store, unless LAUNCHYARD_ONLINE_STORE names a Redis

Importing this module imports Feast (5 s). Array legend: N rows of a join, P pairs of entity and time among them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import feast
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from feast.infra.online_stores.helpers import get_online_store_from_config
from feast.protos.feast.types.Value_pb2 import Value
from numpy.typing import NDArray

from launchyard.adapters.feast.objects import (
    CODINGS,
    EVENT_TIMESTAMP,
    MARKS,
    OFFLINE_DIR,
    ROW,
    build_config,
    build_entity,
    build_view,
    encode_key,
    name_file,
)
from launchyard.adapters.feast.offline import (
    DEFAULT_SIZES,
    StepSizes,
    identify_publication,
    iter_newest,
    iter_vanished,
    name_vanished,
    publish_rows,
    read_publication,
    remove_rows,
    write_vanished,
)
from launchyard.adapters.feast.online import describe_store, explaining, read_online
from launchyard.errors import DataError, FeatureStoreError
from launchyard.features.lock import changing_features
from launchyard.features.rows import ARROW_TYPES
from launchyard.features.sets import TIMESTAMP, FeatureSet, get_set
from launchyard.files import atomic
from launchyard.settings import Settings


@dataclass(frozen=True)
class Materialized:
    """What filling the online store with one set did."""

    set_name: str
    num_rows: int
    """Rows of the published file."""
    num_written: int
    """Entities that were written now; 0 when all were there."""
    seconds: float


@dataclass(frozen=True)
class PublishedSet:
    """One set as it is published."""

    feature_set: FeatureSet
    num_rows: int
    newest: float | None
    """When the last row became known, seconds since 1970."""
    is_online: bool
    """Whether the online store holds all of it."""


class FeatureStore:
    """The features of one product. What changes it is done by one process at a time."""

    def __init__(
        self,
        settings: Settings,
        product: str,
        sets: Sequence[FeatureSet],
        *,
        folder: Path | None = None,
        sizes: StepSizes = DEFAULT_SIZES,
    ) -> None:
        """Open the store in ``folder``, by default the product's own; nothing is connected to yet."""
        self._sizes = sizes
        self._sets = {found.name: found for found in sets}
        self._folder = folder or settings.features_dir(product)
        self._where = describe_store(settings, product)
        self._config = build_config(settings, product, self._folder, timeout_s=settings.timeout_s)
        self._online = get_online_store_from_config(self._config.online_store)
        self._views = {found.name: build_view(found) for found in (*sets, MARKS)}

    @property
    def set_names(self) -> tuple[str, ...]:
        """Names of the product's sets."""
        return tuple(self._sets)

    def publish(self, features_dir: Path) -> bool:
        """Make the rows in ``features_dir`` (``<set>.parquet`` each) the product's, all sets or none.

        Returns:
            Whether anything changed: rows that are published already stay as they are.

        Raises:
            DataError: a set's file is missing or not fit.
        """
        sources = {name: features_dir / f"{name}.parquet" for name in self._sets}
        for name, source in sources.items():
            if not source.is_file():
                raise DataError(f"{source}: the rows of feature set '{name}' are missing. Prepare the data again.")
        ids = {name: identify_publication(source, self._sets[name]) for name, source in sources.items()}
        with self._changing():
            if ids == {path.stem: read_publication(path)[0] for path in self._find_files()}:
                return False
            with atomic.new_folder(self._folder / OFFLINE_DIR) as offline:
                for name, source in sources.items():
                    target, before = offline / f"{name}.parquet", self._folder / name_file(name)
                    publish_rows(source, target, self._sets[name], ids[name], self._sizes)
                    write_vanished(before, target, name_vanished(target), self._sets[name].entity, self._sizes)
        return True

    def apply(self) -> None:
        """Register the sets with Feast and remove those that are no longer the product's, online rows included.

        Raises:
            FeatureStoreError: the online store cannot be reached.
        """
        with self._changing(), explaining(self._where):
            views = [self._views[name] for name in self._sets]
            entities = {found.entity: build_entity(found) for found in self._sets.values()}
            stale = [view for view in self._feast.list_feature_views() if view.name not in self._sets]
            # Feast (0.67) deletes what it is told to delete only where partial is False.
            self._feast.apply([*entities.values(), *views], objects_to_delete=stale, partial=False)
            # Feast makes tables for registered views alone; the marks are none.
            self._prepare_online()
            # Without a mark a set counts as not online, should it ever come back.
            self._online.remove_entities(self._config, [self._views[MARKS.name]], _mark_keys(v.name for v in stale))

    def materialize(self) -> tuple[Materialized, ...]:
        """Bring the newest row of every entity into the online store, in constant memory.

        What an earlier publication had and this one has not is emptied there. What is online already is not written
        again; after an interruption it goes on where it was; a store that lost its data is filled anew.

        Raises:
            FeatureStoreError: the online store cannot be reached, or nothing was published.
        """
        with self._changing(), explaining(self._where):
            self._prepare_online()
            return tuple(self._materialize(found) for found in self._sets.values())

    def join(self, rows: pa.Table, set_names: Sequence[str]) -> pa.Table:
        """Return the rows with what was known of their entities at their times.

        Args:
            rows: ``timestamp`` in seconds since 1970, and for each set a column named as its entity.
            set_names: The sets to join.

        Returns:
            The N rows in order, with columns ``<set>.timestamp`` and ``<set>.<feature>``: those of the newest row that
            is not after the row's time and has not expired then; all null where there is none. What such a row leaves
            open has its default.

        Raises:
            FeatureStoreError: the sets were not published.
            SpecError: there is no such set.
        """
        for name in set_names:
            feature_set = get_set(self._sets.values(), name)
            positions_N = self._find_rows(rows, feature_set)
            for column, values in self._take(feature_set, positions_N).items():
                rows = rows.append_column(f"{name}.{column}", values)
        return rows

    def list_sets(self) -> tuple[PublishedSet, ...]:
        """Return what is published of each registered set.

        Raises:
            FeatureStoreError: the online store cannot be reached.
        """
        registered = {view.name for view in self._feast.list_feature_views()}
        with explaining(self._where):
            self._prepare_online()
            return tuple(self._describe(found) for name, found in self._sets.items() if name in registered)

    def delete(self, entity: str, key: str) -> int:
        """Remove one entity, such as one user, from published rows and the online store.

        Returns:
            The number of published rows that were removed.

        Raises:
            FeatureStoreError: the online store cannot be reached; what was removed stays removed, do it again.
        """
        num_removed = 0
        with self._changing(), explaining(self._where):
            self._prepare_online()
            mine = [found for found in self._sets.values() if found.entity == entity]
            marks: list[tuple[FeatureSet, str, int]] = []
            for found in mine:
                path = self._folder / name_file(found.name)
                if path.is_file():
                    # Asked before the removal, after which the file has fewer rows than the mark says.
                    was_online = self._read_mark(found) == read_publication(path)
                    num_removed += remove_rows(path, found, key)
                    publication, num_rows = read_publication(path)
                    # Half online: it is begun anew, since the numbers of its rows have moved.
                    marks.append((found, publication, num_rows if was_online else 0))
            self._online.remove_entities(
                self._config, [self._views[found.name] for found in mine], [encode_key(entity, key)]
            )
            for mark in marks:
                self._write_mark(*mark)
        return num_removed

    def close(self) -> None:
        """Close all connections."""
        self._online.close()

    @cached_property
    def _feast(self) -> feast.FeatureStore:
        self._folder.mkdir(parents=True, exist_ok=True)
        return feast.FeatureStore(config=self._config)

    def _changing(self) -> AbstractContextManager[None]:
        return changing_features(self._folder)

    def _prepare_online(self) -> None:
        """Create the tables that are missing; a Redis needs none."""
        self._online.update(self._config, [], list(self._views.values()), [], [], partial=True)

    def _find_files(self) -> list[Path]:
        return sorted((self._folder / OFFLINE_DIR).glob("*.parquet"))

    def _get_file(self, feature_set: FeatureSet) -> Path:
        path = self._folder / name_file(feature_set.name)
        if not path.is_file():
            raise FeatureStoreError(
                f"{path}: nothing is published of set '{feature_set.name}'. Release a version of the product first."
            )
        return path

    def _materialize(self, feature_set: FeatureSet) -> Materialized:
        started = time.monotonic()
        path = self._get_file(feature_set)
        publication, num_rows = read_publication(path)
        found = self._read_mark(feature_set)
        start = found[1] if found is not None and found[0] == publication else 0
        num_written = 0
        # Before the first row: the mark of an older publication would say that all of it is there.
        if found is None or found[0] != publication:
            self._write_mark(feature_set, publication, 0)
        if start < num_rows:
            for done, table in iter_newest(path, feature_set, start=start, sizes=self._sizes):
                self._write(feature_set, table)
                self._write_mark(feature_set, publication, done)
                num_written += table.num_rows
        # Also when keys were emptied alone: replicas keep what they have read until a mark changes.
        if self._empty_vanished(feature_set, path) or start < num_rows:
            self._write_mark(feature_set, publication, num_rows)
        # Last: cut off before, the same keys are emptied again, which changes nothing.
        name_vanished(path).unlink(missing_ok=True)
        return Materialized(feature_set.name, num_rows, num_written, time.monotonic() - started)

    def _empty_vanished(self, feature_set: FeatureSet, path: Path) -> bool:
        """Empty the online rows of entities that the set has no longer; other sets of the same entities stay.

        Returns:
            Whether there were any.
        """
        has_emptied = False
        # Emptied and not removed: in a Redis one hash holds the rows of all sets of an entity.
        names = [TIMESTAMP, *(feature.name for feature in feature_set.features)]
        now = datetime.now(UTC)
        for keys in iter_vanished(path, feature_set.entity):
            empty = [
                (encode_key(feature_set.entity, key), {name: Value() for name in names}, now, None) for key in keys
            ]
            self._online.online_write_batch(self._config, self._views[feature_set.name], empty, None)
            has_emptied = True
        return has_emptied

    def _write(self, feature_set: FeatureSet, table: pa.Table) -> None:
        encoders = {TIMESTAMP: CODINGS["number"].encode} | {
            f.name: CODINGS[f.type].encode for f in feature_set.features
        }
        columns = [
            # An empty value is written too: else the value of an older row would stay.
            [Value() if value is None else encode(value) for value in table[name].to_pylist()]
            for name, encode in encoders.items()
        ]
        keys = [encode_key(feature_set.entity, key) for key in table[feature_set.entity].to_pylist()]
        times = table[EVENT_TIMESTAMP].to_pylist()
        rows = [
            (key, dict(zip(encoders, values, strict=True)), at, None)
            for key, at, *values in zip(keys, times, *columns, strict=True)
        ]
        self._online.online_write_batch(self._config, self._views[feature_set.name], rows, None)

    def _read_mark(self, feature_set: FeatureSet) -> tuple[str, int] | None:
        """Return publication and rows that the online store has of a set."""
        view = self._views[MARKS.name]
        mark = read_online(self._online, self._config, view, MARKS, [feature_set.name])[0]
        return None if mark is None else (mark.values["publication"], mark.values["num_rows"])

    def _write_mark(self, feature_set: FeatureSet, publication: str, num_rows: int) -> None:
        """Say what is online now. Written after each change: replicas keep what they read until a mark changes."""
        now = datetime.now(UTC)
        values: Mapping[str, Value] = {
            TIMESTAMP: Value(double_val=now.timestamp()),
            "publication": Value(string_val=publication),
            "num_rows": Value(int64_val=num_rows),
        }
        key = encode_key(MARKS.entity, feature_set.name)
        self._online.online_write_batch(self._config, self._views[MARKS.name], [(key, values, now, None)], None)

    def _describe(self, feature_set: FeatureSet) -> PublishedSet:
        path = self._get_file(feature_set)
        publication, num_rows = read_publication(path)
        with pq.ParquetFile(path) as file:
            last = file.read_row_group(file.num_row_groups - 1, columns=[TIMESTAMP]) if num_rows else None
        return PublishedSet(
            feature_set=feature_set,
            num_rows=num_rows,
            newest=None if last is None else last[TIMESTAMP][-1].as_py(),
            is_online=self._read_mark(feature_set) == (publication, num_rows),
        )

    def _find_rows(self, rows: pa.Table, feature_set: FeatureSet) -> NDArray[np.int64]:
        """Return for each of the N rows the number of the published row that held at its time, -1 for none."""
        asked = pd.DataFrame(
            {
                feature_set.entity: rows[feature_set.entity].cast(pa.string()).to_pandas(),
                EVENT_TIMESTAMP: _to_datetimes(rows[TIMESTAMP]),
            }
        )
        # Feast answers each pair of entity and time once, and leaves out entities of which nothing held.
        pairs = asked.drop_duplicates(ignore_index=True)
        answers = [self._ask(feature_set, part) for part in self._divide(pairs, feature_set)]
        if not answers:
            return np.full(rows.num_rows, -1, dtype=np.int64)
        joined = asked.merge(pd.concat(answers), how="left", on=[feature_set.entity, EVENT_TIMESTAMP])
        positions_N: NDArray[np.int64] = joined[ROW].fillna(-1).to_numpy().astype(np.int64)
        return positions_N

    def _ask(self, feature_set: FeatureSet, pairs: pd.DataFrame) -> pd.DataFrame:
        """Return the row number of each pair of which something held.

        Values are taken by row number and not by Feast: through pandas a missing integer makes all of them floats.
        """
        found: pd.DataFrame = self._feast.get_historical_features(pairs, [f"{feature_set.name}:{ROW}"]).to_df()
        found[EVENT_TIMESTAMP] = found[EVENT_TIMESTAMP].astype(pairs[EVENT_TIMESTAMP].dtype)
        return found

    def _divide(self, pairs: pd.DataFrame, feature_set: FeatureSet) -> Iterator[pd.DataFrame]:
        """Yield the pairs in parts that Feast can join in bounded memory, entities of the file only."""
        keys = pq.read_table(self._get_file(feature_set), columns=[feature_set.entity])[feature_set.entity]
        counts = keys.value_counts().to_pylist() if len(keys) else []
        rows_of = {count["values"]: count["counts"] for count in counts}
        num_joined_P = pairs[feature_set.entity].map(rows_of)
        known = pairs[num_joined_P.notna()]
        part_P = num_joined_P.dropna().cumsum() // self._sizes.joined_rows
        for _, part in known.groupby(part_P):
            yield part

    def _take(self, feature_set: FeatureSet, positions_N: NDArray[np.int64]) -> dict[str, Any]:
        """Return the columns of a set at the given published rows, all null at -1."""
        names = [TIMESTAMP, *(feature.name for feature in feature_set.features)]
        published = pq.read_table(self._get_file(feature_set), columns=names)
        is_known_N = pa.array(positions_N >= 0)
        taken = published.take(pa.array(positions_N, mask=positions_N < 0))
        columns = {name: taken[name] for name in names}
        for feature in feature_set.features:
            if feature.default is not None:
                default = pa.scalar(feature_set.fill({})[feature.name], ARROW_TYPES[feature.type])
                is_open_N = pc.and_(is_known_N, pc.is_null(columns[feature.name]))
                columns[feature.name] = pc.if_else(is_open_N, default, columns[feature.name])
        return columns


def _to_datetimes(seconds: pa.ChunkedArray) -> pd.Series:
    micros = pc.cast(pc.round(pc.multiply(seconds.cast(pa.float64()), 1e6)), pa.int64())
    return micros.cast(pa.timestamp("us", tz="UTC")).to_pandas()


def _mark_keys(set_names: Iterator[str]) -> list[Any]:
    return [encode_key(MARKS.entity, name) for name in set_names]
