"""Where a user's pseudonym stands in files: prepared data sets, bundles, reports, checkpoints."""

from __future__ import annotations

import mmap
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import reduce
from operator import or_
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from launchyard.files.atomic import new_file

PARQUET = ".parquet"
ENCODINGS = ("utf-8", "utf-32-le")
"""Of texts in files: numpy writes its arrays of texts in the second."""


@dataclass(frozen=True)
class Trace:
    """One file that names a user, and how often."""

    path: Path
    count: int
    """Rows of a parquet file, mentions in any other."""


def iter_traces(folder: Path, user: str) -> Iterator[Trace]:
    """Yield the files below ``folder`` that name a user, given as a pseudonym, by path.

    Reads every byte, so it takes about a second per gigabyte. Compressed files other than parquet are not looked into.
    """
    for path in sorted(folder.rglob("*")):
        # A run that is under way may remove its files while we look.
        with suppress(FileNotFoundError):
            if path.is_file() and not path.is_symlink() and (count := _count(path, user)):
                yield Trace(path, count)


def count_rows(folder: Path, user: str) -> int:
    """Return how many rows of the parquet files below ``folder`` name a user, given as a pseudonym."""
    return sum(_count(path, user) for path in folder.rglob(f"*{PARQUET}"))


def erase_rows(folder: Path, user: str) -> int:
    """Remove the rows that name a user, given as a pseudonym, from the parquet files below ``folder``.

    It goes by the files that are there, whoever wrote them, not by what should be there.

    Returns:
        How many rows that were.
    """
    return sum(_erase(path, user) for path in folder.rglob(f"*{PARQUET}"))


def _erase(path: Path, user: str) -> int:
    count = _count(path, user)
    if not count:
        return 0
    try:
        table = pq.read_table(path)
    except pa.ArrowInvalid:
        # Damaged: nothing can be taken out of it, and nobody can read it.
        path.unlink()
        return count
    names = _list_texts(table.schema)
    # Null is nobody: left as it is, it would take the row away too.
    mine = reduce(pc.or_, (pc.fill_null(pc.equal(table[name], user), False) for name in names))
    with new_file(path) as temporary:
        pq.write_table(table.filter(pc.invert(mine)), temporary, compression="zstd")
    return count


def find_in_tables(folder: Path, users: Collection[str]) -> set[str]:
    """Return which of these users, given as pseudonyms, the parquet files below ``folder`` name."""
    found: set[str] = set()
    for path in folder.rglob(f"*{PARQUET}") if users else ():
        # Half written, or removed while we look: searched by its bytes for those that are found elsewhere.
        with suppress(FileNotFoundError, pa.ArrowInvalid):
            rows = ds.dataset(path, format="parquet")
            for name in _list_texts(rows.schema):
                texts = rows.to_table(columns=[name], filter=ds.field(name).isin(list(users)))[name]
                found.update(pc.unique(pc.cast(texts, pa.string())).to_pylist())
    return found


def _count(path: Path, user: str) -> int:
    try:
        return _count_rows(path, user) if path.suffix == PARQUET else _count_mentions(path, user)
    except pa.ArrowInvalid:
        # Half written, or damaged: its bytes can still be read.
        return _count_mentions(path, user)


def _count_rows(path: Path, user: str) -> int:
    rows = ds.dataset(path, format="parquet")
    names = _list_texts(rows.schema)
    return int(rows.count_rows(filter=reduce(or_, (ds.field(name) == user for name in names)))) if names else 0


def _list_texts(schema: pa.Schema) -> list[str]:
    return [field.name for field in schema if _holds_texts(field.type)]


def _holds_texts(column: pa.DataType) -> bool:
    values = column.value_type if pa.types.is_dictionary(column) else column
    return bool(pa.types.is_string(values) or pa.types.is_large_string(values))


def _count_mentions(path: Path, user: str) -> int:
    # An empty file cannot be mapped.
    if not path.stat().st_size:
        return 0
    # Mapped, because a checkpoint may be larger than memory.
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return sum(_count_in(content, user.encode(encoding)) for encoding in ENCODINGS)


def _count_in(content: mmap.mmap, wanted: bytes) -> int:
    # A map has no count().
    count, position = 0, content.find(wanted)
    while position >= 0:
        count += 1
        position = content.find(wanted, position + len(wanted))
    return count
