"""Which row goes to which split: exact shares, the same on any machine, in memory that does not grow with the rows.

Every way of splitting is one rule: each row has a 64-bit key, and in each stratum the rows of the smallest keys are
held out. A seeded digest of the row is the key of a random split (strata: the labels), a seeded digest of the group
that of a grouped one, the time itself, newest first, that of a split by time. Rows of equal key stay together:
that is what keeps a group, or one moment, whole, so those two ways meet the sizes asked for as closely as it allows.

Splits that have sources of their own keep the same promise: what is held out stays, and rows of another source that
share a group with it, or are not older than it, are left out. Test rows come first, then validation rows.

Array legend: N rows, S strata.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from launchyard.data.identity import UInts, hash_values, id_halves, mix
from launchyard.data.manifest import SPLITS, SplitName
from launchyard.errors import DataError
from launchyard.spec.blocks import Split

Ints = NDArray[np.int64]

TRAIN, VALIDATION, TEST, POOL, NEAR_DUPLICATE, NEAR_DUPLICATE_VALIDATION, OVERLAP, OVERLAP_VALIDATION = range(8)
"""States of a row; the first three are places in ``dataset.SPLITS``, POOL is what may still become training rows.

The others are left out. NEAR_DUPLICATE: nearly equals a held-out row; OVERLAP: is of the group of one, or not older.
Those of VALIDATION would else validate, the others might train."""

KEY_TYPE = np.dtype([("key", "<u8"), ("stratum", "<u4"), ("given", "u1")])
CHUNK_ROWS = 65_536
"""Rows whose keys are read at once: whole splits of any size fit into the memory of a small machine."""


class KeyFile:
    """Key, stratum and given split of every row, on disk, in the order of the row store."""

    def __init__(self, path: Path) -> None:
        """Start an empty file at ``path``."""
        self._path = path
        self._path.touch()

    def append(self, keys_N: UInts, strata_N: Ints, given_N: NDArray[np.uint8]) -> None:
        """Add the next rows."""
        records = np.empty(len(keys_N), KEY_TYPE)
        records["key"], records["stratum"], records["given"] = keys_N, strata_N, given_N
        with self._path.open("ab") as file:
            records.tofile(file)

    def walk(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield the positions and records of one chunk after the other."""
        start = 0
        with self._path.open("rb") as file:
            while len(records := np.fromfile(file, KEY_TYPE, CHUNK_ROWS)):
                yield slice(start, start + len(records)), records
                start += len(records)


def make_keys(table: pa.Table, split: Split) -> UInts:
    """Return the key of each row, N: the smaller, the sooner it is held out."""
    if split.group is not None:
        return mix(hash_values(table[split.group]), split.seed)
    if split.time is not None:
        return ~_order_times(table[split.time].to_numpy())
    return mix(id_halves(table)[1], split.seed)


def _order_times(times_N: NDArray[np.float64]) -> UInts:
    """Return unsigned integers in the order of ``times_N``: the bits of IEEE 754 sort once the sign is mapped."""
    # Adding 0 makes -0.0 the same moment as 0.0.
    bits_N = (times_N + 0.0).view(np.uint64)
    return np.where(bits_N >> np.uint64(63), ~bits_N, bits_N | np.uint64(2**63))


class Partition:
    """The state of every row while rows are being divided; one byte a row is all that it keeps in memory."""

    def __init__(self, split: Split, keys: KeyFile, given_rows: Mapping[SplitName, int], num_strata: int) -> None:
        """Start with all rows in the pool.

        Args:
            split: What the user asked for.
            keys: Every row's key, stratum and given split.
            given_rows: Rows from the source of each split that has one; those of train are divided.
            num_strata: Strata are 0 to this.

        Raises:
            DataError: there are fewer rows than the counts asked for.
        """
        self.states_N = np.full(sum(given_rows.values()), POOL, dtype=np.uint8)
        self._split = split
        self._keys = keys
        self._num_strata = num_strata
        self._num_rows = given_rows["train"]
        self._given: dict[SplitName, int] = {
            name: given_rows[name] for name in SPLITS[VALIDATION:] if name in given_rows
        }
        self._sizes = plan_sizes(split, given_rows["train"], self._given)

    def hold_out(self, mark_copies: Callable[[], object] = bool) -> None:
        """Choose the test rows, then the validation rows; rows given for these and not chosen are never trained on.

        Args:
            mark_copies: Called when the test rows are chosen; may give the state NEAR_DUPLICATE to rows of the pool.
                Those of them that would validate are left out, and others of their strata take their places.
        """
        self._hold_out(TEST, num_later=2)
        self._leave_out_overlap(TEST)
        mark_copies()
        lost_S = self._hold_out(VALIDATION, num_later=1)
        if lost_S.any():
            source = self._find_source(VALIDATION)
            self._move(source, {POOL: VALIDATION}, np.minimum(lost_S, self._count(source, POOL)))
        self._leave_out_overlap(VALIDATION)

    def choose_train(self) -> None:
        """Choose the training rows among what is left of the rows to divide."""
        available_S = self._count(TRAIN, POOL)
        size = min(self._sizes["train"], int(available_S.sum()))
        self._move(TRAIN, {POOL: TRAIN}, allocate(size, available_S, available_S))

    def count(self, state: int) -> int:
        """Return how many rows are in ``state``."""
        return int(np.count_nonzero(self.states_N == state))

    def _find_source(self, place: int) -> int:
        return place if SPLITS[place] in self._given else TRAIN

    def _hold_out(self, place: int, num_later: int) -> Ints:
        """Choose the rows of one split; return how many of each stratum are near copies and so left out."""
        source = self._find_source(place)
        available_S = self._count(source, POOL, NEAR_DUPLICATE)
        # As far as the sizes allow, every label keeps a row for each split that is still to be chosen.
        limits_S = np.maximum(available_S - (num_later if source == TRAIN else 0), 0)
        # A large group may have taken more than its share; that a split is empty is then for the checks to say.
        size = min(self._sizes[SPLITS[place]], int(available_S.sum()))
        ranks_S = allocate(size, available_S, limits_S if limits_S.sum() >= size else available_S)
        self._move(source, {POOL: place, NEAR_DUPLICATE: NEAR_DUPLICATE_VALIDATION}, ranks_S)
        return self._count(source, NEAR_DUPLICATE_VALIDATION)

    def _leave_out_overlap(self, place: int) -> None:
        """Take out of the pool what shares a group with a row of the split ``place``, or is not older than one.

        That can only be where sources are given: the rows of one source are divided without it.
        """
        if not self._given or not (self._split.group or self._split.time):
            return
        held = [np.unique(records["key"][self.states_N[at] == place]) for at, records in self._keys.walk()]
        held_keys = np.unique(np.concatenate(held))
        if not len(held_keys):
            return
        for source, state in ((TRAIN, OVERLAP), (VALIDATION, OVERLAP_VALIDATION)):
            if source == place:
                break
            for positions, records, chosen in self._iter_rows(source, POOL):
                # The newer, the smaller the key: what has the largest key is the oldest.
                overlaps = records["key"] <= held_keys[-1] if self._split.time else np.isin(records["key"], held_keys)
                self.states_N[positions][chosen & overlaps] = state
        if self._split.train < 1:
            # Fractions are of the rows that are left to divide.
            self._sizes = plan_sizes(self._split, self._num_rows - self.count(OVERLAP), self._given)

    def _iter_rows(self, source: int, *states: int) -> Iterator[tuple[slice, np.ndarray, NDArray[np.bool_]]]:
        """Yield positions and records of each chunk, and which of them are from ``source`` and in one of ``states``."""
        for positions, records in self._keys.walk():
            yield positions, records, np.isin(self.states_N[positions], states) & (records["given"] == source)

    def _count(self, source: int, *states: int) -> Ints:
        counts_S = np.zeros(self._num_strata, dtype=np.int64)
        for _, records, chosen in self._iter_rows(source, *states):
            counts_S += np.bincount(records["stratum"][chosen], minlength=self._num_strata)
        return counts_S

    def _move(self, source: int, moves: Mapping[int, int], ranks_S: Ints) -> None:
        """Move the rows of the ``ranks_S`` smallest keys of each stratum from each state of ``moves`` to its other."""
        cuts_S = select_ranks(
            lambda: (
                (rows["stratum"][chosen], rows["key"][chosen]) for _, rows, chosen in self._iter_rows(source, *moves)
            ),
            ranks_S,
        )
        for positions, records, chosen in self._iter_rows(source, *moves):
            strata, states = records["stratum"], self.states_N[positions]
            moved = chosen & (ranks_S[strata] > 0) & (records["key"] <= cuts_S[strata])
            after = np.array([moves.get(state, state) for state in range(OVERLAP_VALIDATION + 1)], dtype=np.uint8)
            states[moved] = after[states[moved]]


def select_ranks(chunks: Callable[[], Iterator[tuple[np.ndarray, UInts]]], ranks_S: Ints) -> UInts:
    """Return, for each stratum, its ``ranks_S``-th smallest key (from 1; what rank 0 gives means nothing).

    A radix selection: eight walks over the keys, each fixing one byte of every answer from a histogram.

    Args:
        chunks: Starts a walk over (strata, keys).
        ranks_S: At most the number of keys in the stratum.
    """
    prefix_S = np.zeros(len(ranks_S), dtype=np.uint64)
    left_S = ranks_S.copy()
    for shift in range(56, -8, -8):
        histogram_S256 = np.zeros((len(ranks_S), 256), dtype=np.int64)
        for strata, keys in chunks():
            # Two shifts: by 64 at once, which the first walk would need, is undefined.
            matching = (keys >> np.uint64(shift) >> np.uint64(8)) == prefix_S[strata]
            bins = strata[matching].astype(np.int64) * 256 + ((keys[matching] >> np.uint64(shift)) & np.uint64(255))
            histogram_S256 += np.bincount(bins.astype(np.int64), minlength=histogram_S256.size).reshape(-1, 256)
        below_S256 = np.cumsum(histogram_S256, axis=1)
        digit_S = (below_S256 < left_S[:, None]).sum(axis=1).clip(max=255)
        left_S -= np.take_along_axis(below_S256 - histogram_S256, digit_S[:, None], axis=1)[:, 0]
        prefix_S = (prefix_S << np.uint64(8)) | digit_S.astype(np.uint64)
    return prefix_S


def allocate(total: int, weights_S: Ints, limits_S: Ints) -> Ints:
    """Return how many of ``total`` rows each stratum gives: in proportion to ``weights_S``, at most ``limits_S``.

    The largest-remainder method (Hamilton), except that every stratum which can give a row gives one when
    ``total`` allows it, so that a rare label is measured, too.

    Raises:
        ValueError: the limits add up to less than ``total``.
    """
    if limits_S.sum() < total:
        raise ValueError(f"cannot allocate {total} rows of {limits_S.sum()}")
    quota_S: NDArray[np.float64] = total * weights_S / max(1, weights_S.sum())
    floor_S = np.minimum(1, limits_S) if total >= np.count_nonzero(limits_S) else np.zeros_like(limits_S)
    shares_S: Ints = np.clip(np.floor(quota_S).astype(np.int64), floor_S, limits_S)
    while (missing := total - int(shares_S.sum())) != 0:
        step = 1 if missing > 0 else -1
        can_move_S = shares_S < limits_S if step > 0 else shares_S > floor_S
        order = np.argsort(np.where(can_move_S, -step * (quota_S - shares_S), np.inf), kind="stable")
        chosen = order[: min(abs(missing), int(can_move_S.sum()))]
        shares_S[chosen] += step
    return shares_S


def plan_sizes(split: Split, num_rows: int, given: dict[SplitName, int]) -> dict[SplitName, int]:
    """Return how many rows each split gets.

    Args:
        split: What the user asked for. Fractions are of ``num_rows``; a count also caps a split that was given.
        num_rows: Rows to divide, those of the source for training.
        given: Rows of the splits that have a source of their own.

    Raises:
        DataError: there are fewer rows than the counts add up to.
    """
    asked: dict[SplitName, float] = {"train": split.train, "validation": split.validation, "test": split.test}
    if split.train < 1:
        held: dict[SplitName, int] = {
            name: given.get(name, round(asked[name] * num_rows)) for name in ("validation", "test")
        }
        rest = num_rows - sum(size for name, size in held.items() if name not in given)
        is_all = bool(given) or sum(asked.values()) > 1 - 1e-9
        return {"train": rest if is_all else min(rest, round(split.train * num_rows)), **held}
    sizes: dict[SplitName, int] = {name: int(size) for name, size in asked.items()}
    needed = sum(size for name, size in sizes.items() if name not in given)
    short = [name for name, available in given.items() if available < sizes[name]]
    if needed > num_rows or short:
        wanted = ", ".join(f"{name} {size:,}" for name, size in sizes.items())
        there = ", ".join([f"{num_rows:,} to divide", *(f"{rows:,} for {name}" for name, rows in given.items())])
        raise DataError(
            f"data.split: asks for {wanted} rows, found {there} after cleaning. "
            "Lower the counts, use fractions, or add rows."
        )
    return sizes
