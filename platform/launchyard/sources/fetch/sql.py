"""``sql://<SQLAlchemy URL>?query=<SQL>``: the rows of a query, asked in a connection that cannot write."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pyarrow as pa

from launchyard.credentials import SecretUrl, mask_text, mask_url
from launchyard.errors import SourceError
from launchyard.sources.fetch.cache import Download
from launchyard.sources.fetch.request import Request
from launchyard.sources.fetch.rows import write_rows
from launchyard.sources.paths import join_path
from launchyard.sources.uri import parse_sql

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine

BATCH_ROWS = 20_000
NAME = "rows.parquet"
TIMEOUT_ARGUMENTS = {
    "mariadb": "connect_timeout",
    "mysql": "connect_timeout",
    "postgresql": "connect_timeout",
    "sqlite": "timeout",
}
"""What the drivers call the longest wait for a connection, in seconds."""


_STARTS_WITH_REFERENCE = re.compile(r"(?:sqlite(?:\+\w+)?:///)?\$\{")


def download_rows(request: Request) -> Download:
    """Bring a query's rows as a parquet file; the digest is the rows', so a pin needs an ORDER BY.

    Raises:
        SourceError: the database cannot be reached or refuses the query, or there is no row.
    """
    from sqlalchemy.exc import DBAPIError, SQLAlchemyError  # noqa: PLC0415 - slow to import, and few need it here

    location = parse_sql(request.uri.location)
    url = _parse_url(request, location.database)
    engine = _connect(request, url)
    path = request.workspace / NAME
    try:
        with engine.connect() as connection:
            _forbid_writing(connection)
            tables = _iter_tables(connection, location.query, request)
            digest = write_rows(
                tables, path, shown=str(request.uri), advance=lambda done_bytes: request.advance(done_bytes, None)
            )
    except DBAPIError as err:
        # Only the driver's words: SQLAlchemy's add the query and a link. And no cause: its words may hold a password.
        reason = _mask(str(err.orig).strip(), url)
        raise SourceError(f"{request.uri}: the database answers: {reason}") from None
    except SQLAlchemyError as err:
        raise SourceError(f"{request.uri}: {_mask(str(err), url)}") from None
    finally:
        engine.dispose()
    return Download(path, sha256=digest)


def _parse_url(request: Request, database: str) -> URL:
    from sqlalchemy import make_url  # noqa: PLC0415 - slow to import, and few need it here
    from sqlalchemy.exc import ArgumentError  # noqa: PLC0415 - slow to import, and few need it here

    try:
        url = make_url(request.expand(database))
    except (ArgumentError, ValueError):
        # Where a password holds a slash, the error quotes it as the port.
        raise SourceError(
            f"{request.uri}: '{mask_url(database)}' is not a SQLAlchemy URL. "
            "Write, for example, postgresql://user:${PASSWORD}@host/database."
        ) from None
    # SQLAlchemy (2.1) has dropped the name postgres; psycopg is the driver that our extra installs.
    if url.drivername in ("postgres", "postgresql"):
        url = url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() == "sqlite":
        url = _find_sqlite_file(request, url, is_given=bool(_STARTS_WITH_REFERENCE.match(database)))
    return url


def _find_sqlite_file(request: Request, url: URL, *, is_given: bool) -> URL:
    """Return the URL with the file's absolute path; ``is_given`` says that the path came from the environment."""
    if is_given and not (url.database or "").startswith(("/", "~")):
        # The spec's folder is known to who reads the spec, not to whom it is sent to.
        raise SourceError(f"{request.uri}: the path in the environment must be absolute, got '{url.database}'.")
    path = join_path(url.database or "", request.base_dir)
    if not path.is_file():
        # SQLite would create an empty database here.
        raise SourceError(f"{request.uri}: no database file {path}. Relative paths start at {request.base_dir}.")
    return url.set(database=str(path))


def _connect(request: Request, url: URL) -> Engine:
    from sqlalchemy import create_engine  # noqa: PLC0415 - slow to import, and few need it here
    from sqlalchemy.exc import NoSuchModuleError  # noqa: PLC0415 - slow to import, and few need it here
    from sqlalchemy.pool import NullPool  # noqa: PLC0415 - slow to import, and few need it here

    name = TIMEOUT_ARGUMENTS.get(url.get_backend_name())
    # Whole seconds and never 0, which makes PostgreSQL's client wait for ever.
    arguments = {name: max(1, round(request.settings.timeout_s))} if name else {}
    try:
        return create_engine(url, connect_args=arguments, poolclass=NullPool)
    except NoSuchModuleError as err:
        raise SourceError(f"{request.uri}: SQLAlchemy knows no database '{url.drivername}'. Check the name.") from err
    except ModuleNotFoundError as err:
        package = "'launchyard[postgres]'" if err.name == "psycopg" else err.name
        raise SourceError(f"{request.uri}: its driver is not installed. Run: pip install {package}") from err


def _forbid_writing(connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA query_only = ON")
    elif connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")
    elif connection.dialect.name in ("mariadb", "mysql"):
        # Of the session: SET TRANSACTION alone would hold for one transaction, which a query may end.
        connection.exec_driver_sql("SET SESSION TRANSACTION READ ONLY")


def _iter_tables(connection: Connection, query: str, request: Request) -> Iterator[pa.Table]:
    # Without parameters a percent sign or a colon in the query means itself.
    streaming = connection.execution_options(stream_results=True, no_parameters=True, max_row_buffer=BATCH_ROWS)
    result = streaming.exec_driver_sql(query)
    if not result.returns_rows:
        raise SourceError(f"{request.uri}: the query gives no rows. Write a SELECT.")
    names = list(result.keys())
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise SourceError(f"{request.uri}: the query gives the column '{repeated[0]}' twice. Rename one with AS.")
    for rows in result.partitions(BATCH_ROWS):
        columns = zip(*rows, strict=True)
        yield pa.table({name: _to_array(name, values, request) for name, values in zip(names, columns, strict=True)})


def _to_array(name: str, values: Sequence[object], request: Request) -> pa.Array:
    try:
        return pa.array([_to_plain(value) for value in values])
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as err:
        raise SourceError(
            f"{request.uri}: column '{name}' holds values of more than one type. CAST it to one in the query."
        ) from err


def _to_plain(value: Any) -> Any:
    if isinstance(value, UUID):
        return str(value)
    # As text a JSON column has one type, whatever keys its rows have.
    return json.dumps(value) if isinstance(value, dict) else value


def _mask(text: str, url: URL) -> str:
    return mask_text(text, [SecretUrl(url.render_as_string(hide_password=False))])
