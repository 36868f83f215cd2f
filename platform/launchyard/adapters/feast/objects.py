"""Feast's objects, made from our feature sets, and our values in the form that Feast stores.

The time of a row is kept as a feature too, in seconds since 1970: Feast's SQLite store cuts its own event time to whole
seconds, and its Redis store reports 1970 for an entity that it does not have (both as of 0.67).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
from feast import Entity, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import DoubleList, Int64List, StringList, Value
from feast.types import Array, Bool, Float64, Int64, String

from launchyard.features.rows import ARROW_TYPES
from launchyard.features.sets import TIMESTAMP, FeatureSet, FeatureType
from launchyard.settings import Settings

EVENT_TIMESTAMP = "event_timestamp"
ROW = "row"
"""Columns of a published file beside ours: the time as Feast reads it, and the number of the row in the file."""

OFFLINE_DIR = "offline"
REGISTRY_NAME = "registry.db"
ONLINE_NAME = "online.db"

MARKS = FeatureSet.model_validate(
    {
        "name": "launchyard_marks",
        "entity": "feature_set",
        "features": [{"name": "publication", "type": "text"}, {"name": "num_rows", "type": "integer"}],
    }
)
"""How far each set is materialised; kept in the online store itself, so that it is lost when the data is lost."""


@dataclass(frozen=True)
class Coding:
    """How values of one feature type are written in Feast."""

    feast: Any
    encode: Callable[[Any], Value]
    decode: Callable[[Value], Any]


CODINGS: dict[FeatureType, Coding] = {
    "number": Coding(Float64, lambda x: Value(double_val=x), lambda value: value.double_val),
    "integer": Coding(Int64, lambda x: Value(int64_val=x), lambda value: value.int64_val),
    "boolean": Coding(Bool, lambda x: Value(bool_val=x), lambda value: value.bool_val),
    "text": Coding(String, lambda x: Value(string_val=x), lambda value: value.string_val),
    "numbers": Coding(
        Array(Float64),
        lambda x: Value(double_list_val=DoubleList(val=x)),
        lambda value: list(value.double_list_val.val),
    ),
    "integers": Coding(
        Array(Int64),
        lambda x: Value(int64_list_val=Int64List(val=x)),
        lambda value: list(value.int64_list_val.val),
    ),
    "texts": Coding(
        Array(String),
        lambda x: Value(string_list_val=StringList(val=x)),
        lambda value: list(value.string_list_val.val),
    ),
}


def name_project(settings: Settings, product: str) -> str:
    """Return Feast's project of a product: part of every key online.

    Feast refuses hyphens, which names may have, and finds the keys of a project by how they end. Names have no capital
    letters, so no two projects are alike and none ends like another.
    """
    namespace, product = (name.replace("-", "_") for name in (settings.namespace, product))
    return f"Launchyard_{namespace}_Product_{product}"


def build_config(settings: Settings, product: str, folder: Path, *, timeout_s: float) -> RepoConfig:
    """Return Feast's configuration of a product whose files lie in ``folder``."""
    stores = "launchyard.adapters.feast.stores"
    online: dict[str, Any] = (
        {"type": f"{stores}.SharedSqliteOnlineStore", "path": str(folder / ONLINE_NAME), "timeout_s": timeout_s}
        if settings.online_store is None
        else {
            "type": f"{stores}.UrlRedisOnlineStore",
            "url": settings.online_store.get_secret_value(),
            "timeout_s": timeout_s,
        }
    )
    return RepoConfig(
        project=name_project(settings, product),
        provider="local",
        registry={"path": str(folder / REGISTRY_NAME), "cache_ttl_seconds": 1},
        offline_store={"type": "dask"},
        online_store=online,
        entity_key_serialization_version=3,
        repo_path=folder,
    )


def build_entity(feature_set: FeatureSet) -> Entity:
    """Return the entity that a set's rows are about."""
    return Entity(name=feature_set.entity, join_keys=[feature_set.entity], value_type=ValueType.STRING)


def build_view(feature_set: FeatureSet) -> FeatureView:
    """Return the feature view of a set; its file is named relative to the folder, which can so be moved."""
    described = [
        Field(
            name=feature.name,
            dtype=CODINGS[feature.type].feast,
            description=feature.description,
            tags={"unit": feature.unit} if feature.unit else {},
        )
        for feature in feature_set.features
    ]
    beside = [
        Field(name=feature_set.entity, dtype=String),
        Field(name=TIMESTAMP, dtype=Float64, description="When the row became known.", tags={"unit": "s since 1970"}),
        Field(name=ROW, dtype=Int64, description="Number of the row in its file, from 0."),
    ]
    return FeatureView(
        name=feature_set.name,
        entities=[build_entity(feature_set)],
        schema=[*beside, *described],
        source=FileSource(path=name_file(feature_set.name), timestamp_field=EVENT_TIMESTAMP),
        # To Feast a time of 0 is none: a row holds until the next one.
        ttl=timedelta(seconds=feature_set.ttl_s or 0),
        description=feature_set.description,
    )


def name_file(set_name: str) -> str:
    """Return the path of a set's published rows, below the product's folder."""
    return f"{OFFLINE_DIR}/{set_name}.parquet"


def published_schema(feature_set: FeatureSet) -> pa.Schema:
    """Return the columns of a set's published rows."""
    return pa.schema(
        [
            (feature_set.entity, pa.string()),
            (EVENT_TIMESTAMP, pa.timestamp("us", tz="UTC")),
            (TIMESTAMP, pa.float64()),
            (ROW, pa.int64()),
            *((feature.name, ARROW_TYPES[feature.type]) for feature in feature_set.features),
        ]
    )


def encode_key(entity: str, key: str) -> EntityKey:
    """Return the key of one entity, such as one user."""
    return EntityKey(join_keys=[entity], entity_values=[Value(string_val=key)])
