"""Forgetting a user: what goes at once, and what goes with the next training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from launchyard.bundle.store import BundleStore
from launchyard.data.manifest import MANIFEST_NAME, load_manifest
from launchyard.evaluation.training_rows import TrainingRows
from launchyard.features.publishing import erase_user, opening_store
from launchyard.kinds import get_kind
from launchyard.privacy.pseudonyms import USER, list_pseudonyms
from launchyard.privacy.scan import Trace, count_rows, find_in_tables, iter_traces
from launchyard.records.events import EventLog
from launchyard.records.records import Records, VersionRecord, opening_records
from launchyard.rollout.change import get_spec
from launchyard.settings import Settings
from launchyard.spec.blocks import Product

RECORDS_FILES = "records.db"
"""Start of the names of the embedded records' files, which are looked into as a database."""
TRAIN_NAME = "train.parquet"


@dataclass(frozen=True)
class Counts:
    """What is kept of a user where it can be removed at once."""

    events: int
    feedback: int
    features: int
    """Rows of published features; their online copies are not counted."""
    training_rows: int = 0
    """Digests of rows that versions were trained on."""

    @property
    def total(self) -> int:
        """All of them."""
        return self.events + self.feedback + self.features + self.training_rows


@dataclass(frozen=True)
class Remains:
    """Files of one run, version or training that name a user, and that the next training replaces."""

    place: str
    num_files: int
    count: int
    """Rows and mentions in them."""


@dataclass(frozen=True)
class Findings:
    """All that is kept of one user."""

    user: str
    """The pseudonym."""
    now: Counts
    later: tuple[Remains, ...]
    learned: tuple[int, ...]
    """Versions whose model learned from rows of this user, as far as their data sets are still there."""
    formers: tuple[str, ...] = ()
    """Pseudonyms of other forms of the id, under which older code kept something of the user."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing is kept at all."""
        return not (self.now.total or self.later or self.learned)


def find_user(settings: Settings, product: str, user: str) -> Findings:
    """Return what is kept of a user, given by the product's own id; changes nothing.

    Raises:
        RegistryError: there is no such product.
    """
    with opening_records(settings) as records, closing(EventLog(settings, product)) as log:
        versions = _list_versions(settings, records, product)
        pseudonym, *others = list_pseudonyms(records.get_signing_key(), product, user)
        in_tables = find_in_tables(settings.root, others)
        formers = [
            other
            for other in others
            if other in in_tables or log.count_of(other) or records.count_feedback_of(product, other)
        ]
        known = (pseudonym, *formers)
        now = Counts(
            events=sum(map(log.count_of, known)),
            feedback=sum(records.count_feedback_of(product, name) for name in known),
            features=sum(count_rows(settings.features_dir(product), name) for name in known),
            training_rows=sum(map(TrainingRows(settings, product).count_of, known)),
        )
    traces = _list_files(settings, product, known)
    return Findings(
        pseudonym, now, _sum_up(settings, traces, versions), _find_learned(traces, versions), tuple(formers)
    )


def forget_user(settings: Settings, product: str, user: str) -> Findings:
    """Remove what is kept of a user and can be removed at once; return what was found before.

    The user is noted as forgotten, whether known or not: the next preparation leaves out what it finds in the
    sources, and replicas drop what they remember within about a second. Events that arrive later are kept again. Done
    again, or after it was cut off, it removes what is left.

    Raises:
        RegistryError: there is no such product, or the database cannot be used.
        FeatureStoreError: the online store cannot be reached; do it again.
    """
    found = find_user(settings, product, user)
    with opening_records(settings) as records, closing(EventLog(settings, product)) as log:
        known = (found.user, *found.formers)
        for name in known:
            # First: a publication that is under way looks, before it brings rows online, for who was forgotten.
            log.forget(name)
            records.forget_feedback(product, name)
        spec = _find_spec(settings, records, product)
        if spec is not None and settings.features_dir(product).is_dir() and get_kind(spec.kind).load_features(spec):
            # The store first: it knows how to keep its publications in step with what is online.
            with opening_store(settings, spec) as store:
                for name in known:
                    store.delete(USER, name)
        for name in known:
            if settings.features_dir(product).is_dir():
                # Also what the store does not know: files of sets that no spec has any more, and remains of a crash.
                erase_user(settings, product, name)
            TrainingRows(settings, product).forget(name)
        # Last, when all rows are gone: it writes the whole file of the database anew.
        log.erase_deleted()
    return found


def _list_versions(settings: Settings, records: Records, product: str) -> list[VersionRecord]:
    """Return the versions of a product, none for one that only runs are known of."""
    if product not in records.list_products() and settings.runs_dir(product).is_dir():
        return []
    return records.list_versions(product)


def _find_spec(settings: Settings, records: Records, product: str) -> Product | None:
    """Return the product's spec; None for one that only runs are known of."""
    return get_spec(settings, product) if _list_versions(settings, records, product) else None


def _list_files(settings: Settings, product: str, pseudonyms: Sequence[str]) -> list[Trace]:
    """Return the files of the namespace that name a user, but for the published features and the records.

    A pseudonym belongs to one product, so those of all products may be looked into.
    """
    features_dir = settings.features_dir(product)
    counts: Counter[Path] = Counter()
    for trace in (trace for pseudonym in pseudonyms for trace in iter_traces(settings.root, pseudonym)):
        if not (trace.path.is_relative_to(features_dir) or trace.path.name.startswith(RECORDS_FILES)):
            counts[trace.path] += trace.count
    return [Trace(path, count) for path, count in sorted(counts.items())]


def _sum_up(settings: Settings, traces: list[Trace], versions: list[VersionRecord]) -> tuple[Remains, ...]:
    store = BundleStore(settings)
    folders = {store.find_path(version.bundle_uri): f"version {version.version}" for version in versions}
    files: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    for trace in traces:
        place = next((name for folder, name in folders.items() if trace.path.is_relative_to(folder)), None)
        place = place or _name_place(trace.path.relative_to(settings.root))
        files[place] += 1
        counts[place] += trace.count
    return tuple(Remains(place, files[place], counts[place]) for place in files)


def _name_place(path: Path) -> str:
    """Return the folder that a file goes with: that of a run or training, else its own."""
    return str(Path(*path.parts[:3])) if path.parts[0] in ("runs", "training") else str(path.parent)


def _find_learned(traces: list[Trace], versions: list[VersionRecord]) -> tuple[int, ...]:
    """Return the versions that were trained on data sets with rows of the user."""
    folders = {trace.path.parent for trace in traces if trace.path.name == TRAIN_NAME}
    fingerprints = {load_manifest(folder).fingerprint for folder in folders if (folder / MANIFEST_NAME).is_file()}
    return tuple(version.version for version in versions if version.fingerprint in fingerprints)
