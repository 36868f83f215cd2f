"""Which rows each version was trained on, so that two models are compared on rows that neither has learned.

A version's file holds one keyed digest for each of its training rows: 64 bits of HMAC-SHA256 under the namespace's
key. Nobody without the key can test whether a row is among them, so the file says nothing by itself; it is never part
of a bundle. Rows that only differ in case, punctuation or white space have one digest: their copies count, too. Where
rows are about people, each digest has that of its user beside it, by which forgetting finds and removes them.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from launchyard.contract.rows import Recipe, RowNames
from launchyard.data.identity import UInts, format_ids, identify_rows
from launchyard.data.near_duplicates import join_columns, normalise_texts
from launchyard.files.atomic import new_file
from launchyard.kinds import get_kind
from launchyard.records.records import opening_records
from launchyard.settings import Settings
from launchyard.spec.blocks import Product, RowData

PURPOSE = b"launchyard training row 1\0"
FORM = 1
"""Raised whenever preparation writes the content of the same source row in another way, such as a better mask."""
BATCH_ROWS = 65_536
"""Rows whose digests are computed at once."""
ROW, OWNER = "row", "owner"
FORM_KEY = b"launchyard.form"


class RowDigester:
    """Makes the keyed digests of one product."""

    def __init__(self, key: bytes, product: str) -> None:
        self._key = key
        self._head = PURPOSE + product.encode()

    def digest_names(self, names: RowNames) -> UInts:
        """Return the digest of each name."""
        owners = [""] * len(names.names) if names.owners is None or not names.is_of_owner else names.owners
        pairs = zip(owners, names.names, strict=True)
        return np.array([self._mac(owner, name) for owner, name in pairs], dtype=np.uint64)

    def digest_owners(self, owners: Sequence[str]) -> UInts:
        """Return the digest of each owner."""
        known = {owner: self._mac(owner, "") for owner in set(owners)}
        return np.array([known[owner] for owner in owners], dtype=np.uint64)

    def _mac(self, owner: str, name: str) -> int:
        message = b"\0".join((self._head, owner.encode(), name.encode()))
        return int.from_bytes(hmac.digest(self._key, message, "sha256")[:8], "big")


@dataclass(frozen=True)
class TrainedOn:
    """The training rows of one version."""

    form: str
    rows: UInts
    """Their keyed digests."""
    digester: RowDigester

    def find_unseen(self, spec: Product, rows: pa.Table) -> NDArray[np.bool_] | None:
        """Return which of ``rows`` the version was not trained on; None where it cannot be told.

        That is when its rows were written in another way, such as before a pattern of personal data was masked.
        """
        if self.form != _describe_form(spec):
            return None
        names = name_rows(spec, rows)
        is_unseen = np.ones(rows.num_rows, dtype=bool)
        is_unseen[names.places[np.isin(self.digester.digest_names(names), self.rows)]] = False
        return is_unseen


class TrainingRows:
    """The training rows of a product's versions, a file for each by its bundle's digest."""

    def __init__(self, settings: Settings, product: str) -> None:
        with opening_records(settings) as records:
            self._digester = RowDigester(records.get_signing_key(), product)
        self._folder = settings.training_rows_dir(product)

    def keep(self, spec: Product, dataset_dir: Path, digest: str) -> None:
        """Keep digests of the training rows in ``dataset_dir``, for the version whose bundle has ``digest``."""
        parts = [self._digest(names) for names in _iter_names(spec, dataset_dir)]
        columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        order = np.lexsort(list(columns.values()))
        table = pa.table({name: values[order] for name, values in columns.items()})
        self._write(self._find_path(digest), table.replace_schema_metadata({FORM_KEY: _describe_form(spec)}))

    def find(self, digest: str) -> TrainedOn | None:
        """Return the training rows of a version; None for one that was registered before they were kept."""
        path = self._find_path(digest)
        if not path.is_file():
            return None
        table = pq.read_table(path, columns=[ROW])
        return TrainedOn(table.schema.metadata[FORM_KEY].decode(), table[ROW].to_numpy(), self._digester)

    def count_of(self, user: str) -> int:
        """Return how many training rows of all versions are of a user, given as a pseudonym."""
        return sum(int(np.count_nonzero(table[OWNER].to_numpy() == owner)) for _, table, owner in self._iter(user))

    def forget(self, user: str) -> None:
        """Remove the rows of a user, given as a pseudonym, from those of all versions."""
        for path, table, owner in self._iter(user):
            is_other = table[OWNER].to_numpy() != owner
            if not is_other.all():
                self._write(path, table.filter(pa.array(is_other)))

    def _iter(self, user: str) -> Iterator[tuple[Path, pa.Table, np.uint64]]:
        """Yield each file whose rows are of people, with the user's digest."""
        for path in sorted(self._folder.glob("*.parquet")):
            table = pq.read_table(path)
            if OWNER in table.column_names:
                yield path, table, self._digester.digest_owners([user])[0]

    def _find_path(self, digest: str) -> Path:
        return self._folder / f"{digest}.parquet"

    def _write(self, path: Path, table: pa.Table) -> None:
        with new_file(path) as temporary:
            pq.write_table(table, temporary, compression="zstd")

    def _digest(self, names: RowNames) -> dict[str, UInts]:
        rows = {ROW: self._digester.digest_names(names)}
        return rows if names.owners is None else rows | {OWNER: self._digester.digest_owners(names.owners)}


def name_rows(spec: Product, rows: pa.Table) -> RowNames:
    """Return what identifies the rows of any split, the same whenever and however they were divided.

    A row that stands for itself is its words, where rows nearly equal each other by words; one without words is its
    ``row_id``, the digest of its content. Else it is its content.
    """
    kind = get_kind(spec.kind)
    if (identify := kind.load_identify_function()) is not None:
        return identify(rows)
    recipe = kind.load_recipe(spec)
    owners = None
    if spec.subject is not None and spec.subject in rows.column_names:
        owners = pc.fill_null(pc.cast(rows[spec.subject], pa.string()), "").to_pylist()
    return RowNames(np.arange(rows.num_rows), _name_content(recipe, rows), owners, is_of_owner=False)


def _name_content(recipe: Recipe, rows: pa.Table) -> Sequence[str]:
    content_columns = recipe.content_columns
    if recipe.policy.near_copies == "none":
        ids: Sequence[str] = format_ids(identify_rows(rows, content_columns)).to_pylist()
        return ids
    words = normalise_texts(join_columns(rows, content_columns))
    own = pc.cast(rows["row_id"], pa.string()).combine_chunks()
    # No text has a zero byte in front once it is reduced to its words, so the two never meet.
    own = pc.binary_join_element_wise(pa.scalar("\0"), own, "")
    names: Sequence[str] = pc.if_else(pc.equal(words, ""), own, words).to_pylist()
    return names


def _iter_names(spec: Product, dataset_dir: Path) -> Iterator[RowNames]:
    """Yield the names of the training rows, and no rows at all at the end: no training set is too small to keep."""
    with pq.ParquetFile(dataset_dir / "train.parquet") as file:
        for batch in file.iter_batches(BATCH_ROWS):
            yield name_rows(spec, pa.Table.from_batches([batch]))
        yield name_rows(spec, file.schema_arrow.empty_table())


def _describe_form(spec: Product) -> str:
    """Return what must be equal for the names of rows to be: how preparation writes their content."""
    redact = sorted(spec.data.redact) if isinstance(spec.data, RowData) else []
    return "/".join([str(FORM), spec.kind, *redact])
