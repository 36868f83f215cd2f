"""The rollout record: the one truth of what serves a product, and how it may change. Pure rules, no I/O.

The champion moves only to a release whose gates passed. Every change is one :class:`Decision`, and the decisions in
order replay to the record. Rollback goes to what served before the champion; repeated, it goes further back, so that
two bad releases in a row are left by two rollbacks. (``kubectl rollout undo`` would return to the first bad one.) The
way forward again is ``promote``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pydantic import AwareDatetime, Field

from launchyard.bundle.manifest import GateRecord
from launchyard.errors import GateRefused, RegistryError, RunError
from launchyard.stored import Stored

Action = Literal["promote", "rollback"]


class Release(Stored):
    """A version that may serve: where its bundle is and why it may."""

    version: int = Field(ge=1)
    digest: str
    bundle_uri: str
    gate: GateRecord


class Decision(Stored):
    """One change of what serves; never altered afterwards."""

    revision: int = Field(ge=1, description="Of the rollout record that it led to.")
    time: AwareDatetime
    actor: str = Field(description="Who or what decided: a login name, or pipeline.")
    action: Action
    before: int | None = Field(description="Version that served; None before the first release.")
    after: Release
    reason: str
    run_id: str | None = Field(description="Run that asked for it; None for a person.")


class RolloutRecord(Stored):
    """What serves one product now."""

    schema_version: int = 1
    namespace: str
    product: str
    revision: int = Field(ge=0, description="Counts changes; 0: nothing has been released. Compared before writing.")
    champion: Release | None = Field(description="The release that answers requests.")
    decision: Decision | None = Field(description="The change that led here.")


@dataclass(frozen=True)
class Cause:
    """Who asks for a change of the record, when and why."""

    actor: str
    reason: str
    now: datetime
    run_id: str | None = None


def start_rollout(namespace: str, product: str) -> RolloutRecord:
    """Return the record of a product of which nothing has been released."""
    return RolloutRecord(namespace=namespace, product=product, revision=0, champion=None, decision=None)


def promote(record: RolloutRecord, candidate: Release, cause: Cause) -> RolloutRecord:
    """Return the record with ``candidate`` as champion; the same record when it serves already.

    Raises:
        GateRefused: a gate of the candidate did not pass.
    """
    if not candidate.gate.passed:
        raise GateRefused(
            f"{record.product}: version {candidate.version} may not be released: {candidate.gate.failures}. "
            "Train a better model, or change evaluate.gates in the spec and run again."
        )
    # A step that is repeated leaves no second decision in the history.
    if record.champion == candidate:
        return record
    return _move(record, "promote", candidate, cause)


def check_compared(product: str, serving: int | None, compared_with: int | None) -> None:
    """Return when a version was compared with what serves.

    Raises:
        RunError: something else serves by now, so the comparison no longer holds.
    """
    if serving != compared_with:
        raise RunError(
            f"{product}: version {serving or 'none'} serves now, but this model was compared with version "
            f"{compared_with or 'none'}. Run again with --from evaluate."
        )


def promote_compared(
    record: RolloutRecord, candidate: Release, cause: Cause, *, compared_with: int | None
) -> RolloutRecord:
    """Return the record with ``candidate`` as champion, which was compared with version ``compared_with``.

    The same record when it serves already.

    Raises:
        GateRefused: a gate of the candidate did not pass.
        RunError: something else serves than what it was compared with.
    """
    if record.champion != candidate:
        check_compared(record.product, record.champion.version if record.champion else None, compared_with)
    return promote(record, candidate, cause)


def rollback(
    record: RolloutRecord, history: Iterable[Decision], cause: Cause, *, to: int | None = None
) -> RolloutRecord:
    """Return the record with an earlier champion again: the one before, or version ``to``.

    The same record when ``to`` serves already.

    Args:
        record: What serves now.
        history: All decisions on the product, oldest first.
        cause: Who asks, when and why.
        to: Version to go back to; default: the champion before the present one.

    Raises:
        RegistryError: there is no earlier champion, or ``to`` is none of them.
    """
    if to is not None and record.champion is not None and record.champion.version == to:
        return record
    earlier = find_earlier_champions(history)
    if not earlier:
        raise RegistryError(f"{record.product}: there is no earlier version to go back to. Promote another version.")
    if to is None:
        return _move(record, "rollback", earlier[0], cause)
    for release in earlier:
        if release.version == to:
            return _move(record, "rollback", release, cause)
    known = ", ".join(str(release.version) for release in earlier)
    raise RegistryError(
        f"{record.product}: version {to} did not serve before the present one. "
        f"Earlier versions: {known}. Promote it to go forward."
    )


def find_earlier_champions(history: Iterable[Decision]) -> list[Release]:
    """Return what rollback can go back to, nearest first: promotions stack up, a rollback takes off the top."""
    stack: list[Release] = []
    for decision in history:
        if decision.action == "rollback":
            # Always found: a rollback goes to a release that this list named.
            while stack[-1] != decision.after:
                stack.pop()
        else:
            stack.append(decision.after)
    # Without the last one, which serves now.
    return stack[-2::-1]


def _move(record: RolloutRecord, action: Action, release: Release, cause: Cause) -> RolloutRecord:
    decision = Decision(
        revision=record.revision + 1,
        time=cause.now,
        actor=cause.actor,
        action=action,
        before=record.champion.version if record.champion else None,
        after=release,
        reason=cause.reason,
        run_id=cause.run_id,
    )
    return record.model_copy(update={"revision": decision.revision, "champion": release, "decision": decision})
