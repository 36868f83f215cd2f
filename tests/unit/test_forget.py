from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from forget_samples import (
    ANN,
    BOB,
    PRODUCT,
    add_events,
    add_feedback,
    add_version,
    find_pseudonym,
    read_everything,
    write_run,
)
from launchyard.cli.main import build_app
from launchyard.errors import RegistryError
from launchyard.privacy.forget import Counts, Remains, find_user, forget_user
from launchyard.privacy.scan import iter_traces
from launchyard.records.events import EventLog
from launchyard.records.recent_events import RecentEvents
from launchyard.records.records import Records
from launchyard.settings import Settings


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A home in which Ann and Bob are known everywhere: events, feedback, a run's data set, a version's report."""
    monkeypatch.setenv("LAUNCHYARD_HOME", str(tmp_path / "home"))
    settings = Settings(home=tmp_path / "home")
    pseudonyms = [find_pseudonym(settings, user) for user in (ANN, BOB, ANN)]
    add_version(settings, tmp_path / "bundle", report=f"<p>{pseudonyms[0]} liked</p>")
    write_run(settings, pseudonyms)
    add_events(settings, ANN, "item-of-ann", "item-of-both")
    add_events(settings, BOB, "item-of-bob", "item-of-both")
    add_feedback(settings, ANN, "a", "comment of ann")
    add_feedback(settings, BOB, "b", "comment of bob")
    return settings


def call(*words: str, answer: str = "") -> Result:
    return CliRunner().invoke(build_app(), ["forget", *words], input=answer, env={"COLUMNS": "200"})


def read_json(*words: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(call(*words, "--json").stdout)
    return document


def test_everything_that_names_a_user_is_found(settings: Settings) -> None:
    found = find_user(settings, PRODUCT, ANN)

    assert found.user == find_pseudonym(settings)
    assert found.now == Counts(events=2, feedback=1, features=0)
    assert set(found.later) == {
        Remains("version 1", num_files=1, count=1),
        Remains("runs/films/20261122-120000", num_files=3, count=6),
    }
    assert found.learned == (1,)


def test_forgetting_takes_one_user_out_of_the_records_and_their_files(settings: Settings) -> None:
    with closing(EventLog(settings, PRODUCT)) as log, closing(RecentEvents(log, max_events=5)):
        forget_user(settings, PRODUCT, ANN)

        forgotten = list(log.forgotten())
        left = [received.event.item for received in log.iter_all()]

    content = b"".join(path.read_bytes() for path in settings.root.glob("records.db*"))
    assert forgotten == [find_pseudonym(settings)]
    assert left == ["item-of-bob", "item-of-both"]
    assert b"of-ann" not in content
    assert b"of ann" not in content
    assert b"comment of bob" in content
    with closing(Records(settings)) as records:
        assert [feedback.comment for feedback in records.list_feedback(PRODUCT)] == ["comment of bob"]


def test_no_file_holds_the_users_own_id(settings: Settings) -> None:
    forget_user(settings, PRODUCT, ANN)

    assert ANN.encode() not in read_everything(settings.root)


def test_done_again_nothing_is_left_to_remove_now(settings: Settings) -> None:
    first, second = (call(PRODUCT, "--user", ANN, "--yes") for _ in range(2))

    assert "Removed now: 2 events, 1 pieces of feedback, 0 feature rows." in first.stdout
    assert "runs/films/20261122-120000: 6 rows and mentions in 3 files" in first.stdout
    assert "version 1: what its model learned" in first.stdout
    assert "within about a second" in first.stdout
    assert "Nothing is left that can be removed now." in second.stdout
    assert (first.exit_code, second.exit_code) == (0, 0)


def test_an_unknown_user_is_no_error_and_left_out_of_the_next_training_all_the_same(settings: Settings) -> None:
    result = call(PRODUCT, "--user", "nobody", "--yes")

    assert result.exit_code == 0
    assert "Nothing was found of this user." in result.stdout
    with closing(EventLog(settings, PRODUCT)) as log:
        assert list(log.forgotten()) == [find_pseudonym(settings, "nobody")]
        assert log.count() == 4


def test_a_dry_run_changes_nothing(settings: Settings) -> None:
    document = read_json(PRODUCT, "--user", ANN, "--dry-run")

    assert document["removed"] is False
    assert document["now"] == {"events": 2, "feedback": 1, "features": 0}
    assert document["learned"] == [1]
    with closing(EventLog(settings, PRODUCT)) as log:
        assert (log.count(), log.forgotten()) == (4, {})


@pytest.mark.parametrize(("answer", "num_left"), [("n\n", 4), ("", 4), ("y\n", 2)])
def test_without_yes_it_asks_first(settings: Settings, answer: str, num_left: int) -> None:
    result = call(PRODUCT, "--user", ANN, answer=answer)

    assert "Can be removed now: 2 events" in result.stdout
    with closing(EventLog(settings, PRODUCT)) as log:
        assert log.count() == num_left


def test_json_cannot_ask(settings: Settings) -> None:
    result = call(PRODUCT, "--user", ANN, "--json")

    assert result.exit_code == 2
    assert "--dry-run" in result.stderr
    with closing(EventLog(settings, PRODUCT)) as log:
        assert log.count() == 4


def test_json_says_what_was_removed(settings: Settings) -> None:
    document = read_json(PRODUCT, "--user", ANN, "--yes")

    assert document["removed"] is True
    assert document["now"]["events"] == 2
    assert {place["place"] for place in document["next_training"]} == {"version 1", "runs/films/20261122-120000"}


def test_an_unknown_product_names_the_nearest(settings: Settings) -> None:
    with pytest.raises(RegistryError, match="Did you mean 'films'"):
        forget_user(settings, "filme", ANN)


def test_a_user_of_another_product_is_another_user(settings: Settings, tmp_path: Path) -> None:
    settings.runs_dir("books").mkdir(parents=True)

    assert forget_user(settings, "books", ANN).is_empty
    assert find_user(settings, PRODUCT, ANN).now.events == 2


def test_a_user_is_found_however_a_file_spells_the_pseudonym(tmp_path: Path) -> None:
    user = "a1" * 16
    np.savez(tmp_path / "vectors.npz", users=np.array(["b2" * 16, user]), allow_pickle=False)
    dictionary = pa.array([user, "b2" * 16, user]).dictionary_encode()
    pq.write_table(pa.table({"n": [1, 2, 3], "entity": dictionary}), tmp_path / "rows.parquet")
    (tmp_path / "cut.parquet").write_bytes(b"PAR1" + user.encode())
    (tmp_path / "rows.json").write_text(json.dumps({user: user}))
    (tmp_path / "other.json").write_text("b2" * 16)
    (tmp_path / "empty").touch()

    found = {trace.path.name: trace.count for trace in iter_traces(tmp_path, user)}

    assert found == {"vectors.npz": 1, "rows.parquet": 2, "cut.parquet": 1, "rows.json": 2}
