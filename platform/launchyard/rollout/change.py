"""What serves a product, and changing it: read the rollout record, apply a rule, write it back unless it changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime

from launchyard.bundle.manifest import EVALUATION_NAME, parse_file, read_spec
from launchyard.bundle.store import BundleStore
from launchyard.errors import FeatureStoreError, RegistryError
from launchyard.evaluation.results import Evaluation
from launchyard.features.lock import releasing
from launchyard.features.publishing import find_published, publish_version
from launchyard.kinds import get_kind
from launchyard.records.records import Records, opening_records
from launchyard.rollout.rules import Cause, RolloutRecord, promote, promote_compared, rollback, start_rollout
from launchyard.settings import Settings
from launchyard.spec.blocks import Product

MAX_TRIES = 20
"""Tries to write a record that others keep changing; a person or a run changes it a few times a day."""


def release(
    settings: Settings, product: str, version: int, *, actor: str, run_id: str | None = None, reason: str = "promoted"
) -> RolloutRecord:
    """Make ``version`` serve and return the record; released again, nothing changes.

    Raises:
        GateRefused: a gate of the version did not pass.
        BundleError: its bundle does not verify.
        RegistryError: there is no such product or version.
    """
    cause = Cause(actor=actor, reason=reason, now=datetime.now(UTC), run_id=run_id)
    with opening_records(settings) as records:
        candidate = records.get_version(product, version).release
        return _change(settings, records, product, lambda record: promote(record, candidate, cause))


def release_compared(settings: Settings, product: str, version: int, *, actor: str, run_id: str) -> RolloutRecord:
    """Make a version serve that passed its gates, and return the record; released again, nothing changes.

    What serves is looked at and changed in one transaction: of two runs that were compared with the same champion, the
    second is refused, whenever it comes.

    Raises:
        GateRefused: a gate of the version did not pass.
        BundleError: its bundle does not verify.
        RegistryError: there is no such product or version.
        RunError: something else serves by now than what it was compared with.
    """
    cause = Cause(actor=actor, reason="passed all gates", now=datetime.now(UTC), run_id=run_id)
    with opening_records(settings) as records:
        candidate = records.get_version(product, version).release
        folder, _ = BundleStore(settings).open(candidate.bundle_uri)
        rival = parse_file(folder, EVALUATION_NAME, Evaluation).champion_version
        return _change(
            settings, records, product, lambda record: promote_compared(record, candidate, cause, compared_with=rival)
        )


def roll_back(
    settings: Settings, product: str, *, to: int | None = None, actor: str, reason: str = "rolled back"
) -> RolloutRecord:
    """Make an earlier champion serve again, the one before or version ``to``, and return the record.

    Raises:
        RegistryError: there is no such product or no such earlier champion.
        BundleError: its bundle does not verify.
    """
    cause = Cause(actor=actor, reason=reason, now=datetime.now(UTC))
    with opening_records(settings) as records:
        # Raises for a product that is not there; without a history it would be told that nothing served before.
        records.list_versions(product)
        return _change(
            settings, records, product, lambda record: rollback(record, records.history(product), cause, to=to)
        )


def _change(
    settings: Settings, records: Records, product: str, rule: Callable[[RolloutRecord], RolloutRecord]
) -> RolloutRecord:
    """Apply ``rule`` to the record until it is written; the new champion's bundle is verified before."""
    for _ in range(MAX_TRIES):
        # Anew in each try: the rule judges what serves by now.
        current = records.find_rollout(product) or start_rollout(settings.namespace, product)
        changed = rule(current)
        with _publishing(settings, current, changed):
            if changed == current or records.write_rollout(changed, current.revision):
                return changed
    raise RegistryError(f"{product}: the rollout record kept changing, {MAX_TRIES} times. Look at its history first.")


@contextmanager
def _publishing(settings: Settings, current: RolloutRecord, changed: RolloutRecord) -> Iterator[None]:
    """Verify the new champion's bundle and publish its features, and hold off other releases while the block runs."""
    if changed.champion is None:
        yield
        return
    folder, manifest = BundleStore(settings).open(changed.champion.bundle_uri)
    spec = read_spec(folder)
    if changed.champion == current.champion or not get_kind(spec.kind).load_features(spec):
        yield
        return
    with releasing(settings.features_dir(spec.product)):
        # Before the record is written: replicas that follow it find the features there.
        publish_version(settings, spec, manifest.digest)
        yield


def restore_features(settings: Settings, product: str) -> bool:
    """Publish the champion's features again where a release was cut off between its features and the record.

    Returns:
        Whether that was needed. It is not while another release is under way, which ends in order.

    Raises:
        BundleError: the champion's spec cannot be read.
        FeatureStoreError: the online store cannot be reached.
    """
    # Without a lock, whose folder would be made for each product without features.
    if find_published(settings, product) is None:
        return False
    with ExitStack() as stack:
        try:
            stack.enter_context(releasing(settings.features_dir(product), timeout_s=0))
        except FeatureStoreError:
            return False
        with opening_records(settings) as records:
            # Under the lock: a release that has just ended is seen whole.
            rollout = records.find_rollout(product)
        champion = None if rollout is None else rollout.champion
        if champion is None or champion.digest == find_published(settings, product):
            return False
        publish_version(settings, read_spec(BundleStore(settings).find_path(champion.bundle_uri)), champion.digest)
        return find_published(settings, product) == champion.digest


def get_spec(settings: Settings, product: str) -> Product:
    """Return the spec of what serves a product, else of its newest version.

    Raises:
        RegistryError: there is no such product.
        BundleError: the spec cannot be read.
    """
    with opening_records(settings) as records:
        versions = records.list_versions(product)
        rollout = records.find_rollout(product)
    serving = rollout.champion if rollout is not None else None
    return read_spec(BundleStore(settings).find_path((serving or versions[-1].release).bundle_uri))
