"""Feast's two online stores with what serving needs: deadlines, readers beside a writer, and removal of one entity.

Feast finds these classes by their dotted names in its configuration, the way it documents for stores of one's own. A
class ``XOnlineStore`` is configured by the class ``XOnlineStoreConfig`` of the same module.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from contextlib import closing
from typing import Literal

from feast import FeatureView, RepoConfig
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.redis import RedisOnlineStore, RedisOnlineStoreConfig
from feast.infra.online_stores.sqlite import SqliteOnlineStore, SqliteOnlineStoreConfig
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry


class UrlRedisOnlineStoreConfig(RedisOnlineStoreConfig):
    """A Redis by its URL, which may hold a password with any character."""

    type: Literal["launchyard.adapters.feast.stores.UrlRedisOnlineStore"]
    url: str
    timeout_s: float
    skip_dedup: bool = True
    """Rows are written in time order, and a new publication replaces rows of the same time."""


class UrlRedisOnlineStore(RedisOnlineStore):
    """Redis that answers in time or fails; nothing is tried twice."""

    def __init__(self) -> None:
        self._url_client: Redis | None = None

    def _get_client(self, online_store_config: UrlRedisOnlineStoreConfig) -> Redis:
        if self._url_client is None:
            self._url_client = Redis.from_url(
                online_store_config.url,
                socket_timeout=online_store_config.timeout_s,
                socket_connect_timeout=online_store_config.timeout_s,
                # Not left to redis (7.4): without a URL, three more tries with pauses of seconds are its default.
                retry=Retry(NoBackoff(), 0),
            )
        return self._url_client

    def remove_entities(self, config: RepoConfig, views: Sequence[FeatureView], keys: Sequence[EntityKey]) -> None:
        """Remove all that is kept of entities: one hash holds the rows of all views of an entity."""
        if views and keys:
            project = config.project.encode()
            self._get_client(config.online_store).delete(*(_serialize(config, key) + project for key in keys))

    def close(self) -> None:
        """Close all connections."""
        if self._url_client is not None:
            self._url_client.close()


class SharedSqliteOnlineStoreConfig(SqliteOnlineStoreConfig):
    """A SQLite file."""

    type: Literal["launchyard.adapters.feast.stores.SharedSqliteOnlineStore"]
    timeout_s: float


class SharedSqliteOnlineStore(SqliteOnlineStore):
    """SQLite with a write-ahead log, so that reading never waits for writing; one connection for each thread."""

    def __init__(self) -> None:
        self._mine = threading.local()
        self._opened: list[sqlite3.Connection] = []

    def _get_conn(self, config: RepoConfig) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._mine, "connection", None)
        if connection is None:
            connection = self._mine.connection = self._open(config.online_store)
            self._opened.append(connection)
        return connection

    def _open(self, store_config: SharedSqliteOnlineStoreConfig) -> sqlite3.Connection:
        connection = sqlite3.connect(
            store_config.path,
            timeout=store_config.timeout_s,
            # As Feast (0.67) opens it: its times come back as times by this.
            detect_types=sqlite3.PARSE_DECLTYPES | sqlite3.PARSE_COLNAMES,
            # One thread closes the connections of all.
            check_same_thread=False,
        )
        connection.execute("PRAGMA journal_mode=WAL")
        # What is removed is overwritten, not only unlinked.
        connection.execute("PRAGMA secure_delete=ON")
        return connection

    def remove_entities(self, config: RepoConfig, views: Sequence[FeatureView], keys: Sequence[EntityKey]) -> None:
        """Remove all that is kept of entities, from the file and from the log beside it.

        As in a Redis, tables of views that no spec has any more are among it: a key names its kind of entity too.
        """
        names = [(_serialize(config, key),) for key in keys]
        connection = self._get_conn(config)
        with connection, closing(connection.cursor()) as cursor:
            cursor.execute(
                "SELECT m.name FROM sqlite_master m, pragma_table_info(m.name) c WHERE c.name = 'entity_key'"
            )
            for (table,) in cursor.fetchall():
                cursor.executemany(f'DELETE FROM "{table}" WHERE entity_key = ?', names)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close all connections."""
        for connection in self._opened:
            connection.close()
        self._opened.clear()


def _serialize(config: RepoConfig, key: EntityKey) -> bytes:
    serialized: bytes = serialize_entity_key(
        key, entity_key_serialization_version=config.entity_key_serialization_version
    )
    return serialized
