"""Find the items whose vectors have the largest inner products with a query: exactly, or by a library when many.

A small catalogue is searched exactly, by one matrix product. A large one is scanned in a compressed form (faiss: a
product quantizer of four bits for each dimension, read sixteen or more items at a time; André et al. 2017,
"Accelerated nearest neighbor search with Quick ADC"), and the best candidates of the scan are scored exactly. Unlike
graphs and clusters of vectors, the scan supposes nothing about how the vectors lie, loses nothing to a filter and is
made in seconds. ``benchmarks/vector_search.py`` measures it.

Array suffixes: B queries, I items, D dimensions, K results, N scores of one query, C candidates, S sampled items.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from launchyard.errors import BundleError, TrainError
from launchyard.files.atomic import new_file

FILE_NAME = "vector_index.npz"

APPROXIMATE_FROM = 200_000
"""Items from which the scan is used: below, an exact search of 64 dimensions takes 3 ms on one core at most."""

CANDIDATES = 50
"""Candidates of the scan that are scored exactly for each result asked, and so the balance of recall and time."""

MIN_RESULTS = 10
"""Candidates are counted for at least so many results."""

POOR_SHARE = 0.002
"""The share of items that the compressed form describes worst, such as a few with vectors much longer than all others:
they are candidates of every query, and the levels are fitted to the rest."""

MAX_FETCHED_SHARE = 0.02
"""The share of all items beyond which so many candidates would be fetched that an exact search costs no more."""

GATHER_SHARE = 0.1
"""The share of items up to which copying the allowed vectors together is cheaper than scoring all of them."""

BLOCK_SCORES = 1 << 24
"""Scores that an exact search holds at a time: 64 MiB."""

CODE_BITS = 4
MIN_TRAINED = 1_000
MAX_TRAINED = 65_536
"""Vectors that the quantizer is fitted to: the 16 levels of each dimension need no more."""


@dataclass(frozen=True)
class _Codes:
    """The vectors in four bits a dimension: plain numbers, of which no value can lead a reader astray."""

    levels: NDArray[np.float32]  # (D, 16): what each code of each dimension stands for
    codes: NDArray[np.uint8]  # (I, ceil(D / 2)): two dimensions a byte
    poor: NDArray[np.int64]  # positions of the items that are farthest from what their codes stand for


class VectorIndex:
    """All item vectors, ready to be searched; safe to share between threads.

    Attributes:
        vectors_ID: The vectors as they were given; a result's position is a row of it.
        candidates: Candidates that are scored exactly for each result asked, when the search is approximate.
    """

    def __init__(self, vectors_ID: NDArray[np.float32], codes: _Codes | None, *, candidates: int, threads: int) -> None:
        self.vectors_ID = vectors_ID
        self.candidates = candidates
        self._codes = codes
        self._threads = threads
        self._scan: Any = None if codes is None else _open_scan(codes, vectors_ID.shape)

    @classmethod
    def build(
        cls,
        vectors_ID: NDArray[np.float32],
        *,
        approximate_from: int = APPROXIMATE_FROM,
        candidates: int = CANDIDATES,
        threads: int = 1,
        seed: int = 0,
    ) -> Self:
        """Return an index of ``vectors_ID``, which is kept, not copied.

        Args:
            vectors_ID: One row per item.
            approximate_from: The search is approximate when there are so many items, and never below 1,000.
            candidates: Candidates that are scored exactly for each result asked, when the search is approximate.
            threads: Of building, and of searching for a batch of queries.
            seed: Of the choice of vectors that the compressed form is fitted to.

        Raises:
            TrainError: a vector holds a NaN or an infinity.
        """
        vectors_ID = np.ascontiguousarray(vectors_ID, dtype=np.float32)
        if not np.isfinite(vectors_ID).all():
            wrong = int(np.flatnonzero(~np.isfinite(vectors_ID).all(axis=1))[0])
            raise TrainError(
                f"vector index: the vector of item {wrong} is not finite. Training has diverged: lower "
                "train.learning_rate."
            )
        large = len(vectors_ID) >= max(approximate_from, MIN_TRAINED)
        codes = _compress(vectors_ID, threads, seed) if large else None
        return cls(vectors_ID, codes, candidates=candidates, threads=threads)

    @property
    def is_approximate(self) -> bool:
        """Whether a search may miss a result."""
        return self._scan is not None

    def save(self, folder: Path) -> Path:
        """Write the index as plain arrays to one file in ``folder``, whole or not at all; return its path."""
        arrays: dict[str, NDArray[Any]] = {"vectors": self.vectors_ID, "candidates": np.array(self.candidates)}
        if self._codes is not None:
            arrays |= {"levels": self._codes.levels, "codes": self._codes.codes, "poor": self._codes.poor}
        path = folder / FILE_NAME
        with new_file(path) as temporary:
            with temporary.open("wb") as file:
                np.savez(file, allow_pickle=False, **arrays)
            # A temporary file is for its owner alone; a bundle is served by other users too.
            temporary.chmod(0o644)
        return path

    @classmethod
    def load(cls, folder: Path, *, threads: int) -> Self:
        """Return the index that ``save`` wrote to ``folder``; nothing in the file is executed.

        Raises:
            BundleError: the file is absent, is not an index, or its parts do not fit together.
        """
        path = folder / FILE_NAME
        try:
            with np.load(path, allow_pickle=False) as arrays:
                vectors_ID = np.ascontiguousarray(arrays["vectors"], dtype=np.float32)
                candidates = arrays["candidates"]
                codes = _Codes(arrays["levels"], arrays["codes"], arrays["poor"]) if "codes" in arrays else None
        except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as err:
            raise BundleError(f"{path}: not a vector index: {err}. Train the model again.") from err
        if vectors_ID.ndim != 2 or (codes is not None and not _fits(codes, vectors_ID.shape)):
            raise BundleError(f"{path}: its vectors and codes do not fit together. Train the model again.")
        # Of none or less than none, a search would return nothing, or fail at the first request.
        if candidates.shape != () or candidates.dtype.kind not in "iu" or candidates < 1:
            raise BundleError(
                f"{path}: candidates: must be a whole number from 1 on, found {candidates}. Train the model again."
            )
        return cls(vectors_ID, codes, candidates=int(candidates), threads=threads)

    def search(
        self,
        queries_BD: NDArray[np.float32],
        k: int,
        *,
        excluded: Sequence[NDArray[np.integer[Any]]] | None = None,
        allowed_I: NDArray[np.bool_] | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return positions (B, K) and inner products (B, K) of each query's best items.

        Best first, ties by position. Where fewer than ``k`` items may be returned, the rest is -1 and -inf; where
        there are ``k``, there are ``k`` results, however few the filters leave.

        Args:
            queries_BD: One row per query.
            k: Results of each query.
            excluded: For each query the positions that it must not return, such as what its user has seen.
            allowed_I: The items that may be returned at all; None allows every item.

        Raises:
            ValueError: the queries do not fit the vectors or are not finite, or a filter does not fit the catalogue.
        """
        queries_BD = np.ascontiguousarray(queries_BD, dtype=np.float32)
        if excluded is None:
            excluded = [np.empty(0, dtype=np.int64)] * len(queries_BD)
        _check_search(queries_BD, k, excluded, allowed_I, self.vectors_ID.shape)
        results = _Results.empty(len(queries_BD), k)
        found = self._find_candidates(queries_BD, k, excluded, allowed_I)
        for row, positions_C in found.items():
            results.put(row, self.vectors_ID[positions_C] @ queries_BD[row], positions_C)
        left = [row for row in range(len(queries_BD)) if row not in found]
        self._search_all(results, left, queries_BD, excluded, allowed_I)
        return results.positions_BK, results.scores_BK

    def _search_all(
        self,
        results: _Results,
        left: Sequence[int],
        queries_BD: NDArray[np.float32],
        excluded: Sequence[NDArray[np.integer[Any]]],
        allowed_I: NDArray[np.bool_] | None,
    ) -> None:
        """Fill the rows ``left`` of the results by scoring every allowed item."""
        vectors_ND, positions_N, barred_I = self.vectors_ID, None, None
        if allowed_I is not None and np.count_nonzero(allowed_I) <= GATHER_SHARE * len(allowed_I):
            positions_N = np.flatnonzero(allowed_I)
            vectors_ND = self.vectors_ID[positions_N]
        elif allowed_I is not None:
            barred_I = ~allowed_I
        block = max(1, BLOCK_SCORES // max(1, len(vectors_ND)))
        for rows in (left[first : first + block] for first in range(0, len(left), block)):
            for row, scores_N in zip(rows, queries_BD[rows] @ vectors_ND.T, strict=True):
                if barred_I is not None:
                    scores_N[barred_I] = -np.inf
                unwanted = excluded[row]
                scores_N[unwanted if positions_N is None else np.isin(positions_N, unwanted)] = -np.inf
                results.put(row, scores_N, positions_N)

    def _find_candidates(
        self,
        queries_BD: NDArray[np.float32],
        k: int,
        excluded: Sequence[NDArray[np.integer[Any]]],
        allowed_I: NDArray[np.bool_] | None,
    ) -> dict[int, NDArray[np.int64]]:
        """Return the candidates of the scan that pass the filters, ascending, of each query that the scan suits.

        So many are fetched that the filters leave as many as without filters. A query of which they leave less than
        half of that, because they take just what it looks for, or for which too many had to be fetched, is absent.
        """
        num_items = len(self.vectors_ID)
        num_allowed = num_items if allowed_I is None else int(np.count_nonzero(allowed_I))
        if self._codes is None or num_allowed == 0:
            return {}
        wanted = self.candidates * max(k, MIN_RESULTS)
        groups: dict[int, list[int]] = {}
        for row, unwanted in enumerate(excluded):
            # Doubled as often as needed, so that queries are scanned together and none depends on the others.
            doublings = math.ceil(math.log2(num_items / num_allowed + len(unwanted) / wanted))
            groups.setdefault(wanted << doublings, []).append(row)
        found = {}
        for fetched, rows in groups.items():
            if fetched > MAX_FETCHED_SHARE * num_items:
                continue
            for row, positions_C in zip(rows, self._run_scan(queries_BD[rows], fetched), strict=True):
                left_C = _drop(positions_C, excluded[row], allowed_I)
                if len(left_C) >= max(k, wanted // 2):
                    # union1d sorts, too: ties are broken by position, as in an exact search.
                    found[row] = np.union1d(left_C, _drop(self._codes.poor, excluded[row], allowed_I))
        return found

    def _run_scan(self, queries_BD: NDArray[np.float32], fetched: int) -> NDArray[np.int64]:
        """Return the ``fetched`` positions (B, C) of each query whose compressed vectors score best."""
        import faiss  # noqa: PLC0415 - slow to import, and small catalogues are searched without it

        faiss.omp_set_num_threads(self._threads)  # OpenMP keeps this number for each calling thread
        positions_BC: NDArray[np.int64] = self._scan.search(queries_BD, fetched)[1]
        return positions_BC


def _compress(vectors_ID: NDArray[np.float32], threads: int, seed: int) -> _Codes:
    """Return the vectors in four bits a dimension, with levels fitted to each dimension by k-means."""
    import faiss  # noqa: PLC0415 - slow to import, and small catalogues are searched without it

    faiss.omp_set_num_threads(threads)
    num_items, num_dimensions = vectors_ID.shape
    quantizer: Any = faiss.ProductQuantizer(num_dimensions, num_dimensions, CODE_BITS)
    quantizer.cp.seed = seed
    sample_SD = vectors_ID[np.sort(np.random.default_rng(seed).permutation(num_items)[:MAX_TRAINED])]
    lengths_S = np.linalg.norm(sample_SD, axis=1)
    quantizer.train(sample_SD[lengths_S <= np.quantile(lengths_S, 1 - POOR_SHARE)])
    codes = quantizer.compute_codes(vectors_ID)
    errors_I = np.empty(num_items, dtype=np.float32)
    # In blocks: decoded at once, all vectors would be in memory a second time.
    for first in range(0, num_items, MAX_TRAINED):
        block = slice(first, first + MAX_TRAINED)
        errors_I[block] = np.linalg.norm(vectors_ID[block] - quantizer.decode(codes[block]), axis=1)
    return _Codes(
        levels=faiss.vector_to_array(quantizer.centroids).reshape(num_dimensions, 1 << CODE_BITS),
        codes=codes,
        poor=np.sort(np.argsort(-errors_I, kind="stable")[: math.ceil(POOR_SHARE * num_items)]),
    )


def _open_scan(codes: _Codes, shape: tuple[int, ...]) -> Any:
    """Return the library's index over the codes, without its vectors and without its file format.

    The library's own files are not used: what reads them trusts every size they state.
    """
    import faiss  # noqa: PLC0415 - slow to import, and small catalogues are searched without it

    num_items, num_dimensions = shape
    packed: Any = faiss.IndexPQ(num_dimensions, num_dimensions, CODE_BITS, faiss.METRIC_INNER_PRODUCT)
    faiss.copy_array_to_vector(np.ascontiguousarray(codes.levels).ravel(), packed.pq.centroids)
    faiss.copy_array_to_vector(np.ascontiguousarray(codes.codes).ravel(), packed.codes)
    # What train() and add() would set: both were done when the index was built.
    packed.ntotal = num_items
    packed.is_trained = True
    return faiss.IndexPQFastScan(packed)


def _fits(codes: _Codes, shape: tuple[int, ...]) -> bool:
    """Return whether levels and codes have the sizes and types that the library will read without asking."""
    num_items, num_dimensions = shape
    return (
        num_items >= MIN_TRAINED
        and codes.levels.dtype == np.float32
        and codes.levels.shape == (num_dimensions, 1 << CODE_BITS)
        and codes.codes.dtype == np.uint8
        and codes.codes.shape == (num_items, (num_dimensions * CODE_BITS + 7) // 8)
        and codes.poor.dtype == np.int64
        and codes.poor.ndim == 1
        and bool(((codes.poor >= 0) & (codes.poor < num_items)).all())
    )


def _check_search(
    queries_BD: NDArray[np.float32],
    k: int,
    excluded: Sequence[NDArray[np.integer[Any]]],
    allowed_I: NDArray[np.bool_] | None,
    shape: tuple[int, ...],
) -> None:
    """Check what a caller asks for, because a wrong position would silently filter another item."""
    num_items, num_dimensions = shape
    if queries_BD.ndim != 2 or queries_BD.shape[1] != num_dimensions:
        raise ValueError(f"vector index: queries of shape (B, {num_dimensions}) expected, got {queries_BD.shape}.")
    if not np.isfinite(queries_BD).all():
        raise ValueError("vector index: a query holds a NaN or an infinity. Check what computed it.")
    if k < 1:
        raise ValueError(f"vector index: k must be at least 1, got {k}.")
    if len(excluded) != len(queries_BD):
        raise ValueError(f"vector index: {len(queries_BD)} queries, but excluded items of {len(excluded)}.")
    if any(len(unwanted) and not 0 <= unwanted.min() <= unwanted.max() < num_items for unwanted in excluded):
        raise ValueError(f"vector index: an excluded position is not one of 0 to {num_items - 1}.")
    if allowed_I is not None and (allowed_I.shape != (num_items,) or allowed_I.dtype != np.bool_):
        raise ValueError(
            f"vector index: allowed_I must hold {num_items} booleans, got {allowed_I.dtype} of shape {allowed_I.shape}."
        )


def _drop(
    positions_C: NDArray[np.int64], unwanted: NDArray[np.integer[Any]], allowed_I: NDArray[np.bool_] | None
) -> NDArray[np.int64]:
    """Return the positions that pass both filters, in their order; -1, which the library pads with, does not."""
    positions_C = positions_C[positions_C >= 0]
    if allowed_I is not None:
        positions_C = positions_C[allowed_I[positions_C]]
    return positions_C[~np.isin(positions_C, unwanted)] if len(unwanted) else positions_C


@dataclass(frozen=True)
class _Results:
    """What a search returns, row by row filled in."""

    positions_BK: NDArray[np.int64]
    scores_BK: NDArray[np.float32]

    @classmethod
    def empty(cls, num_queries: int, k: int) -> Self:
        """Return results that hold no item yet."""
        shape = (num_queries, k)
        return cls(np.full(shape, -1, dtype=np.int64), np.full(shape, -np.inf, dtype=np.float32))

    def put(self, row: int, scores_N: NDArray[np.float32], positions_N: NDArray[np.int64] | None = None) -> None:
        """Fill a row with the largest scores, largest first, ties by place; -inf is never among them.

        ``positions_N`` says which items the scores belong to, ascending; None: all items.
        """
        k = self.scores_BK.shape[1]
        # All that tie with the last stay in, so that the position breaks the tie and not the partition.
        floor = np.partition(scores_N, -k)[-k] if len(scores_N) > k else -np.inf
        places = np.flatnonzero((scores_N >= floor) & (scores_N > -np.inf))
        best = places[np.argsort(-scores_N[places], kind="stable")[:k]]
        self.positions_BK[row, : len(best)] = best if positions_N is None else positions_N[best]
        self.scores_BK[row, : len(best)] = scores_N[best]
