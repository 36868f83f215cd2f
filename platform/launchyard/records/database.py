"""Transactions on the records of one namespace: what every reader and writer of :mod:`record_tables` shares."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from launchyard.credentials import mask_text
from launchyard.errors import RegistryError
from launchyard.records.tables import PATIENT_WAIT_S, WRITES, describe_url, erase_deleted, open_records
from launchyard.settings import Settings


class RecordDatabase:
    """The database of the records; safe to share between threads, and between processes through the database.

    Transactions wait up to ``wait_s`` for others and for the server, then fail.
    """

    def __init__(self, settings: Settings, *, wait_s: float = PATIENT_WAIT_S) -> None:
        self.namespace = settings.namespace
        if settings.database_url is None:
            _refuse_misplaced(settings.root / "records.db")
        self._engine = open_records(settings.records_url, wait_s=wait_s)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Yield a connection in a transaction that waits for no writer."""
        with self._explaining(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self, subject: str) -> Iterator[Connection]:
        """Yield a connection whose transaction no other writer of ``subject`` overlaps; it is on the disk at the end.

        SQLite has one writer at a time anyway; PostgreSQL locks the subject's name until the transaction ends, so that
        what one writer numbered becomes visible before what the next one numbers.
        """
        with (
            self._explaining(),
            self._engine.connect().execution_options(**{WRITES: True}) as connection,
            connection.begin(),
        ):
            if self._engine.dialect.name == "postgresql":
                lock = text("SELECT pg_advisory_xact_lock(hashtextextended(:subject, 0))")
                connection.execute(lock, {"subject": f"launchyard/{self.namespace}/{subject}"})
            yield connection

    def erase_deleted(self) -> None:
        """Make deleted rows unreadable in the files too, as far as the database lets us.

        Raises:
            RegistryError: somebody kept the database busy for too long; the rows are deleted all the same.
        """
        with self._explaining():
            erase_deleted(self._engine)

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except (DBAPIError, PoolTimeoutError) as err:
            reason = err.orig if isinstance(err, DBAPIError) else "all connections are in use"
            raise RegistryError(
                f"{describe_url(self._engine)}: the records cannot be used: {mask_text(str(reason))}. "
                "Check that the database runs and has space."
            ) from err


def _refuse_misplaced(path: Path) -> None:
    """Refuse to begin anew where an earlier version put the records elsewhere: it wrote paths into URLs as they are.

    Raises:
        RegistryError: there they lie; the message says how to move them.
    """
    misplaced = Path(str(make_url(f"sqlite:///{path}").database))
    if misplaced != path and misplaced.is_file() and not path.exists():
        raise RegistryError(
            f"{path}: the records of this home lie in {misplaced}, where an earlier version put them because of the "
            f"characters in the home's name. Move them: mv {shlex.quote(str(misplaced))} {shlex.quote(str(path))}"
        )
