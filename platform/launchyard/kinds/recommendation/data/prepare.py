"""Preparation of a recommender's data: events by user and time, what is held out, the catalogue and the features.

Array legend: N events, I items, H held-out users.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from launchyard.contract.rows import PrepareJob
from launchyard.data.checks import require_checks
from launchyard.data.intake import number_rows
from launchyard.data.manifest import MANIFEST_NAME, CheckResult, DatasetManifest, SourceRecord, SplitName
from launchyard.errors import DataError
from launchyard.features.rows import write_feature_set
from launchyard.features.sets import ENTITY, TIMESTAMP
from launchyard.files.atomic import new_folder
from launchyard.kinds.recommendation.data.catalogue import Catalogue, read_catalogue, read_users
from launchyard.kinds.recommendation.data.checks import ADVICE, Counts, check_events, warn_of_events
from launchyard.kinds.recommendation.data.clean_log import CleanLog, fingerprint, profile_columns
from launchyard.kinds.recommendation.data.collected import limit_collected
from launchyard.kinds.recommendation.data.event_rows import Codebook, EventLogReader, Events, concatenate
from launchyard.kinds.recommendation.data.profiles import (
    VECTOR_SIZE,
    iter_item_statistics,
    iter_profiles,
)
from launchyard.kinds.recommendation.data.recipe import EventRecipe
from launchyard.kinds.recommendation.data.split import HELD_OUT, Division, divide, hash_split
from launchyard.kinds.recommendation.data.split_files import EventSplits, write_tables
from launchyard.kinds.recommendation.predict.item_table import ItemTable
from launchyard.kinds.recommendation.spec import ITEM_STATISTICS, USER_PROFILE, Recommendation
from launchyard.kinds.recommendation.train.vectors import compute_item_vectors
from launchyard.privacy.pseudonyms import list_pseudonyms, pseudonymise
from launchyard.records.events import EventLog
from launchyard.records.records import opening_records
from launchyard.sources.forms.tables import iter_tables
from launchyard.sources.resolve import Fetched, fetch

WITHOUT_TIMES = (
    "Where the order of the rows is all there is, add a column of their numbers and let it be the time: see 'If your "
    "file looks like this' in docs/guides/data-and-sources.md."
)
SAMPLE_EVENTS = 2_000
"""Events that are looked at for what is wrong, as rows of other kinds are."""
FEATURES_FOLDER = "features"
ITEMS_NAME, USERS_NAME = "items.parquet", "users.parquet"


def prepare_events(job: PrepareJob) -> DatasetManifest:
    """Write the prepared data set of a recommendation product, whole or not at all, and return its manifest.

    The same rows in the same order give the same split on any machine. Users are pseudonyms under a key of the
    namespace, so the files of two namespaces differ in these alone.

    Raises:
        DataError: the rows are not fit to train on; all checks that failed are listed.
        SourceError: a source cannot be fetched or read.
    """
    return _Preparation(job).run()


class _Preparation:
    """The steps of one preparation."""

    def __init__(self, job: PrepareJob) -> None:
        self.job = job
        self.spec = cast(Recommendation, job.spec)
        self.data = self.spec.data
        self.recipe = EventRecipe(job.spec)
        self.sources: list[SourceRecord] = []
        with opening_records(job.settings) as records:
            key = records.get_signing_key()
        self.list_pseudonyms: Callable[[str], tuple[str, ...]] = partial(list_pseudonyms, key, self.spec.product)
        self.make_pseudonym: Callable[[str], str] = partial(pseudonymise, key, self.spec.product)
        with closing(EventLog(job.settings, self.spec.product)) as event_log:
            self.forgotten = {user: when.timestamp() for user, when in event_log.forgotten().items()}
            limits = self.data.collected_per_user_per_day, self.data.collected_per_sender_per_day
            received = event_log.iter_all() if self.data.collected_events else ()
            collected = limit_collected(received, per_user=limits[0], per_sender=limits[1])
        self.collected = collected.events
        self.over_limits = dict(collected.dropped)
        self.warnings = collected.describe(*limits)

    def run(self) -> DatasetManifest:
        """Read, clean, divide and write."""
        with new_folder(self.job.output_dir) as folder:
            catalogue = Catalogue() if self.data.items is None else self._read_catalogue()
            log, checks = self._read_log(catalogue)
            division = divide(log.events, log.users, self.data.split)
            catalogue_table, log = self._order_items(catalogue, log, division)
            users = self._write_users(folder)
            items = catalogue_table["item"].to_pylist()
            splits = EventSplits(folder, log, items, users)
            splits.write_train(division.trains_N)
            is_new_N = self._find_new(log)
            targets = {name: splits.write_held_out(name, held, is_new_N) for name, held in division.held_out.items()}
            pq.write_table(catalogue_table, folder / ITEMS_NAME, compression="zstd")
            self._write_features(folder, log, catalogue_table)
            num_rows: dict[SplitName, int] = {"train": int(division.trains_N.sum())}
            num_rows |= {name: len(found) for name, found in targets.items()}
            checks += _check_held_out(num_rows)
            require_checks(checks, ADVICE)
            manifest = DatasetManifest(
                product=self.spec.product,
                kind=self.spec.kind,
                fingerprint=fingerprint(log, catalogue_table),
                split_hash=hash_split(targets),
                num_rows=num_rows,
                dropped={reason: count for reason, count in sorted(log.dropped.items()) if count},
                sources=tuple(self.sources),
                checks=tuple(checks),
                profile=tuple(profile_columns(log, catalogue_table)),
                warnings=(*self.warnings, *warn_of_events(log.events, catalogue_table.num_rows)),
            )
            (folder / MANIFEST_NAME).write_text(manifest.model_dump_json(indent=1), encoding="utf-8")
        return manifest

    def pseudonymise(self, user: str) -> str:
        """Return a user's pseudonym; who was forgotten under another form of the id is forgotten under this."""
        pseudonym = self.make_pseudonym(user)
        if self.forgotten and pseudonym not in self.forgotten:
            moments = [self.forgotten[name] for name in self.list_pseudonyms(user) if name in self.forgotten]
            if moments:
                self.forgotten[pseudonym] = max(moments)
        return pseudonym

    def _fetch(self, uri: str) -> Fetched:
        fetched = fetch(uri, self.job.settings, base_dir=self.job.base_dir, on_progress=self.job.watch.on_download)
        self.sources.append(fetched.record)
        return fetched

    def _read_catalogue(self) -> Catalogue:
        items = self.data.items
        assert items is not None  # noqa: S101 - the caller asked
        return read_catalogue(self._fetch(items.source), items)

    def _read_log(self, catalogue: Catalogue) -> tuple[CleanLog, list[CheckResult]]:
        """Return the cleaned events and the checks that they passed.

        Raises:
            DataError: they did not.
        """
        reader = EventLogReader(
            self.data.interactions.context, Codebook(catalogue.ids), grow_items=self.data.items is None
        )
        advice = {self.data.interactions.timestamp: WITHOUT_TIMES}
        tables = iter_tables(self._fetch(self.data.source), self.recipe.source_columns(), advice=advice)
        sample: list[pa.Table] = []
        for events in self.job.map_batches(self.recipe, number_rows(tables)):
            reader.add(events)
            if sum(map(len, sample)) < SAMPLE_EVENTS:
                sample.append(events)
            if self.job.watch.on_rows is not None:
                self.job.watch.on_rows(reader.num_read)
        self.warnings += self.recipe.inspect(pa.concat_tables(sample))
        log = self._clean(reader)
        if self.data.items is None:
            # Afterwards: the endpoint's events may name items that the log lacks.
            catalogue.add_unknown(reader.items.texts)
        counts = Counts(
            num_read=reader.num_read,
            num_null=reader.num_null,
            num_unknown_items=reader.num_unknown_items,
            unknown_items=sorted(reader.unknown_items),
            num_duplicates=log.dropped["exact_duplicate"],
            num_rows=len(log.events),
            num_users=len(log.users),
            num_items=len(np.unique(log.events.items_N)),
        )
        checks = check_events(self.data.checks, counts)
        require_checks(checks, ADVICE)
        if catalogue.num_repeated:
            self.warnings.append(
                f"data.items: {catalogue.num_repeated:,} rows repeat the id of an earlier one; the last one counts."
            )
        return log, checks

    def _clean(self, reader: EventLogReader) -> CleanLog:
        """Return the events without repeats, forgotten users, and what is too rare."""
        users = reader.users.texts
        pseudonyms = [self.pseudonymise(user) for user in users]
        dropped = {"null": reader.num_null, "unknown_item": reader.num_unknown_items, **self.over_limits}
        events = reader.collect().sort()
        kept = events.drop_repeats()
        dropped["exact_duplicate"] = len(events) - len(kept)
        if self.collected:
            # What a source has meanwhile, too, is one event: counted once, and no fault of the source.
            kept = self._add_collected(kept, reader, users, pseudonyms).sort().drop_repeats()
        events, kept = kept, self._leave_out_forgotten(kept, pseudonyms)
        dropped["forgotten_user"] = len(events) - len(kept)
        events, kept = kept, _leave_out_rare(kept, "items_N", self.data.min_interactions.item)
        dropped["rare_item"] = len(events) - len(kept)
        events, kept = kept, _leave_out_rare(kept, "users_N", self.data.min_interactions.user)
        dropped["rare_user"] = len(events) - len(kept)
        present = np.unique(kept.users_N)
        closed_up = replace(kept, users_N=np.searchsorted(present, kept.users_N).astype(np.int32))
        contexts = {name: book.texts for name, book in reader.contexts.items()}
        names = [[texts[code] for code in present.tolist()] for texts in (users, pseudonyms)]
        return CleanLog(closed_up, names[0], names[1], reader.kinds.texts, contexts, dropped)

    def _add_collected(self, events: Events, reader: EventLogReader, users: list[str], pseudonyms: list[str]) -> Events:
        """Return the events with those that the endpoint was sent; ``users`` and ``pseudonyms`` get the new ones."""
        codes = {pseudonym: code for code, pseudonym in enumerate(pseudonyms)}
        if any(event.user not in codes for event in self.collected):
            # Older code kept events under the form of the id that the request had.
            codes = {name: code for code, user in enumerate(users) for name in self.list_pseudonyms(user)} | codes
        for event in self.collected:
            if event.user not in codes:
                codes[event.user] = len(users)
                users.append(event.user)
                pseudonyms.append(event.user)
        items = pa.array([event.item for event in self.collected], pa.string())
        kinds = pa.array([event.event for event in self.collected], pa.string())
        sent = Events(
            np.array([codes[event.user] for event in self.collected], dtype=np.int32),
            reader.items.encode(items, grow=reader.grow_items),
            np.array([event.timestamp.timestamp() for event in self.collected]),
            reader.kinds.encode(kinds, grow=True),
            np.array([event.weight for event in self.collected], dtype=np.float32),
            np.full((len(reader.contexts), len(self.collected)), -1, dtype=np.int32),
        )
        return concatenate([events, sent.take(sent.items_N >= 0)])

    def _leave_out_forgotten(self, events: Events, pseudonyms: list[str]) -> Events:
        """Return the events without what users did before they were forgotten."""
        if not self.forgotten:
            return events
        since_U = np.array([self.forgotten.get(pseudonym, -np.inf) for pseudonym in pseudonyms])
        return events.take(events.times_N > since_U[events.users_N])

    def _leave_out_rows(self, path: Path) -> None:
        """Write the rows of a user set anew without those of forgotten users."""
        table = pq.read_table(path)
        since_N = np.array([self.forgotten.get(user, -np.inf) for user in table[ENTITY].to_pylist()])
        pq.write_table(table.filter(pa.array(table[TIMESTAMP].to_numpy() > since_N)), path, compression="zstd")

    def _order_items(self, catalogue: Catalogue, log: CleanLog, division: Division) -> tuple[pa.Table, CleanLog]:
        """Return the catalogue, most popular item of the training events first, and the events in its positions.

        Without a catalogue of the user's own it holds the items that still have an event.
        """
        num_events_I = np.bincount(log.events.items_N[division.trains_N], minlength=len(catalogue.ids))
        order_I = np.argsort(-num_events_I, kind="stable")
        if self.data.items is None:
            is_present_I = np.bincount(log.events.items_N, minlength=len(catalogue.ids)) > 0
            order_I = order_I[is_present_I[order_I]]
        position_I = np.full(len(catalogue.ids), -1, dtype=np.int32)
        position_I[order_I] = np.arange(len(order_I), dtype=np.int32)
        events = replace(log.events, items_N=position_I[log.events.items_N])
        table = catalogue.to_table(order_I, num_events_I)
        trains = events.take(division.trains_N)
        vectors_IV = compute_item_vectors(trains.users_N, trains.items_N, table.num_rows, VECTOR_SIZE)
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(vectors_IV.ravel()), VECTOR_SIZE)
        return table.append_column("vector", vectors), replace(log, events=events)

    def _find_new(self, log: CleanLog) -> NDArray[np.bool_]:
        """Return which events may be asked for: with ``exclude_seen`` no item that the user took before."""
        events = log.events
        if not self.spec.serve.rules.exclude_seen:
            return np.ones(len(events), dtype=bool)
        # A stable sort keeps the events of one user and item in the order of time.
        order_N = np.lexsort((events.items_N, events.users_N))
        users_N, items_N = events.users_N[order_N], events.items_N[order_N]
        is_new_N = np.ones(len(events), dtype=bool)
        is_new_N[order_N[1:]] = (users_N[1:] != users_N[:-1]) | (items_N[1:] != items_N[:-1])
        return is_new_N

    def _write_users(self, folder: Path) -> pa.Table | None:
        users = self.data.users
        if users is None:
            return None
        table = read_users(self._fetch(users.source), users, self.pseudonymise)
        table = table.filter(pa.array([user not in self.forgotten for user in table["user"].to_pylist()], pa.bool_()))
        pq.write_table(table, folder / USERS_NAME, compression="zstd")
        return table

    def _write_features(self, folder: Path, log: CleanLog, catalogue: pa.Table) -> None:
        ids = catalogue["item"].to_pylist()
        facts = ItemTable.read(catalogue).facts
        (folder / FEATURES_FOLDER).mkdir()
        write_tables(
            folder / FEATURES_FOLDER / f"{USER_PROFILE}.parquet",
            iter_profiles(log.events, log.pseudonyms, facts, self.data.max_history),
        )
        write_tables(folder / FEATURES_FOLDER / f"{ITEM_STATISTICS}.parquet", iter_item_statistics(log.events, ids))
        for name, declared in self.spec.features.sets.items():
            key = self.pseudonymise if declared.entity == "user" else str
            path = folder / FEATURES_FOLDER / f"{name}.parquet"
            write_feature_set(name, declared, self._fetch(declared.source), path, make_key=key)
            if declared.entity == "user":
                self._leave_out_rows(path)
            elif not set(pq.read_table(path, columns=[ENTITY])[ENTITY].to_pylist()) & set(ids):
                raise DataError(
                    f"features.sets.{name}: none of its ids is an item of the catalogue. "
                    f"Check features.sets.{name}.key."
                )


def _leave_out_rare(events: Events, column: str, fewest: int) -> Events:
    codes_N = getattr(events, column)
    return events if fewest <= 1 else events.take(np.bincount(codes_N)[codes_N] >= fewest)


def _check_held_out(num_rows: Mapping[SplitName, int]) -> list[CheckResult]:
    return [
        CheckResult(
            name=f"{name}_users",
            rule="at least 1",
            value=num_rows[name],
            passed=num_rows[name] >= 1,
            detail="users need three events or more to hold two out",
        )
        for name in HELD_OUT
    ]
