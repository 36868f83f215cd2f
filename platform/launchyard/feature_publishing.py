"""Publishing features: the rows that a data set was prepared with become what serving reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from launchyard.kind import get_kind
from launchyard.settings import Settings
from launchyard.spec.blocks import Product

if TYPE_CHECKING:
    from launchyard.adapters.feast import FeatureStore, Materialized

FEATURES_DIR = "features"
"""Folder of a prepared data set that holds the rows of its feature sets."""


def publish_features(settings: Settings, spec: Product, dataset_dir: Path) -> tuple[Materialized, ...]:
    """Publish the feature rows of a data set and bring the newest ones online; return what was written.

    Repeated, it does only what is still missing. A kind without features has nothing to publish.

    Raises:
        DataError: the data set lacks rows of a feature set.
        FeatureStoreError: the online store cannot be reached.
    """
    store = open_store(settings, spec)
    if store is None:
        return ()
    try:
        store.publish(dataset_dir / FEATURES_DIR)
        store.apply()
        return store.materialize()
    finally:
        store.close()


def open_store(settings: Settings, spec: Product) -> FeatureStore | None:
    """Return the feature store of a product; None for a kind without features, which then needs no Feast."""
    sets = get_kind(spec.kind).load_features(spec)
    if not sets:
        return None
    from launchyard.adapters.feast import FeatureStore

    return FeatureStore(settings, spec.product, sets)
