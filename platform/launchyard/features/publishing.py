"""Publishing features: the rows that a data set was prepared with become what serving reads."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from launchyard.data.values.canonical import format_id
from launchyard.errors import RegistryError, SpecError
from launchyard.features.lock import LOCK_NAME, changing_features
from launchyard.features.sets import ENTITY, TIMESTAMP, FeatureSet, get_set
from launchyard.files.atomic import new_folder, write_text
from launchyard.kind import load_part
from launchyard.kinds import get_kind
from launchyard.privacy.pseudonyms import USER, list_pseudonyms
from launchyard.privacy.scan import erase_rows
from launchyard.records.events import EventLog
from launchyard.records.records import opening_records
from launchyard.settings import Settings
from launchyard.spec.blocks import Product

if TYPE_CHECKING:
    from launchyard.adapters.feast.online import OnlineReader, OnlineRow
    from launchyard.adapters.feast.store import FeatureStore, Materialized

STORE, READER = "launchyard.adapters.feast.store:FeatureStore", "launchyard.adapters.feast.online:OnlineReader"
"""Loaded when a product has features: Feast (0.67) takes seconds to import, and ``launchyard promote`` would wait."""
FEATURES_DIR = "features"
"""Folder of a prepared data set that holds the rows of its feature sets."""
VERSIONS_DIR = "versions"
"""Below the folder of a product's features: what each of its last versions was made with, by the bundle's digest."""
PUBLISHED_NAME = "published"
"""File that names the version whose features are published, by the bundle's digest."""
KEPT_VERSIONS = 5


def publish_features(settings: Settings, spec: Product, dataset_dir: Path) -> tuple[Materialized, ...]:
    """Publish the feature rows of a data set and bring the newest ones online; return what was written.

    Repeated, it does only what is still missing. A kind without features has nothing to publish, and needs no Feast.

    Raises:
        DataError: the data set lacks rows of a feature set.
        FeatureStoreError: the online store cannot be reached.
    """
    if not get_kind(spec.kind).load_features(spec):
        return ()
    with opening_store(settings, spec) as store:
        store.publish(dataset_dir / FEATURES_DIR)
        store.apply()
        # After publishing: nobody who is forgotten meanwhile can come back with the rows of an older run.
        for user in find_forgotten(settings, spec, dataset_dir / FEATURES_DIR):
            store.delete(USER, user)
        return store.materialize()


def keep_features(settings: Settings, spec: Product, dataset_dir: Path, digest: str) -> None:
    """Keep the feature rows that a version was made with, so that they can be published whenever it is released.

    Args:
        settings: Where features are kept.
        spec: The version's spec; nothing is kept of a kind without features.
        dataset_dir: The data set that the version was trained on.
        digest: Of the version's bundle.
    """
    if not get_kind(spec.kind).load_features(spec):
        return
    versions_dir = settings.features_dir(spec.product) / VERSIONS_DIR
    with changing_features(settings.features_dir(spec.product)):
        with new_folder(versions_dir / digest) as folder:
            # A copy, for a run's own files go when some later runs have ended.
            shutil.copytree(dataset_dir / FEATURES_DIR, folder / FEATURES_DIR)
        # By when they were kept, for a digest tells no order.
        newest = sorted(versions_dir.iterdir(), key=lambda path: path.stat().st_mtime)
        for old in newest[:-KEPT_VERSIONS]:
            shutil.rmtree(old, ignore_errors=True)


def publish_version(settings: Settings, spec: Product, digest: str) -> None:
    """Publish the feature rows that a version was made with; where they are gone, those published last stay.

    Raises:
        RegistryError: they are gone, and nothing was ever published.
        DataError: the rows are damaged.
        FeatureStoreError: the online store cannot be reached.
    """
    if not get_kind(spec.kind).load_features(spec):
        return
    folder = settings.features_dir(spec.product) / VERSIONS_DIR / digest
    if folder.is_dir():
        # Before the first row changes: after a crash anywhere below, it tells whose rows may be there.
        write_text(settings.features_dir(spec.product) / PUBLISHED_NAME, digest)
        publish_features(settings, spec, folder)
    elif not any((settings.features_dir(spec.product) / "offline").glob("*.parquet")):
        raise RegistryError(
            f"{spec.product}: the features of this version are not kept any more, and none are published. "
            "Run the product again."
        )


def find_published(settings: Settings, product: str) -> str | None:
    """Return the digest of the version whose features are published, or begun to be; None where nobody noted it."""
    path = settings.features_dir(product) / PUBLISHED_NAME
    return path.read_text(encoding="utf-8") if path.is_file() else None


def erase_user(settings: Settings, product: str, user: str) -> int:
    """Remove a user from all feature rows in files: published, kept of a version, of sets that no spec has any more.

    What a process that was killed left half written goes as a whole; nobody reads it.

    Returns:
        How many rows that were, those of remains not counted.
    """
    folder = settings.features_dir(product)
    with changing_features(folder):
        for path in sorted(folder.rglob(".*")):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            # All but the lock, which this very process holds.
            elif path.name != LOCK_NAME:
                path.unlink(missing_ok=True)
        return erase_rows(folder, user)


def find_forgotten(settings: Settings, spec: Product, features_dir: Path) -> list[str]:
    """Return the users of whom feature files hold rows from before they were forgotten."""
    with closing(EventLog(settings, spec.product)) as log:
        forgotten = {user: when.timestamp() for user, when in log.forgotten().items()}
    found: set[str] = set()
    for name in [found.name for found in get_feature_sets(spec) if found.entity == USER and forgotten]:
        table = pq.read_table(features_dir / f"{name}.parquet", columns=[ENTITY, TIMESTAMP])
        mine = table.filter(pc.is_in(table[ENTITY], value_set=pa.array(list(forgotten), pa.string())))
        pairs = zip(mine[ENTITY].to_pylist(), mine[TIMESTAMP].to_pylist(), strict=True)
        # Later rows are of a user who came back.
        found |= {user for user, known_at in pairs if known_at <= forgotten[user]}
    return sorted(found)


def refill_features(settings: Settings, spec: Product) -> tuple[Materialized, ...]:
    """Bring published rows online again where the store lost them; return what was written.

    Raises:
        FeatureStoreError: the online store cannot be reached, or nothing was published.
    """
    with opening_store(settings, spec) as store:
        return store.materialize()


@contextmanager
def opening_store(settings: Settings, spec: Product) -> Iterator[FeatureStore]:
    """Yield the feature store of a product and close it.

    Raises:
        SpecError: the product's kind has no features.
    """
    # First: a kind without features is told so without the seconds that Feast takes to load.
    sets = get_feature_sets(spec)
    store = cast("type[FeatureStore]", load_part(STORE))(settings, spec.product, sets)
    try:
        yield store
    finally:
        store.close()


def get_feature_sets(spec: Product) -> tuple[FeatureSet, ...]:
    """Return the feature sets of a product.

    Raises:
        SpecError: its kind has none.
    """
    sets = get_kind(spec.kind).load_features(spec)
    if not sets:
        raise SpecError(f"{spec.product}: products of kind '{spec.kind}' have no features. Nothing is to be done.")
    return sets


def get_feature_set(spec: Product, name: str) -> FeatureSet:
    """Return one feature set of a product.

    Raises:
        SpecError: there is none; the message names the nearest.
    """
    return get_set(get_feature_sets(spec), name)


def find_online_row(settings: Settings, spec: Product, feature_set: FeatureSet, entity_id: str) -> OnlineRow | None:
    """Return what the online store holds of a user or item by the id that the user's own data has; None for nothing.

    Raises:
        FeatureStoreError: the online store cannot be reached.
    """
    # A row of an older home may have the id in the form that the source had.
    keys: tuple[str, ...] = (format_id(entity_id) or entity_id, entity_id)
    if feature_set.entity == USER:
        with opening_records(settings) as records:
            keys = list_pseudonyms(records.get_signing_key(), spec.product, entity_id)
    open_reader = cast("type[OnlineReader]", load_part(READER))
    reader = open_reader(settings, spec.product, get_feature_sets(spec), timeout_ms=settings.timeout_s * 1000)
    try:
        rows = reader.read_rows(feature_set.name, keys)
        return next((row for row in rows if row is not None), None)
    finally:
        reader.close()
