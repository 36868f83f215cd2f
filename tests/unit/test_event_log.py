from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path

import pytest

from event_log_contract import ANN, BOB, NOW, EventLogContract, make_event
from launchyard.records.events import Event, EventLog
from launchyard.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


@pytest.fixture
def log(settings: Settings) -> Iterator[EventLog]:
    with closing(EventLog(settings, "films")) as log:
        yield log


class TestEventLogOnSqlite(EventLogContract):
    """The embedded database."""


def test_what_was_forgotten_cannot_be_read_in_the_files(settings: Settings, log: EventLog) -> None:
    for number in range(400):
        # Long items, one by one: pages are split all the time, which leaves copies of rows behind.
        user = ANN if number % 3 else BOB
        log.add([Event(user, f"of-{user[:2]}-{number}-{'x' * (number % 7) * 50}", make_event(number).timestamp)])

    log.forget(ANN)
    log.erase_deleted()

    content = {path.name: path.read_bytes() for path in settings.root.glob("records.db*")}
    assert sum(part.count(b"of-b2-") for part in content.values()) == 134
    assert sum(part.count(b"of-a1-") for part in content.values()) == 0
    # The note itself and its index.
    assert sum(part.count(ANN.encode()) for part in content.values()) == 2


def test_without_erasing_deleted_rows_would_still_be_there(settings: Settings, log: EventLog) -> None:
    log.add([make_event(number) for number in range(100)])

    log.forget(ANN)

    assert any(b"item-50" in path.read_bytes() for path in settings.root.glob("records.db*"))


@pytest.mark.parametrize("weight", [float("nan"), float("inf")])
def test_a_weight_that_is_no_number_is_no_event(weight: float) -> None:
    with pytest.raises(ValueError, match="the weight must be finite"):
        Event(ANN, "a", NOW, weight=weight)


def test_a_time_without_a_zone_is_no_event() -> None:
    with pytest.raises(ValueError, match="the time must have a zone"):
        Event(ANN, "a", datetime(2026, 1, 1))
