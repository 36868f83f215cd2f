"""The tables behind :mod:`launchyard.records.records`, how they are opened and how they move to a newer schema.

SQLite on a laptop, PostgreSQL on a cluster. SQLite runs with a write-ahead log (readers never wait) and
``synchronous=FULL``: what a commit acknowledged is on the disk.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    DateTime,
    Dialect,
    Engine,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    bindparam,
    create_engine,
    event,
    inspect,
    select,
    text,
    update,
)
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.pool import QueuePool

from launchyard.credentials import SecretUrl, mask_text, mask_url
from launchyard.errors import RegistryError

PATIENT_WAIT_S = 30.0
"""Longest wait of a command or a step for others: for a writer of the same rows or file, for a connection."""
SERVING_WAIT_S = 2.0
"""The same of a replica, where somebody waits for the answer."""
MIN_CONNECT_S = 2
"""PostgreSQL's client takes less for this."""
SLOW_STATEMENT_FACTOR = 20
"""How many times longer than it waits for others a patient statement may work, such as building an index."""
MIGRATION_LOCK = 0x6C61756E636879
"""PostgreSQL advisory lock that only one process migrates under: 'launchy' in ASCII."""
WRITES = "launchyard_writes"

METADATA = MetaData()


class UtcTime(TypeDecorator[datetime]):
    """An aware datetime, kept as UTC in a column without a zone: SQLite has none with one."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the naive UTC time that is stored."""
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the aware time that was stored."""
        return None if value is None else value.replace(tzinfo=UTC)


SCHEMA = Table("launchyard_schema", METADATA, Column("version", Integer, primary_key=True))

VERSIONS = Table(
    "launchyard_versions",
    METADATA,
    Column("namespace", String(40), primary_key=True),
    Column("product", String(40), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("digest", String(64), nullable=False),
    Column("document", Text, nullable=False),
    UniqueConstraint("namespace", "product", "digest"),
)

ROLLOUTS = Table(
    "launchyard_rollouts",
    METADATA,
    Column("namespace", String(40), primary_key=True),
    Column("product", String(40), primary_key=True),
    Column("revision", Integer, nullable=False),
    Column("document", Text, nullable=False),
)

DECISIONS = Table(
    "launchyard_decisions",
    METADATA,
    Column("namespace", String(40), primary_key=True),
    Column("product", String(40), primary_key=True),
    Column("revision", Integer, primary_key=True, autoincrement=False),
    Column("document", Text, nullable=False),
)

FIRST_SCHEMA = MetaData()
"""The tables as the first release made them; what stands below came later."""

FIRST_FEEDBACK = Table(
    "launchyard_feedback",
    FIRST_SCHEMA,
    Column("namespace", String(40), primary_key=True),
    Column("output_id", String(200), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("product", String(40), nullable=False),
    Column("version", Integer, nullable=False),
    Column("predicted_at", UtcTime, nullable=False),
    Column("received_at", UtcTime, nullable=False),
    Column("label", Text),
    Column("rating", Float),
    Column("comment", Text),
    Index("launchyard_feedback_by_product", "namespace", "product", "received_at"),
)

KEYS = Table(
    "launchyard_keys",
    METADATA,
    Column("namespace", String(40), primary_key=True),
    Column("secret", LargeBinary, nullable=False),
    Column("created_at", UtcTime, nullable=False),
)

# A copy, because the tables go on to change below, and a released step must not.
for first_table in METADATA.sorted_tables:
    first_table.to_metadata(FIRST_SCHEMA)

FEEDBACK = Table(
    "launchyard_feedback",
    METADATA,
    Column("namespace", String(40), primary_key=True),
    Column("output_id", String(200), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("product", String(40), nullable=False),
    Column("version", Integer, nullable=False),
    Column("predicted_at", UtcTime, nullable=False),
    Column("received_at", UtcTime, nullable=False),
    Column("subject", String(32)),
    Column("said", Text),
    Index("launchyard_feedback_by_product", "namespace", "product", "received_at"),
)
"""``said`` is a JSON document: label, rating, comment and correction, without those that were left open."""
FEEDBACK_BY_SUBJECT = Index(
    "launchyard_feedback_by_subject", FEEDBACK.c.namespace, FEEDBACK.c.product, FEEDBACK.c.subject
)

SEQUENCE = BigInteger().with_variant(Integer, "sqlite")
"""Of numbers that the database counts up, and never gives out again after their row is gone."""

EVENTS = Table(
    "launchyard_events",
    METADATA,
    Column("sequence", SEQUENCE, primary_key=True),
    Column("namespace", String(40), nullable=False),
    Column("product", String(40), nullable=False),
    Column("user", String(32), nullable=False),
    Column("item", Text, nullable=False),
    Column("timestamp", UtcTime, nullable=False),
    Column("event", Text),
    Column("weight", Float(53), nullable=False),
    Column("received_at", UtcTime, nullable=False),
    Column("digest", LargeBinary(16), nullable=False, unique=True),
    Index("launchyard_events_by_user", "namespace", "product", "user", "timestamp", "sequence"),
    Index("launchyard_events_by_sequence", "namespace", "product", "sequence"),
    sqlite_autoincrement=True,
)

FIRST_EVENTS = EVENTS.to_metadata(MetaData())
"""As the step that added events made it."""
EVENTS.append_column(Column("sender", String(32)))

FORGOTTEN = Table(
    "launchyard_forgotten",
    METADATA,
    Column("sequence", SEQUENCE, primary_key=True),
    Column("namespace", String(40), nullable=False),
    Column("product", String(40), nullable=False),
    Column("user", String(32), nullable=False),
    Column("forgotten_at", UtcTime, nullable=False),
    UniqueConstraint("namespace", "product", "user"),
    sqlite_autoincrement=True,
)

MIRRORED = Table(
    "launchyard_mirrored",
    METADATA,
    Column("namespace", String(40), primary_key=True),
    Column("product", String(40), primary_key=True),
    Column("revision", Integer, nullable=False),
)
"""Newest revision of each rollout record that MLflow shows."""

Migration = Callable[[Connection], None]


def _add_events(connection: Connection) -> None:
    connection.execute(text("ALTER TABLE launchyard_feedback ADD COLUMN subject VARCHAR(32)"))
    FEEDBACK_BY_SUBJECT.create(connection)
    FIRST_EVENTS.metadata.create_all(connection)
    METADATA.create_all(connection, tables=[FORGOTTEN])


def _add_mirrored(connection: Connection) -> None:
    METADATA.create_all(connection, tables=[MIRRORED])
    # So far a command failed unless it had mirrored what it changed.
    rollouts = select(ROLLOUTS.c.namespace, ROLLOUTS.c.product, ROLLOUTS.c.revision)
    connection.execute(MIRRORED.insert().from_select(["namespace", "product", "revision"], rollouts))


def _add_senders(connection: Connection) -> None:
    connection.execute(text("ALTER TABLE launchyard_events ADD COLUMN sender VARCHAR(32)"))


def _put_feedback_into_documents(connection: Connection) -> None:
    connection.execute(text("ALTER TABLE launchyard_feedback ADD COLUMN said TEXT"))
    keys, former = ("namespace", "output_id", "number"), ("label", "rating", "comment")
    found = connection.execute(select(*(FIRST_FEEDBACK.c[name] for name in (*keys, *former)))).all()
    change = update(FEEDBACK).where(*(FEEDBACK.c[name] == bindparam(f"of_{name}") for name in keys))
    documents = [
        {f"of_{name}": getattr(row, name) for name in keys}
        | {"said": json.dumps({name: said for name in former if (said := getattr(row, name)) is not None})}
        for row in found
    ]
    if documents:
        connection.execute(change, documents)
    for name in former:
        connection.execute(text(f"ALTER TABLE launchyard_feedback DROP COLUMN {name}"))


MIGRATIONS: Sequence[Migration] = (
    FIRST_SCHEMA.create_all,
    _add_events,
    _add_mirrored,
    _add_senders,
    _put_feedback_into_documents,
)
"""Step n brings a database from schema n to n + 1. A released step is never edited: a change is a new step."""


def open_records(url: str, migrations: Sequence[Migration] = MIGRATIONS, *, wait_s: float = PATIENT_WAIT_S) -> Engine:
    """Return an engine on the records at ``url``, created or brought to this version's schema when needed.

    Its transactions wait up to ``wait_s`` for others, and for the server; opening it waits as a command does.

    Raises:
        RegistryError: the database is of no known sort, cannot be reached, or is newer than this version reads.
    """
    try:
        parsed = make_url(url)
        engine = create_engine(
            parsed,
            poolclass=QueuePool,
            # A server that was started again has closed the connections that wait in the pool.
            pool_pre_ping=True,
            pool_timeout=wait_s,
            connect_args=_limit_waits(parsed, wait_s),
        )
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError, ValueError) as err:
        # A ValueError quotes what it takes for the port, which may be a part of a password.
        reason = "it is not a URL" if isinstance(err, ValueError) else mask_text(str(err), [SecretUrl(url)])
        raise RegistryError(
            f"LAUNCHYARD_DATABASE_URL: cannot be used: {reason}. Give sqlite:/// or postgresql+psycopg://."
        ) from None
    try:
        if engine.dialect.name == "sqlite":
            _open_sqlite(engine, parsed, migrations, wait_s)
        elif engine.dialect.name == "postgresql":
            _open_postgresql(engine, migrations, wait_s)
        else:
            raise RegistryError(
                f"LAUNCHYARD_DATABASE_URL: {engine.dialect.name} is not supported. Use SQLite or PostgreSQL."
            )
    except (DBAPIError, sqlite3.Error, OSError) as err:
        # The driver's own errors come bare while a connection is being prepared.
        # A lock on the file that cannot be had in time is a TimeoutError, and so an OSError.
        reason = mask_text(str(err.orig if isinstance(err, DBAPIError) else err), [SecretUrl(url)])
        raise RegistryError(
            f"{describe_url(engine)}: the records cannot be opened: {reason}. Check that the database runs."
        ) from err
    return engine


def _limit_waits(url: URL, wait_s: float) -> dict[str, int]:
    """Return what ends a wait for a server that went away without a word, unless the URL says it otherwise."""
    if url.get_backend_name() != "postgresql":
        return {}
    # Seconds to connect; milliseconds, then seconds, for a sign of life.
    waits = {
        "connect_timeout": max(MIN_CONNECT_S, min(10, round(wait_s))),
        "tcp_user_timeout": round(wait_s * 1000),
        "keepalives_idle": 10,
    }
    return {name: value for name, value in waits.items() if name not in url.query}


def erase_deleted(engine: Engine) -> None:
    """Make deleted rows unreadable in the database's files too, as far as the database lets us.

    SQLite keeps copies of rows in pages that were split and in the write-ahead log: the file is written anew and the
    log emptied, which takes seconds per gigabyte while writers wait. PostgreSQL reclaims rows by itself (autovacuum).

    Raises:
        RegistryError: others kept the file in use for longer than the busy timeout, or the disk is full.
    """
    if engine.dialect.name != "sqlite":
        return
    # Outside a transaction, as VACUUM has to be.
    raw = engine.raw_connection()
    try:
        raw.cursor().execute("VACUUM")
        busy, *_ = raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.Error as err:
        raise RegistryError(_explain_erasing(engine, str(err))) from err
    finally:
        raw.close()
    if busy:
        raise RegistryError(_explain_erasing(engine, "it is in use"))


def _explain_erasing(engine: Engine, reason: str) -> str:
    return (
        f"{describe_url(engine)}: what was deleted can still be read in the file: {reason}. "
        "Try again when nobody reads it."
    )


def describe_url(engine: Engine) -> str:
    """Return the engine's URL without its passwords, for messages."""
    return mask_url(engine.url.render_as_string(hide_password=False))


def migrate(connection: Connection, migrations: Sequence[Migration]) -> None:
    """Apply the steps that the database has not seen; the caller keeps other processes out.

    Raises:
        RegistryError: the database has seen more steps than there are.
    """
    current = 0
    if inspect(connection).has_table(SCHEMA.name):
        current = connection.execute(select(SCHEMA.c.version)).scalar_one()
    if current > len(migrations):
        raise RegistryError(
            f"{describe_url(connection.engine)}: the records have schema version {current}, "
            f"this launchyard reads up to {len(migrations)}. Upgrade launchyard."
        )
    for step in migrations[current:]:
        step(connection)
    if current < len(migrations):
        # In the transaction of the steps: where one fails, the number stays that of the tables.
        connection.execute(SCHEMA.delete())
        connection.execute(SCHEMA.insert().values(version=len(migrations)))


def _is_current(connection: Connection, migrations: Sequence[Migration]) -> bool:
    """Return whether there is nothing to migrate: then opening takes no lock, and waits for no writer."""
    if not inspect(connection).has_table(SCHEMA.name):
        return False
    return bool(connection.execute(select(SCHEMA.c.version)).scalar_one() == len(migrations))


def _open_postgresql(engine: Engine, migrations: Sequence[Migration], wait_s: float) -> None:
    # A look without the lock, for most who open the records find them current.
    with engine.begin() as connection:
        is_current = _is_current(connection, migrations)
    if not is_current:
        with engine.begin() as connection:
            connection.exec_driver_sql(_limit_statements(PATIENT_WAIT_S * SLOW_STATEMENT_FACTOR))
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
            # Looks at the version again, now under the lock: another process may have been first.
            migrate(connection, migrations)
    limits = _limit_statements(wait_s)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(limits))


def _limit_statements(wait_s: float) -> str:
    """Return what bounds the waits of one transaction: said in each, it holds behind a connection pool too."""
    longest_s = wait_s * SLOW_STATEMENT_FACTOR if wait_s >= PATIENT_WAIT_S else wait_s
    return f"SET LOCAL lock_timeout = {round(wait_s * 1000)}; SET LOCAL statement_timeout = {round(longest_s * 1000)}"


def _open_sqlite(engine: Engine, url: URL, migrations: Sequence[Migration], wait_s: float) -> None:
    if url.database in (None, "", ":memory:"):
        raise RegistryError("LAUNCHYARD_DATABASE_URL: a database in memory forgets what it acknowledged. Give a file.")
    event.listen(engine, "connect", partial(_configure_sqlite, PATIENT_WAIT_S))
    event.listen(engine, "begin", _begin_sqlite)
    path = Path(str(url.database))
    path.parent.mkdir(parents=True, exist_ok=True)
    # The signing key and people's comments are in it: nobody else on the machine may read it.
    # SQLite gives the log beside a database the mode of the database.
    path.touch(mode=0o600)
    with FileLock(path.with_name(f".{path.name}.lock"), timeout=PATIENT_WAIT_S * SLOW_STATEMENT_FACTOR):
        # Outside a transaction, and under the lock: SQLite does not wait for others when it changes this mode.
        raw = engine.raw_connection()
        try:
            raw.cursor().execute("PRAGMA journal_mode = WAL")
        finally:
            raw.close()
        with engine.begin() as connection:
            is_current = _is_current(connection, migrations)
        if not is_current:
            with engine.connect().execution_options(**{WRITES: True}) as connection, connection.begin():
                migrate(connection, migrations)
    # Connections that were opened patiently go; those to come wait as they should.
    engine.dispose()
    event.listen(engine, "connect", partial(_configure_sqlite, wait_s))


def _configure_sqlite(wait_s: float, connection: Any, _: object) -> None:
    """Prepare a new driver connection; its own transaction control is off, SQLAlchemy begins them."""
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {round(wait_s * 1000)}")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    """Begin; a writer takes the write lock at once, because one that read first could not wait for it later."""
    writes = connection.get_execution_options().get(WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
