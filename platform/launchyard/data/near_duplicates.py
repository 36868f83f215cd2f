"""Rows that nearly equal a row of another split: copies with another punctuation, case, or a word changed.

Two texts are near duplicates when the Jaccard similarity of their shingles is at least 0.8. Shingles are the words and
the pairs of neighbouring words of the text in lower case without punctuation; in Chinese, Japanese and Thai each
character counts as a word. One word more or less in ten, or one changed in fifteen, is caught; a changed city in a
sentence of five words is not. A text without letters and digits has no near duplicates.

Candidates are found by MinHash (Broder 1997) with 8 bands of 3 minima (Leskovec, Rajaraman and Ullman, ch. 3): a
pair of similarity 0.8 is found with probability 0.997, one of 0.9 with 0.99999. Each candidate is then measured
exactly, so what differs more is never taken for a copy. Everything lies on disk, one part in memory at a time.

Array legend: N rows, T words of all rows, V shingles of all rows, K candidate pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from launchyard.data.identity import UInts, hash_values, mix
from launchyard.data.sizes import DEFAULT_SIZES, BlockSizes
from launchyard.data.split import NEAR_DUPLICATE, TEST, VALIDATION
from launchyard.data.spool import RowStore

SIMILARITY = 0.8
"""Least Jaccard similarity of a copy: one word more in ten is caught, another city in a short sentence is not."""
NUM_BANDS = 8
MINIMA_PER_BAND = 3
"""With eight bands a pair of similarity 0.8 is a candidate with probability 0.997; see above."""
BATCH_BYTES = 2**20
"""Texts whose shingles are held at once: these are 8 bytes for each word and each pair of words."""
PARTNERS = 16
"""Held-out rows of one band that a training row is measured against; more only where thousands of rows are alike."""

_BAND_TYPE = np.dtype([("band", "<u8"), ("position", "<i8")])
_NOT_A_WORD = r"[^\pL\pN\pM]+"
_ONE_CHARACTER_WORDS = r"([\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}])"
_END_OF_ROW = np.uint64(0)


def normalise_texts(texts: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray | pa.Array:
    """Return the words of each text in lower case, a blank between them; empty for a text without words."""
    spaced = pc.replace_substring_regex(pc.utf8_lower(texts), pattern=_NOT_A_WORD, replacement=" ")
    spaced = pc.replace_substring_regex(spaced, pattern=_ONE_CHARACTER_WORDS, replacement=r" \1 ")
    return pc.replace_substring_regex(pc.ascii_trim_whitespace(spaced), pattern=" +", replacement=" ")


def hash_shingles(texts: pa.ChunkedArray | pa.Array) -> tuple[UInts, NDArray[np.int64]]:
    """Return the shingles of all texts one after the other, V, and where each text's begin and end, N + 1.

    A text of n words has n words and n pairs, the last pair being the last word and the end.
    """
    lists = pc.split_pattern(normalise_texts(texts), pattern=" ")
    lists = lists.combine_chunks() if isinstance(lists, pa.ChunkedArray) else lists
    words = lists.flatten()
    bounds = np.concatenate([[0], np.cumsum(pc.list_value_length(lists).to_numpy(zero_copy_only=False))])
    if not len(words):
        return np.empty(0, np.uint64), bounds.astype(np.int64)
    words_T = hash_values(words)
    next_T = np.append(words_T[1:], _END_OF_ROW)
    next_T[bounds[1:] - 1] = _END_OF_ROW
    pairs_T = mix(mix(words_T, 1) + next_T, 2)
    return np.stack([words_T, pairs_T], axis=1).ravel(), 2 * bounds.astype(np.int64)


def hash_bands(texts: pa.ChunkedArray | pa.Array) -> UInts:
    """Return the band keys of each text, (N, NUM_BANDS): texts that share one are candidates."""
    shingles_V, bounds = hash_shingles(texts)
    bands_NB = np.empty((len(texts), NUM_BANDS), dtype=np.uint64)
    for band in range(NUM_BANDS):
        key_N = np.full(len(texts), band, dtype=np.uint64)
        for minimum in range(MINIMA_PER_BAND):
            order_V = mix(shingles_V, 3 + band * MINIMA_PER_BAND + minimum)
            key_N = mix(key_N + np.minimum.reduceat(order_V, bounds[:-1]))
        bands_NB[:, band] = key_N
    return bands_NB


def measure_similarity(left: pa.Array, right: pa.Array) -> NDArray[np.float64]:
    """Return the Jaccard similarity of the shingles of ``left[k]`` and ``right[k]``, K."""
    (left_pairs, left_V), (right_pairs, right_V) = _find_distinct(left), _find_distinct(right)
    pairs, shingles = np.concatenate([left_pairs, right_pairs]), np.concatenate([left_V, right_V])
    order = np.lexsort([shingles, pairs])
    pairs, shingles = pairs[order], shingles[order]
    is_common = (pairs[1:] == pairs[:-1]) & (shingles[1:] == shingles[:-1])
    common_K = np.bincount(pairs[1:][is_common], minlength=len(left))
    similarity_K: NDArray[np.float64] = common_K / (np.bincount(pairs, minlength=len(left)) - common_K)
    return similarity_K


def _find_distinct(texts: pa.Array) -> tuple[NDArray[np.int64], UInts]:
    """Return the distinct shingles of each text, and before them the text they belong to."""
    shingles_V, bounds = hash_shingles(texts)
    owners_V = np.repeat(np.arange(len(texts)), np.diff(bounds))
    order = np.lexsort([shingles_V, owners_V])
    owners_V, shingles_V = owners_V[order], shingles_V[order]
    is_first = np.ones(len(order), dtype=bool)
    is_first[1:] = (owners_V[1:] != owners_V[:-1]) | (shingles_V[1:] != shingles_V[:-1])
    return owners_V[is_first], shingles_V[is_first]


def mark_near_duplicates(
    rows: RowStore,
    content_columns: tuple[str, ...],
    states_N: NDArray[np.uint8],
    suspects: int,
    folder: Path,
    sizes: BlockSizes = DEFAULT_SIZES,
) -> int:
    """Give the state NEAR_DUPLICATE to rows in state ``suspects`` that nearly equal a held-out row; count them.

    Args:
        rows: All rows.
        content_columns: Columns whose text is compared.
        states_N: State of each row, changed in place.
        suspects: TRAIN or POOL.
        folder: An existing folder for the bands of all rows, 128 bytes a row.
        sizes: How much of them is in memory at once.
    """
    return CopyFinder(rows, content_columns, folder, sizes).mark(states_N, suspects, (VALIDATION, TEST))


class CopyFinder:
    """Finds near copies among rows, as often as asked; the bands of all rows lie on disk, 128 bytes a row."""

    def __init__(
        self, rows: RowStore, content_columns: tuple[str, ...], folder: Path, sizes: BlockSizes = DEFAULT_SIZES
    ) -> None:
        """Write the bands of all rows into an existing folder."""
        self._num_pairs = sizes.num_pairs
        self._rows = rows
        self._content_columns = content_columns
        num_parts = 1 + rows.num_rows * NUM_BANDS * _BAND_TYPE.itemsize // sizes.bands_bytes
        self._paths = [folder / f"{part}.bands" for part in range(num_parts)]
        for records in _iter_bands(rows, content_columns):
            _deal_bands(records, self._paths)

    def mark(self, states_N: NDArray[np.uint8], suspects: int, held_out: tuple[int, ...]) -> int:
        """Give the state NEAR_DUPLICATE to rows in state ``suspects`` that nearly equal one in ``held_out``.

        Returns:
            How many they are.
        """
        num_before = np.count_nonzero(states_N == suspects)
        for path in filter(Path.exists, self._paths):
            records = np.fromfile(path, _BAND_TYPE)
            states = states_N[records["position"]]
            suspects_K, held_out_K = _pair_up(records[states == suspects], records[np.isin(states, held_out)])
            for start in range(0, len(suspects_K), self._num_pairs):
                pairs = slice(start, start + self._num_pairs)
                left, right = self._take_texts(suspects_K[pairs]), self._take_texts(held_out_K[pairs])
                is_copy_K = measure_similarity(left, right) >= SIMILARITY
                states_N[suspects_K[pairs][is_copy_K]] = NEAR_DUPLICATE
        return int(num_before - np.count_nonzero(states_N == suspects))

    def _take_texts(self, positions_K: NDArray[np.int64]) -> pa.Array:
        """Return the texts at ``positions_K``, which may repeat and come in any order."""
        unique, back_K = np.unique(positions_K, return_inverse=True)
        table = self._rows.take(unique, list(self._content_columns))
        return join_columns(table, self._content_columns).take(pa.array(back_K))


def _iter_bands(rows: RowStore, content_columns: tuple[str, ...]) -> Iterator[np.ndarray]:
    """Yield the bands of all rows that have words, batch by batch."""
    for positions, texts in _iter_texts(rows, content_columns):
        chosen = np.flatnonzero(_has_words(texts))
        if len(chosen):
            records = np.empty((len(chosen), NUM_BANDS), _BAND_TYPE)
            records["band"] = hash_bands(texts.take(pa.array(chosen)))
            records["position"] = (positions.start + chosen)[:, None]
            yield records.ravel()


def _deal_bands(records: np.ndarray, paths: list[Path]) -> None:
    """Append bands to files by their key, so that equal keys meet in one file."""
    parts = records["band"] % np.uint64(len(paths))
    order = np.argsort(parts, kind="stable")
    starts = np.searchsorted(parts[order], np.arange(len(paths) + 1, dtype=np.uint64))
    for part in np.flatnonzero(np.diff(starts)).tolist():
        with paths[part].open("ab") as file:
            records[order[starts[part] : starts[part + 1]]].tofile(file)


def _has_words(texts: pa.Array) -> NDArray[np.bool_]:
    has_words: NDArray[np.bool_] = pc.match_substring_regex(texts, pattern=r"[\pL\pN]").to_numpy(zero_copy_only=False)
    return has_words


def _iter_texts(rows: RowStore, content_columns: tuple[str, ...]) -> Iterator[tuple[slice, pa.Array]]:
    """Yield the positions and texts of one batch of rows after the other."""
    for start, table in rows.walk():
        texts = join_columns(table, content_columns)
        num_batches = 1 + texts.nbytes // BATCH_BYTES
        batch_rows = max(1, len(texts) // num_batches)
        for offset in range(0, len(texts), batch_rows):
            batch = texts.slice(offset, batch_rows)
            yield slice(start + offset, start + offset + len(batch)), batch


def join_columns(table: pa.Table, content_columns: tuple[str, ...]) -> pa.Array:
    """Return the text of each row: its content columns one after the other."""
    columns = [pc.cast(table[name], pa.string()) for name in content_columns]
    texts = columns[0] if len(columns) == 1 else pc.binary_join_element_wise(*columns, " ")
    return texts.combine_chunks()


def _pair_up(suspects: np.ndarray, held_out: np.ndarray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return candidate pairs: positions of suspects and of held-out rows that share a band, K each, without repeats."""
    suspects = np.sort(suspects, order=["band", "position"])
    held_out = np.sort(held_out, order=["band", "position"])
    first_M = np.searchsorted(held_out["band"], suspects["band"], side="left")
    last_M = np.minimum(np.searchsorted(held_out["band"], suspects["band"], side="right"), first_M + PARTNERS)
    counts_M = last_M - first_M
    ours_K = np.repeat(suspects["position"], counts_M)
    within_K = np.arange(len(ours_K)) - np.repeat(np.cumsum(counts_M) - counts_M, counts_M)
    theirs_K = held_out["position"][np.repeat(first_M, counts_M) + within_K]
    pairs = np.unique(np.stack([ours_K, theirs_K], axis=1), axis=0)
    return pairs[:, 0].copy(), pairs[:, 1].copy()
