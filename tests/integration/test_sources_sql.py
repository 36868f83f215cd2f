"""Queries against a real SQLite file, a real PostgreSQL server, and what a MySQL server would be sent."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.mysql.base import MySQLDialect
from sqlalchemy.dialects.mysql.mariadb import MariaDBDialect

from launchyard.errors import SourceError
from launchyard.settings import Settings
from launchyard.sources.forms.tables import iter_tables
from launchyard.sources.resolve import fetch

pytestmark = pytest.mark.integration

PASSWORD = "p@ss/word:1"
QUERY = "SELECT text, stars FROM reviews ORDER BY id"


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A folder with the SQLite database ``shop.db``."""
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute("CREATE TABLE reviews (id INTEGER PRIMARY KEY, text TEXT, stars, odd)")
        rows = [("great 100%", 5, 1), ("12:30 :x", None, "a"), ("bad", 1.5, 2)]
        connection.executemany("INSERT INTO reviews (text, stars, odd) VALUES (?, ?, ?)", rows)
    connection.close()
    return tmp_path


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", timeout_s=5)


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """Socket folder of a PostgreSQL server with the database ``shop`` and the user ``me``."""
    found = shutil.which("initdb") or next(Path("/usr/lib/postgresql").glob("*/bin/initdb"), None)
    if found is None:
        pytest.skip("PostgreSQL is not installed. Run: make system-deps")
    bin_dir = Path(found).parent
    # Not below pytest's folder: a socket's path is limited to 107 bytes, and another user must reach it.
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    # PostgreSQL refuses to run as root.
    become: list[str | Path] = ["runuser", "-u", "nobody", "--"] if os.geteuid() == 0 else []
    if become:
        shutil.chown(folder, "nobody")
    (folder / "password").write_text(PASSWORD)
    (folder / "password").chmod(0o644)
    data = folder / "data"
    options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
    initdb: list[str | Path] = [
        bin_dir / "initdb",
        "-D",
        data,
        "-U",
        "me",
        "-A",
        "scram-sha-256",
        "--pwfile",
        folder / "password",
        "-E",
        "UTF8",
    ]
    control: list[str | Path] = [*become, bin_dir / "pg_ctl", "-D", data, "-w"]
    try:
        _run([*become, *initdb], folder)
        _run([*control, "-l", folder / "log", "-o", options, "start"], folder)
        try:
            _fill(str(folder))
            yield str(folder)
        finally:
            _run([*control, "-m", "immediate", "stop"], folder)
    finally:
        shutil.rmtree(folder)


def _run(command: Sequence[str | Path], folder: Path) -> None:
    arguments = [os.fspath(part) for part in command]
    # A file, not a pipe: the server inherits it, and a pipe would stay open as long as it runs.
    with tempfile.TemporaryFile("w+") as output:
        done = subprocess.run(arguments, cwd=folder, stdout=output, stderr=output, timeout=60, check=False)
        output.seek(0)
        assert done.returncode == 0, output.read()


def _fill(socket_dir: str) -> None:
    with psycopg.connect(
        host=socket_dir, user="me", password=PASSWORD, dbname="postgres", autocommit=True
    ) as connection:
        connection.execute("CREATE DATABASE shop")
    with psycopg.connect(host=socket_dir, user="me", password=PASSWORD, dbname="shop") as connection:
        connection.execute(
            "CREATE TABLE reviews (id serial, text text, stars numeric(3, 1), at timestamptz, tags text[], "
            "extra jsonb, ref uuid)"
        )
        connection.execute(
            "INSERT INTO reviews (text, stars, at, tags, extra, ref) SELECT 'row ' || n, "
            "CASE WHEN n > 1 THEN n % 6 END, '2026-01-02 03:04:05Z', ARRAY['a', 'b'], '{\"n\": 1}', "
            "'00000000-0000-0000-0000-00000000000a' FROM generate_series(1, 50000) AS n"
        )


def read_rows(uri: str, settings: Settings, base_dir: Path) -> list[dict[str, object]]:
    fetched = fetch(uri, settings, base_dir=base_dir)
    return [row for table in iter_tables(fetched, None) for row in table.to_pylist()]


def test_the_rows_of_a_query_come_as_one_table(shop: Path, settings: Settings) -> None:
    rows = read_rows(f"sql://sqlite:///shop.db?query={QUERY}", settings, shop)

    assert rows == [
        {"text": "great 100%", "stars": 5.0},
        {"text": "12:30 :x", "stars": None},
        {"text": "bad", "stars": 1.5},
    ]


def test_percent_signs_and_colons_in_a_query_mean_themselves(shop: Path, settings: Settings) -> None:
    query = "SELECT text FROM reviews WHERE text LIKE '%:x' OR text LIKE '%100\\%' ESCAPE '\\' ORDER BY id"

    rows = read_rows(f"sql://sqlite:///shop.db?query={query}", settings, shop)

    assert [row["text"] for row in rows] == ["great 100%", "12:30 :x"]


def test_a_query_is_asked_anew_and_pinned_rows_are_not(shop: Path, settings: Settings) -> None:
    uri = f"sql://sqlite:///shop.db?query={QUERY}"
    before = fetch(uri, settings, base_dir=shop).record.sha256
    with sqlite3.connect(shop / "shop.db") as connection:
        connection.execute("DELETE FROM reviews WHERE id = 3")
    connection.close()

    after = fetch(uri, settings, base_dir=shop)

    assert after.record.sha256 != before
    assert pq.read_metadata(after.path).num_rows == 2
    assert fetch(f"{uri}#sha256={after.record.sha256}", settings, base_dir=Path("/nowhere")).path == after.path
    with pytest.raises(SourceError, match=f"expected sha256 {before}, got {after.record.sha256}"):
        fetch(f"{uri}#sha256={before}", settings, base_dir=shop)


def test_equal_rows_have_equal_digests_wherever_they_come_from(shop: Path, settings: Settings) -> None:
    other = fetch("sql://sqlite:///shop.db?query=SELECT 'bad' AS text, 1.5 AS stars", settings, base_dir=shop)
    same = fetch(f"sql://sqlite:///shop.db?query={QUERY} LIMIT 1 OFFSET 2", settings, base_dir=shop)

    assert other.record.sha256 == same.record.sha256


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("sqlite:///none.db?query=SELECT 1", "no database file .*none.db"),
        ("sqlite:///shop.db?query=SELECT nope FROM reviews", "the database answers: no such column: nope"),
        ("sqlite:///shop.db?query=SELECT text FROM reviews WHERE id > 9", "gives no rows"),
        ("sqlite:///shop.db?query=SELECT id, id FROM reviews", "gives the column 'id' twice"),
        ("sqlite:///shop.db?query=SELECT odd FROM reviews", "column 'odd' holds values of more than one type"),
        ("sqlite:///shop.db?query=DELETE FROM reviews", "attempt to write a readonly database"),
        ("nosuch://host/db?query=SELECT 1", "SQLAlchemy knows no database 'nosuch'"),
        ("${NO_SUCH_URL}?query=SELECT 1", "the environment variable NO_SUCH_URL is not set"),
        ("mysql+pymysql://host/db?query=SELECT 1", "its driver is not installed. Run: pip install pymysql"),
    ],
)
def test_a_wrong_query_is_explained(shop: Path, settings: Settings, source: str, expected: str) -> None:
    with pytest.raises(SourceError, match=expected):
        fetch(f"sql://{source}", settings, base_dir=shop)

    assert not (shop / "none.db").exists()
    assert len(read_rows(f"sql://sqlite:///shop.db?query={QUERY}", settings, shop)) == 3


def test_postgres_rows_keep_their_types(
    postgres: str, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_PASSWORD", PASSWORD)
    uri = (
        f"sql://postgresql://me:${{SHOP_PASSWORD}}@/shop?host={postgres}&query="
        "SELECT text, stars, at, tags, extra, ref FROM reviews WHERE text LIKE 'row %' ORDER BY id"
    )

    fetched = fetch(uri, settings, base_dir=tmp_path)

    tables = list(iter_tables(fetched, None))
    assert sum(table.num_rows for table in tables) == 50_000
    assert tables[0].slice(0, 2).to_pylist()[1].items() >= {"text": "row 2", "tags": ["a", "b"]}.items()
    assert tables[0].column("stars").to_pylist()[:3] == [None, 2, 3]
    assert tables[0].column("extra")[0].as_py() == '{"n": 1}'
    assert tables[0].column("ref")[0].as_py() == "00000000-0000-0000-0000-00000000000a"
    assert pa.types.is_decimal(tables[0].schema.field("stars").type)
    assert pa.types.is_timestamp(tables[0].schema.field("at").type)
    assert fetched.record.uri == uri
    kept = [path.read_bytes() for path in settings.cache_dir.rglob("*.json")]
    assert kept
    assert not [text for text in kept if b"p%40ss" in text or PASSWORD.encode() in text]


def test_a_query_cannot_write_to_postgres(postgres: str, settings: Settings, tmp_path: Path) -> None:
    uri = f"sql://postgresql://me:p%40ss%2Fword%3A1@/shop?host={postgres}&query=SELECT nextval('reviews_id_seq')"

    with pytest.raises(SourceError, match="read-only transaction"):
        fetch(uri, settings, base_dir=tmp_path)


class RecordingConnection(sqlite3.Connection):
    """A connection that keeps what it is sent, and answers all but what only MySQL knows."""

    sent: ClassVar[list[str]] = []

    def cursor(self, factory: Any = None) -> Any:
        sent = self.sent

        class Cursor(sqlite3.Cursor):
            def execute(self, sql: str, parameters: Any = ()) -> Self:
                sent.append(sql)
                return super().execute("SELECT 1" if sql.startswith("SET ") else sql, parameters)

        return super().cursor(factory or Cursor)


class RecordingMySql(MySQLDialect):
    """SQLAlchemy's words for MySQL, said to a connection that keeps them: no such server is packaged for tests."""

    driver = "recording"
    supports_statement_cache = True

    @classmethod
    def import_dbapi(cls) -> Any:
        return sqlite3

    def connect(self, *_words: Any, **_arguments: Any) -> Any:
        return sqlite3.connect(":memory:", factory=RecordingConnection)

    def initialize(self, connection: Any) -> None:
        """Ask for no version: there is no server that has one."""


class RecordingMariaDb(MariaDBDialect, RecordingMySql):
    """The same for MariaDB."""

    supports_statement_cache = True


@pytest.mark.parametrize("dialect", [RecordingMySql, RecordingMariaDb], ids=["mysql", "mariadb"])
def test_before_its_query_a_session_of_mysql_is_made_read_only(
    settings: Settings, tmp_path: Path, dialect: type[RecordingMySql]
) -> None:
    registry.register(f"{dialect.name}.recording", __name__, dialect.__name__)
    RecordingConnection.sent.clear()

    rows = read_rows(f"sql://{dialect.name}+recording://me@host/shop?query=SELECT 7 AS stars", settings, tmp_path)

    assert rows == [{"stars": 7}]
    assert RecordingConnection.sent == ["SET SESSION TRANSACTION READ ONLY", "SELECT 7 AS stars"]


def test_a_wrong_password_is_told_and_not_shown(postgres: str, settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="password authentication failed") as caught:
        fetch(f"sql://postgresql://me:hunter2@/shop?host={postgres}&query=SELECT 1", settings, base_dir=tmp_path)

    assert "hunter2" not in str(caught.value)


def test_a_database_that_cannot_be_reached_is_told(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"the database answers: .*[Cc]onnection refused"):
        fetch("sql://postgresql://me@127.0.0.1:9/shop?query=SELECT 1", settings, base_dir=tmp_path)
