"""Who a row is, whatever file, batch or machine it comes from: content digests and seeded orders made of them.

Nothing here draws random numbers: a generator's stream may change with a library's version, a digest may not.
Array legend: N rows of a table.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

UInts = NDArray[np.uint64]

ID_HIGH = "launchyard:id_high"
ID_LOW = "launchyard:id_low"
ID_COLUMNS = (ID_HIGH, ID_LOW)
"""The two halves of a row's identity while rows are being prepared; ``row_id`` is their hex form on disk."""


def identify_rows(table: pa.Table, content_columns: tuple[str, ...]) -> pa.Table:
    """Return ``table`` with the identity of each row added: 128 bits of BLAKE2b over its content columns.

    Values count as :func:`encode_column` writes them, each with its length before it, so that ("ab", "c") differs from
    ("a", "bc").
    """
    columns = [encode_column(table[name]).to_pylist() for name in content_columns]
    halves_N2 = np.frombuffer(b"".join(map(_digest, zip(*columns, strict=True))), dtype=">u8").reshape(-1, 2)
    for name, half_N in zip(ID_COLUMNS, halves_N2.astype(np.uint64).T, strict=True):
        table = table.append_column(name, pa.array(half_N))
    return table


def encode_column(values: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray | pa.Array:
    """Return the bytes that stand for each value: its text, its own bytes, or of lists and structs the parts in JSON.

    The names of a struct count, their order does not. A null stays one; an empty value is none.
    """
    if pa.types.is_nested(values.type):
        chunks = values.chunks if isinstance(values, pa.ChunkedArray) else [values]
        return pa.chunked_array([_encode_nested(chunk) for chunk in chunks], pa.binary())
    if pa.types.is_binary(values.type) or pa.types.is_large_binary(values.type):
        return pc.cast(values, pa.binary())
    return pc.cast(pc.cast(values, pa.string()), pa.binary())


def _encode_nested(values: pa.Array) -> pa.Array:
    texts = [
        None if value is None else json.dumps(value, sort_keys=True, ensure_ascii=False, default=_spell).encode()
        for value in values.to_pylist()
    ]
    return pa.array(texts, pa.binary())


def _spell(value: object) -> str:
    """Return a part of a nested value that JSON has no form for."""
    return f"bytes:{value.hex()}" if isinstance(value, bytes) else f"{type(value).__name__}:{value}"


def _digest(values: Iterable[bytes]) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for value in values:
        digest.update(len(value).to_bytes(8, "big"))
        digest.update(value)
    return digest.digest()


def id_halves(table: pa.Table) -> tuple[UInts, UInts]:
    """Return the high and low halves of the identities, N each."""
    return table[ID_HIGH].to_numpy(), table[ID_LOW].to_numpy()


def format_ids(table: pa.Table) -> pa.Array:
    """Return the identities as 32 hex digits, N."""
    high_N, low_N = id_halves(table)
    halves_N2 = np.stack([high_N, low_N], axis=1).astype(">u8")
    text = halves_N2.tobytes().hex()
    return pa.array([text[i : i + 32] for i in range(0, len(text), 32)], pa.string())


def hash_values(values: pa.ChunkedArray | pa.Array) -> UInts:
    """Return 64 bits of BLAKE2b over each value's bytes; equal values have equal hashes, anywhere and always.

    A null counts as an empty value.
    """
    encoded = encode_column(values).fill_null(b"").dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.unify_dictionaries().combine_chunks()
    hashes = [hashlib.blake2b(value, digest_size=8).digest() for value in encoded.dictionary.to_pylist()]
    codes_N = encoded.indices.to_numpy(zero_copy_only=False)
    hashes_N: UInts = np.frombuffer(b"".join(hashes), dtype=">u8").astype(np.uint64)[codes_N]
    return hashes_N


def mix(values: UInts, seed: int = 0) -> UInts:
    """Return ``values`` scrambled one to one, differently for each seed.

    The finaliser of SplitMix64 (Steele, Lea and Flood 2014), a bijection on 64 bits.
    """
    mixed = values + np.uint64((0x9E3779B97F4A7C15 * (seed + 1)) & 0xFFFFFFFFFFFFFFFF)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


class Fingerprint:
    """A digest over rows that are added in the order of their identities: what they are called and what they hold.

    It is one digest row by row, so it does not matter how many rows are added at once.
    """

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._names: list[str] | None = None

    def add(self, table: pa.Table) -> None:
        """Take in the identity and every other example column of each row."""
        names = sorted(name for name in table.column_names if name not in ID_COLUMNS)
        if self._names is None:
            self._names = names
            self._digest.update("\0".join(names).encode())
        columns = [*id_halves(table)]
        for name in names:
            columns += [hash_values(table[name])]
            columns += [pc.is_null(table[name]).to_numpy().astype(np.uint64)]
        self._digest.update(np.stack(columns, axis=1).astype("<u8").tobytes())

    def hexdigest(self) -> str:
        """Return the digest of all rows so far."""
        return self._digest.hexdigest()
