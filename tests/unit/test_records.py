from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from pydantic import ValidationError
from sqlalchemy import Connection, text

from launchyard.errors import RegistryError
from launchyard.records.records import Feedback, Records
from launchyard.records.tables import MIGRATIONS, open_records
from launchyard.settings import Settings
from records_contract import NOW, RecordsContract, make_feedback


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


class TestRecordsOnSqlite(RecordsContract):
    """The embedded database."""


def test_nobody_else_may_read_keys_and_comments(settings: Settings) -> None:
    Records(settings).get_signing_key()

    modes = {path.name: path.stat().st_mode & 0o077 for path in settings.root.glob("records.db*")}

    assert "records.db" in modes
    assert set(modes.values()) == {0}


def test_what_is_acknowledged_is_synced_to_the_disk(settings: Settings) -> None:
    engine = open_records(settings.records_url)

    with engine.connect() as connection:
        assert connection.execute(text("PRAGMA synchronous")).scalar() == 2
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"


def test_a_newer_database_asks_for_an_upgrade(settings: Settings) -> None:
    Records(settings).close()
    with sqlite3.connect(settings.root / "records.db") as connection:
        connection.execute("UPDATE launchyard_schema SET version = 9")

    with pytest.raises(
        RegistryError, match=rf"schema version 9, .* reads up to {len(MIGRATIONS)}\. Upgrade launchyard"
    ):
        Records(settings)


def test_an_older_database_is_brought_forward_with_its_rows(settings: Settings) -> None:
    Records(settings).add_feedback(make_feedback("a"))

    def add_column(connection: Connection) -> None:
        connection.execute(text("ALTER TABLE launchyard_feedback ADD COLUMN language TEXT"))

    for _ in range(2):
        engine = open_records(settings.records_url, (*MIGRATIONS, add_column))

    with engine.connect() as connection:
        assert connection.execute(text("SELECT version FROM launchyard_schema")).scalar() == len(MIGRATIONS) + 1
        assert connection.execute(text("SELECT output_id, language FROM launchyard_feedback")).all() == [("a", None)]


def test_the_first_step_makes_the_tables_of_the_first_release(settings: Settings) -> None:
    released = (Path(__file__).parent.parent / "golden" / "records_schema_1.sql").read_text(encoding="utf-8")

    engine = open_records(settings.records_url, MIGRATIONS[:1])

    with engine.connect() as connection:
        made = connection.scalars(text("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name")).all()
    assert "".join(released.split()).split(";")[:-1] == ["".join(statement.split()) for statement in made]


def test_a_migration_that_fails_changes_nothing(settings: Settings) -> None:
    Records(settings).close()

    def fail_halfway(connection: Connection) -> None:
        connection.execute(text("DROP TABLE launchyard_feedback"))
        connection.execute(text("SELECT * FROM nowhere"))

    with pytest.raises(RegistryError, match="no such table: nowhere"):
        open_records(settings.records_url, (*MIGRATIONS, fail_halfway))

    assert Records(settings).add_feedback(make_feedback("a"))


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense", "LAUNCHYARD_DATABASE_URL: cannot be used"),
        ("oracle9://x", "LAUNCHYARD_DATABASE_URL: cannot be used"),
        ("sqlite://", "forgets what it acknowledged"),
        ("sqlite:////proc/nowhere/records.db", "records cannot be opened"),
        ("postgresql+psycopg://ann:secret@127.0.0.1:1/x", r"ann:\*\*\*@127.*cannot be opened.*Check that the database"),
    ],
)
def test_a_database_that_cannot_be_used_says_what_to_do(url: str, message: str) -> None:
    with pytest.raises(RegistryError, match=f"(?s){message}") as caught:
        Records(Settings(database_url=url))

    assert "secret" not in str(caught.value)


def test_a_file_that_is_no_database_is_named(settings: Settings) -> None:
    settings.root.mkdir(parents=True)
    (settings.root / "records.db").write_text("these are not the rows you are looking for" * 100)

    with pytest.raises(RegistryError, match=r"records\.db: the records cannot be opened: file is not a database"):
        Records(settings)


@pytest.mark.parametrize("said", [{}, {"rating": float("inf")}, {"stars": 5}])
def test_feedback_that_says_nothing_usable_is_refused(said: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Feedback.model_validate({"output_id": "a", "product": "reviews", "version": 1, "predicted_at": NOW} | said)
