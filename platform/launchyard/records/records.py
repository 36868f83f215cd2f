"""What must never be lost: versions, rollout records, decisions, feedback and the signing key, in SQL.

Every row belongs to a namespace. A method returns when its transaction is on the disk.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import reduce
from itertools import islice
from typing import Any, Self

from pydantic import AwareDatetime, Field, JsonValue, model_validator
from sqlalchemy import ColumnElement, Connection, Row, Table, delete, func, insert, select, update

from launchyard.bundle.manifest import BundleManifest, GateRecord
from launchyard.errors import RegistryError, RequestError
from launchyard.evaluation.results import Measure
from launchyard.foreign_text import check_storable
from launchyard.records.database import RecordDatabase
from launchyard.records.tables import DECISIONS, FEEDBACK, KEYS, MIRRORED, PATIENT_WAIT_S, ROLLOUTS, VERSIONS
from launchyard.rollout.rules import Decision, Release, RolloutRecord
from launchyard.settings import Settings
from launchyard.stored import Stored

KEY_BYTES = 32


class VersionRecord(Stored):
    """One registered version: where its bundle is and what is worth knowing without opening it."""

    product: str
    version: int
    kind: str
    digest: str
    bundle_uri: str
    run_id: str
    created: AwareDatetime
    code_version: str
    fingerprint: str = Field(description="Of the rows it was trained and measured on.")
    metrics: dict[str, Measure] = Field(description="On the test rows.")
    gate: GateRecord

    @property
    def release(self) -> Release:
        """The version as a rollout record names it."""
        return Release(version=self.version, digest=self.digest, bundle_uri=self.bundle_uri, gate=self.gate)


class Feedback(Stored):
    """What somebody says about one answer: at least one of label, rating, comment and correction."""

    output_id: str = Field(max_length=200)
    product: str
    version: int
    predicted_at: AwareDatetime
    label: str | None = None
    rating: float | None = Field(None, allow_inf_nan=False)
    comment: str | None = None
    correction: JsonValue = Field(None, description="What was right, as the product's kind has it.")
    subject: str | None = Field(None, description="Pseudonym of the user who was answered, if it is known.")

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.said:
            raise ValueError("give at least one of label, rating, comment and correction")
        return self

    @property
    def said(self) -> dict[str, Any]:
        """What is said, without what is left open."""
        return {name: value for name in SAID if (value := getattr(self, name)) is not None}

    def merge(self, newer: Feedback) -> Feedback:
        """Return what is known after ``newer``: what it says stands, what it leaves open stays."""
        return self.model_copy(update=newer.said)


SAID = ("label", "rating", "comment", "correction")

FEEDBACK_COLUMNS = [FEEDBACK.c[name] for name in Feedback.model_fields if name not in SAID] + [FEEDBACK.c.said]

MAX_PIECES = 16
"""Pieces of feedback on one answer that are kept one by one; older ones are merged, so that nobody fills the disk."""


class Records:
    """The records of one namespace; safe to share between threads, and between processes through the database.

    Each call waits up to ``wait_s`` for other writers and for the server, then raises a RegistryError.
    """

    def __init__(self, settings: Settings, *, wait_s: float = PATIENT_WAIT_S) -> None:
        self._namespace = settings.namespace
        self._database = RecordDatabase(settings, wait_s=wait_s)

    def close(self) -> None:
        """Close all connections."""
        self._database.close()

    def add_version(self, manifest: BundleManifest, bundle_uri: str) -> VersionRecord:
        """Return the version of a bundle, with the next free number when this digest has none yet."""
        mine = self._of(VERSIONS, manifest.product)
        with self._database.writing(f"version/{manifest.product}") as connection:
            known = connection.execute(select(VERSIONS.c.document).where(mine, VERSIONS.c.digest == manifest.digest))
            if (document := known.scalar()) is not None:
                return VersionRecord.model_validate_json(document)
            newest = connection.execute(select(func.max(VERSIONS.c.version)).where(mine)).scalar()
            added = _describe_version(manifest, bundle_uri, (newest or 0) + 1)
            connection.execute(
                insert(VERSIONS).values(
                    namespace=self._namespace,
                    product=added.product,
                    version=added.version,
                    digest=added.digest,
                    document=added.model_dump_json(),
                )
            )
        return added

    def get_version(self, product: str, version: int) -> VersionRecord:
        """Return one version of a product.

        Raises:
            RegistryError: there is none; the message names what there is.
        """
        versions = {record.version: record for record in self.list_versions(product)}
        if version not in versions:
            raise RegistryError(f"{product}: there is no version {version}. Versions: {', '.join(map(str, versions))}.")
        return versions[version]

    def list_versions(self, product: str) -> list[VersionRecord]:
        """Return all versions of a product, oldest first.

        Raises:
            RegistryError: nothing was ever registered under that name; the message names the nearest and all known.
        """
        query = select(VERSIONS.c.document).where(self._of(VERSIONS, product)).order_by(VERSIONS.c.version)
        versions = [VersionRecord.model_validate_json(row.document) for row in self._fetch(query)]
        if not versions:
            raise RegistryError(_explain_unknown(product, self.list_products()))
        return versions

    def list_products(self) -> list[str]:
        """Return the names of all products that have a version, sorted."""
        query = select(VERSIONS.c.product).where(VERSIONS.c.namespace == self._namespace).distinct()
        return sorted(row.product for row in self._fetch(query))

    def find_rollout(self, product: str) -> RolloutRecord | None:
        """Return what serves a product, or None when nothing was ever released."""
        rows = self._fetch(select(ROLLOUTS.c.document).where(self._of(ROLLOUTS, product)))
        return RolloutRecord.model_validate_json(rows[0].document) if rows else None

    def list_rollouts(self) -> list[RolloutRecord]:
        """Return the rollout records of all products, by name."""
        query = select(ROLLOUTS.c.document).where(ROLLOUTS.c.namespace == self._namespace).order_by(ROLLOUTS.c.product)
        return [RolloutRecord.model_validate_json(row.document) for row in self._fetch(query)]

    def write_rollout(self, record: RolloutRecord, expected_revision: int) -> bool:
        """Write a changed record and its decision, unless somebody else changed it since ``expected_revision``.

        Returns:
            Whether it was written; if not, read the record again and decide again.
        """
        if record.decision is None or record.revision != expected_revision + 1:
            raise ValueError(
                f"{record.product}: revision {record.revision} is not one decision after {expected_revision}"
            )
        mine = self._of(ROLLOUTS, record.product)
        values = {"revision": record.revision, "document": record.model_dump_json()}
        names = {"namespace": self._namespace, "product": record.product}
        with self._database.writing(f"rollout/{record.product}") as connection:
            # In the transaction that writes: nobody comes between the look and the change.
            current = connection.execute(select(ROLLOUTS.c.revision).where(mine)).scalar()
            if (current or 0) != expected_revision:
                return False
            change = insert(ROLLOUTS).values(names) if current is None else update(ROLLOUTS).where(mine)
            connection.execute(change.values(values))
            decision = {"revision": record.revision, "document": record.decision.model_dump_json()}
            connection.execute(insert(DECISIONS).values(names | decision))
        return True

    def list_unmirrored(self) -> list[RolloutRecord]:
        """Return the rollout records that changed since MLflow was last told, by name."""
        seen = select(MIRRORED.c.product, MIRRORED.c.revision).where(MIRRORED.c.namespace == self._namespace)
        revisions = {row.product: row.revision for row in self._fetch(seen)}
        return [record for record in self.list_rollouts() if record.revision > revisions.get(record.product, 0)]

    def note_mirrored(self, record: RolloutRecord) -> None:
        """Note that MLflow shows what ``record`` says."""
        mine = self._of(MIRRORED, record.product)
        with self._database.writing(f"mirrored/{record.product}") as connection:
            seen = connection.execute(select(MIRRORED.c.revision).where(mine)).scalar()
            if seen is None:
                names = {"namespace": self._namespace, "product": record.product}
                connection.execute(insert(MIRRORED).values(**names, revision=record.revision))
            # Told after a newer revision, as by a slower process, an older one changes nothing.
            elif seen < record.revision:
                connection.execute(update(MIRRORED).where(mine).values(revision=record.revision))

    def history(self, product: str) -> list[Decision]:
        """Return all decisions on a product, oldest first; they replay to its rollout record."""
        query = select(DECISIONS.c.document).where(self._of(DECISIONS, product)).order_by(DECISIONS.c.revision)
        return [Decision.model_validate_json(row.document) for row in self._fetch(query)]

    def add_feedback(self, feedback: Feedback) -> bool:
        """Keep feedback on an answer; it is on the disk when this returns.

        A later label of the same answer stands above an earlier one and does not erase it: the newest ``MAX_PIECES``
        are kept as they came, and what stands of those before them as one piece.

        Returns:
            Whether it says anything new; sending the same again changes nothing.

        Raises:
            RequestError: a text holds what no database keeps.
        """
        _check_texts(feedback)
        with self._database.writing(f"feedback/{feedback.output_id}") as connection:
            mine = (FEEDBACK.c.namespace == self._namespace) & (FEEDBACK.c.output_id == feedback.output_id)
            pieces = _read_pieces(connection, mine)
            said = list(pieces.values())
            if said and (stands := reduce(Feedback.merge, said)).merge(feedback) == stands:
                return False
            # With the new piece MAX_PIECES are left, also where an older version has kept hundreds.
            if len(said) >= MAX_PIECES:
                _merge_pieces(connection, mine, dict(islice(pieces.items(), len(pieces) - MAX_PIECES + 2)))
            connection.execute(
                insert(FEEDBACK).values(
                    **feedback.model_dump(exclude=set(SAID)),
                    said=_write_said(feedback),
                    namespace=self._namespace,
                    number=max(pieces, default=-1) + 1,
                    received_at=datetime.now(UTC),
                )
            )
        return True

    def list_feedback(self, product: str) -> list[Feedback]:
        """Return what stands about each answer of a product that somebody gave feedback on, in order of the first."""
        with self._database.reading() as connection:
            return self._read_feedback(connection, FEEDBACK.c.product == product)

    def count_feedback(self, product: str) -> int:
        """Return the number of answers of a product that somebody gave feedback on."""
        query = select(func.count(FEEDBACK.c.output_id.distinct())).where(self._of(FEEDBACK, product))
        return int(self._fetch(query)[0][0])

    def count_feedback_of(self, product: str, subject: str) -> int:
        """Return the number of pieces of feedback on answers to one user, given as a pseudonym."""
        query = select(func.count()).where(self._of(FEEDBACK, product), FEEDBACK.c.subject == subject)
        return int(self._fetch(query)[0][0])

    def forget_feedback(self, product: str, subject: str) -> int:
        """Delete what was said about the answers to one user, given as a pseudonym; return the number of pieces."""
        with self._database.writing(f"forget/{product}") as connection:
            mine = self._of(FEEDBACK, product) & (FEEDBACK.c.subject == subject)
            return connection.execute(delete(FEEDBACK).where(mine)).rowcount

    def get_signing_key(self) -> bytes:
        """Return the namespace's key for output ids: made once, the same for every process from then on."""
        query = select(KEYS.c.secret).where(KEYS.c.namespace == self._namespace)
        # Without a lock at first: it is needed once in the life of a namespace.
        if rows := self._fetch(query):
            return bytes(rows[0].secret)
        with self._database.writing("key") as connection:
            # Again, now that nobody else can write: another process may have made the key meanwhile.
            secret = connection.execute(query).scalar()
            if secret is None:
                secret = secrets.token_bytes(KEY_BYTES)
                row = {"namespace": self._namespace, "secret": secret, "created_at": datetime.now(UTC)}
                connection.execute(insert(KEYS).values(row))
        return bytes(secret)

    def _of(self, table: Table, product: str) -> ColumnElement[bool]:
        return (table.c.namespace == self._namespace) & (table.c.product == product)

    def _fetch(self, query: Any) -> Sequence[Row[Any]]:
        with self._database.reading() as connection:
            return connection.execute(query).all()

    def _read_feedback(self, connection: Connection, condition: ColumnElement[bool]) -> list[Feedback]:
        query = (
            select(*FEEDBACK_COLUMNS)
            .where(FEEDBACK.c.namespace == self._namespace, condition)
            .order_by(FEEDBACK.c.number, FEEDBACK.c.received_at)
        )
        merged: dict[str, Feedback] = {}
        for row in connection.execute(query):
            newer = _read_feedback(row)
            older = merged.get(newer.output_id)
            merged[newer.output_id] = older.merge(newer) if older else newer
        return list(merged.values())


def _check_texts(feedback: Feedback) -> None:
    texts = {"output_id": feedback.output_id} | {
        name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for name, value in feedback.said.items()
    }
    for name, text in texts.items():
        try:
            check_storable(text)
        except ValueError as err:
            raise RequestError(f"{name}: {err}.") from err


def _read_pieces(connection: Connection, mine: ColumnElement[bool]) -> dict[int, Feedback]:
    """Return number -> each piece of feedback on one answer, oldest first."""
    rows = connection.execute(select(FEEDBACK.c.number, *FEEDBACK_COLUMNS).where(mine).order_by(FEEDBACK.c.number))
    return {row.number: _read_feedback(row) for row in rows}


def _read_feedback(row: Row[Any]) -> Feedback:
    found = {column.name: getattr(row, column.name) for column in FEEDBACK_COLUMNS}
    return Feedback.model_validate(found | json.loads(found.pop("said")))


def _write_said(feedback: Feedback) -> str:
    return json.dumps(feedback.said, ensure_ascii=False)


def _merge_pieces(connection: Connection, mine: ColumnElement[bool], pieces: Mapping[int, Feedback]) -> None:
    """Let the oldest of ``pieces`` say what all of them said, and delete the others."""
    oldest, *others = pieces
    merged = reduce(Feedback.merge, pieces.values())
    said = {"said": _write_said(merged)}
    connection.execute(update(FEEDBACK).where(mine, FEEDBACK.c.number == oldest).values(said))
    connection.execute(delete(FEEDBACK).where(mine, FEEDBACK.c.number > oldest, FEEDBACK.c.number <= max(others)))


def _describe_version(manifest: BundleManifest, bundle_uri: str, version: int) -> VersionRecord:
    return VersionRecord(
        product=manifest.product,
        version=version,
        kind=manifest.kind,
        digest=manifest.digest,
        bundle_uri=bundle_uri,
        run_id=manifest.run_id,
        created=manifest.created,
        code_version=manifest.code_version,
        fingerprint=manifest.fingerprint,
        metrics=manifest.metrics,
        gate=manifest.gate,
    )


def _explain_unknown(product: str, known: Sequence[str]) -> str:
    near = get_close_matches(product, known, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    listed = (
        f"Known products: {', '.join(known)}." if known else "Nothing is registered here yet. Run a pipeline first."
    )
    return f"{product}: is not a product of this namespace.{hint} {listed}"


@contextmanager
def opening_records(settings: Settings) -> Iterator[Records]:
    """Yield the records of a namespace for as long as the block runs: how all open them that do not keep them.

    Raises:
        RegistryError: the database cannot be opened.
    """
    records = Records(settings)
    try:
        yield records
    finally:
        records.close()
