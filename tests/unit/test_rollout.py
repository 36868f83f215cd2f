from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from launchyard.bundle.manifest import GateRecord
from launchyard.errors import GateRefused, RegistryError
from launchyard.evaluation.results import GateResult
from launchyard.rollout.rules import (
    Cause,
    Decision,
    Release,
    RolloutRecord,
    find_earlier_champions,
    promote,
    rollback,
    start_rollout,
)

START = datetime(2026, 11, 22, tzinfo=UTC)


def make_release(version: int, *, accuracy: float | None = 0.9) -> Release:
    gate = GateResult(metric="accuracy", rule=">= 0.80", value=accuracy, passed=accuracy is not None)
    return Release(
        version=version,
        digest=f"{version:064x}",
        bundle_uri=f"bundles/{version:064x}",
        gate=GateRecord(evaluation_sha256="e" * 64, gates=(gate,)),
    )


def make_cause(minute: int = 0) -> Cause:
    return Cause(actor="ann", reason="test", now=START + timedelta(minutes=minute))


class History:
    """A record with the decisions that led to it."""

    def __init__(self) -> None:
        self.record = start_rollout("default", "reviews")
        self.decisions: list[Decision] = []

    def promote(self, version: int) -> None:
        self.take(promote(self.record, make_release(version), make_cause()))

    def rollback(self, to: int | None = None) -> None:
        self.take(rollback(self.record, self.decisions, make_cause(), to=to))

    def take(self, changed: RolloutRecord) -> None:
        if changed is not self.record:
            assert changed.decision is not None
            self.decisions.append(changed.decision)
        self.record = changed

    @property
    def serving(self) -> int | None:
        return self.record.champion.version if self.record.champion else None


def make_history(*versions: int) -> History:
    history = History()
    for version in versions:
        history.promote(version)
    return history


def test_the_first_release_has_nothing_before_it() -> None:
    history = make_history(1)

    assert history.serving == 1
    assert history.record.revision == 1
    assert history.decisions[0].before is None
    assert history.decisions[0].after.version == 1


def test_a_release_without_passing_gates_never_serves() -> None:
    history = make_history(1)

    with pytest.raises(GateRefused, match=r"version 2 may not be released: accuracy undefined is not >= 0.80"):
        promote(history.record, make_release(2, accuracy=None), make_cause())


def test_releasing_what_serves_changes_nothing() -> None:
    history = make_history(1)
    before = history.record

    history.promote(1)

    assert history.record is before


def test_rollback_goes_to_what_served_before_and_repeated_further_back() -> None:
    history = make_history(1, 2, 3)

    history.rollback()
    assert history.serving == 2
    history.rollback()
    assert history.serving == 1
    with pytest.raises(RegistryError, match="no earlier version to go back to"):
        history.rollback()


def test_rollback_after_a_new_release_does_not_return_to_what_was_rolled_back() -> None:
    history = make_history(1, 2)
    history.rollback()
    history.promote(3)

    history.rollback()

    assert history.serving == 1


def test_rollback_to_a_version_skips_those_between() -> None:
    history = make_history(1, 2, 3)

    history.rollback(to=1)

    assert history.serving == 1
    assert find_earlier_champions(history.decisions) == []


def test_rollback_to_what_serves_changes_nothing() -> None:
    history = make_history(1, 2, 1)
    before = history.record

    history.rollback(to=1)

    assert history.record is before


def test_rollback_to_a_version_that_never_served_names_those_that_did() -> None:
    with pytest.raises(RegistryError, match=r"version 9 did not serve before .* Earlier versions: 2, 1"):
        make_history(1, 2, 3).rollback(to=9)


def test_rollback_before_any_release_is_refused() -> None:
    with pytest.raises(RegistryError, match="no earlier version"):
        History().rollback()


class RolloutMachine(RuleBasedStateMachine):
    """Any sequence of releases and rollbacks, beside the simplest model of it: a stack of versions."""

    def __init__(self) -> None:
        super().__init__()
        self.history = History()
        self.stack: list[int] = []

    @rule(version=st.integers(1, 6), passed=st.booleans())
    def release(self, version: int, passed: bool) -> None:
        if not passed:
            with pytest.raises(GateRefused):
                promote(self.history.record, make_release(version, accuracy=None), make_cause())
            return
        self.history.promote(version)
        if self.stack[-1:] != [version]:
            self.stack.append(version)

    @rule()
    def go_back(self) -> None:
        if len(self.stack) < 2:
            with pytest.raises(RegistryError):
                self.history.rollback()
            return
        self.history.rollback()
        self.stack.pop()

    @rule(to=st.integers(1, 6))
    def go_back_to(self, to: int) -> None:
        if to not in self.stack:
            with pytest.raises(RegistryError):
                self.history.rollback(to)
            return
        self.history.rollback(to)
        while self.stack[-1] != to:
            self.stack.pop()

    @invariant()
    def the_champion_is_the_top_of_the_stack_and_passed_its_gates(self) -> None:
        assert self.history.serving == (self.stack[-1] if self.stack else None)
        champion = self.history.record.champion
        assert champion is None or champion.gate.passed

    @invariant()
    def every_change_is_one_revision_and_one_decision(self) -> None:
        assert [decision.revision for decision in self.history.decisions] == list(
            range(1, self.history.record.revision + 1)
        )

    @invariant()
    def the_decisions_replay_to_the_record(self) -> None:
        replayed: int | None = None
        for decision in self.history.decisions:
            assert decision.before == replayed
            replayed = decision.after.version
        assert replayed == self.history.serving
        assert [found.version for found in find_earlier_champions(self.history.decisions)] == self.stack[-2::-1]

    @invariant()
    def the_record_survives_writing_and_reading(self) -> None:
        record = self.history.record
        assert RolloutRecord.model_validate_json(record.model_dump_json()) == record


TestRolloutMachine = RolloutMachine.TestCase
TestRolloutMachine.settings = hypothesis_settings(max_examples=50, stateful_step_count=30, deadline=None)
