from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from event_log_contract import ANN, BOB, make_event, recent_items, wait_until
from launchyard.errors import RegistryError
from launchyard.records.events import EventLog, StoredEvent
from launchyard.records.recent_events import RecentEvents
from launchyard.settings import Settings


class WatchedLog(EventLog):
    """Counts what is read of users; waits for ``gate`` between reading and telling."""

    def __init__(self, settings: Settings, product: str) -> None:
        super().__init__(settings, product)
        self.users_read: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        self.has_read = threading.Event()

    def history(self, user: str, limit: int) -> list[StoredEvent]:
        found = super().history(user, limit)
        self.users_read.append(user)
        self.has_read.set()
        assert self.gate.wait(timeout=20)
        return found


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


@pytest.fixture
def log(settings: Settings) -> Iterator[WatchedLog]:
    with closing(WatchedLog(settings, "films")) as log:
        yield log


@pytest.fixture
def other_log(settings: Settings) -> Iterator[EventLog]:
    with closing(EventLog(settings, "films")) as log:
        yield log


@pytest.fixture
def recent(log: WatchedLog) -> Iterator[RecentEvents]:
    with closing(RecentEvents(log, max_events=5, timeout_s=20)) as recent:
        yield recent


def test_a_user_in_memory_costs_no_query_however_many_events_come(log: WatchedLog, recent: RecentEvents) -> None:
    recent.history(ANN)
    for number in range(8):
        recent.add([make_event(number), make_event(number, BOB)])

    assert recent_items(recent) == [f"item-{number}" for number in range(3, 8)]
    assert log.users_read == [ANN]


def test_an_event_that_comes_while_its_user_is_read_is_not_lost(
    log: WatchedLog, other_log: EventLog, recent: RecentEvents
) -> None:
    log.gate.clear()

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(recent_items, recent)
        assert log.has_read.wait(timeout=20)
        other_log.add([make_event(1)])
        recent.follow()
        log.gate.set()

        assert reading.result(timeout=20) == ["item-1"]
    assert recent_items(recent) == ["item-1"]
    assert log.users_read == [ANN]


def test_a_user_who_is_forgotten_while_being_read_is_not_remembered(
    log: WatchedLog, other_log: EventLog, recent: RecentEvents
) -> None:
    other_log.add([make_event(1)])
    log.gate.clear()

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(recent_items, recent)
        assert log.has_read.wait(timeout=20)
        other_log.forget(ANN)
        recent.follow()
        log.gate.set()
        reading.result(timeout=20)

    assert recent_items(recent) == []


def test_a_user_in_memory_who_was_forgotten_and_came_back_has_only_the_new_events(
    other_log: EventLog, recent: RecentEvents
) -> None:
    recent.add([make_event(1)])
    assert recent_items(recent) == ["item-1"]

    other_log.forget(ANN)
    other_log.add([make_event(2)])
    recent.follow()

    assert recent_items(recent) == ["item-2"]


def test_who_was_not_asked_about_for_longest_leaves_memory_first(log: WatchedLog) -> None:
    users = [f"{number:032x}" for number in range(4)]
    log.add([make_event(number, user) for user in users[:3] for number in range(2)])

    # Three users of two events fit; the fourth has none and takes a place all the same.
    with closing(RecentEvents(log, max_events=5, capacity=9)) as recent:
        for user in (*users[:3], users[0], users[3]):
            recent.history(user)
        log.users_read.clear()
        for user in (users[0], users[2], users[3], users[1]):
            recent.history(user)

    assert log.users_read == [users[1]]


def test_a_bulk_import_is_seen_at_once(other_log: EventLog, recent: RecentEvents) -> None:
    assert recent_items(recent) == []

    other_log.add([make_event(number) for number in range(3000)])
    wait_until(lambda: recent_items(recent) == [f"item-{number}" for number in range(2995, 3000)])
    other_log.add([make_event(4000)])

    assert wait_until(lambda: "item-4000" in recent_items(recent)) < 1.0


def test_a_database_that_fails_is_an_error_for_users_who_are_not_in_memory_until_it_is_well_again(
    settings: Settings, recent: RecentEvents
) -> None:
    recent.add([make_event(1)])
    assert recent_items(recent) == ["item-1"]

    with closing(sqlite3.connect(settings.root / "records.db")) as connection:
        connection.execute("ALTER TABLE launchyard_events RENAME TO elsewhere")
        wait_until(lambda: recent.problem is not None)
        assert recent_items(recent) == ["item-1"]
        with pytest.raises(RegistryError, match="records cannot be used"):
            recent.history(BOB)
        connection.execute("ALTER TABLE elsewhere RENAME TO launchyard_events")

    wait_until(lambda: recent.problem is None)
    assert recent_items(recent, BOB) == []


def test_a_slow_database_costs_the_deadline(log: WatchedLog) -> None:
    with closing(RecentEvents(log, max_events=5, timeout_s=0.05)) as recent:
        log.gate.clear()
        with pytest.raises(RegistryError, match=r"did not answer within 0\.05 s"):
            recent.history(ANN)
        log.gate.set()

        wait_until(lambda: recent.problem is None)
        assert not recent.history(ANN)


def test_closing_ends_all_threads_that_were_started(log: WatchedLog) -> None:
    before = set(threading.enumerate())
    recent = RecentEvents(log, max_events=5)
    recent.history(ANN)
    # Not counted: other tests' threads may end meanwhile.
    started = {thread.name.partition("_")[0]: thread for thread in set(threading.enumerate()) - before}

    recent.close()

    assert {"follow-events", "read-events"} <= started.keys()
    for thread in started.values():
        thread.join(timeout=20)
    assert [name for name, thread in started.items() if thread.is_alive()] == []
