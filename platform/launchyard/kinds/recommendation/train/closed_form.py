"""Models that are computed, not trained: popularity, neighbours of items, the linear autoencoder.

Shapes: U users, I items, E events.
"""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse

from launchyard.errors import TrainError
from launchyard.kinds.recommendation.architectures import Ease, ItemKnn, Popularity
from launchyard.kinds.recommendation.data.histories import Events, ItemVocabulary, build_interactions
from launchyard.kinds.recommendation.predict.scorers import ItemWeights, ItemWeightScorer

SECONDS_PER_DAY = 86_400.0
EASE_BYTES = 12
"""Bytes that EASE holds per pair of items at its peak: a matrix in double precision and its copy in single."""
BASELINE_EASE_ITEMS = 10_000
"""Largest catalogue whose cheap baseline is EASE: a minute of computation."""
MIRROR_ROWS = 1000
"""Rows of the square matrix copied at once: a whole transposed copy would double the memory."""
EASE_NEIGHBOURS = 1000
"""Largest weights that are kept for each item of a large catalogue: 8 kB each. On MovieLens-100k (1,682 items) 1000 of
them cost nothing of test ndcg@10 (.0735), 400 cost .0004, 200 cost .0013."""
DENSE_ITEMS = 5000
"""Largest catalogue whose item-item weights are all kept."""
KNN_CHUNK = 2000
"""Items whose similarities to all others are held at once."""


def score_popularity(model: Popularity, events: Events, catalogue: ItemVocabulary) -> NDArray[np.float32]:
    """Return the score of each item: ln(1 + sum of its events' weights), halved for each half-life of age.

    Age is counted back from the newest training event.
    """
    weights_E = events.weights_E.astype(np.float64)
    if model.half_life_days is not None:
        ages_E = (events.times_E.max() - events.times_E) / SECONDS_PER_DAY
        weights_E = weights_E * 0.5 ** (ages_E / model.half_life_days)
    totals_I = np.bincount(events.items_E, weights=weights_E, minlength=len(catalogue.items))
    return np.log1p(totals_I).astype(np.float32)


def solve_ease(model: Ease, events: Events, catalogue: ItemVocabulary) -> ItemWeights:
    """Return the item-item weights of EASE: row i is what having taken item i says about all items.

    B = I - P diag(1 / diag(P)), P = (X'X + l2 I)^-1, diagonal 0 (Steck 2019, "Embarrassingly Shallow Autoencoders for
    Sparse Data", eq. 8). In catalogues above ``DENSE_ITEMS`` each column keeps its ``EASE_NEIGHBOURS`` largest weights.

    Raises:
        TrainError: the catalogue is too large for memory.
    """
    num_items = len(catalogue.items)
    check_ease_fits(num_items, memory_bytes=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    interactions = build_interactions(events, num_items)
    gram_II = np.zeros((num_items, num_items), order="F")
    (interactions.T @ interactions).todense(out=gram_II)
    gram_II[np.diag_indices(num_items)] += model.l2
    factor_II, _ = linalg.cho_factor(gram_II, lower=True, overwrite_a=True, check_finite=False)
    inverse_II, status = linalg.lapack.dpotri(factor_II, lower=1, overwrite_c=1)
    if status != 0:
        raise TrainError(f"model.l2: the item matrix cannot be inverted with {model.l2:g}. Raise it.")
    _mirror_lower(inverse_II)
    inverse_II /= -np.diag(inverse_II).copy()
    inverse_II[np.diag_indices(num_items)] = 0.0
    weights_II = inverse_II.astype(np.float32)
    return weights_II if num_items <= DENSE_ITEMS else keep_largest(weights_II, EASE_NEIGHBOURS)


def check_ease_fits(num_items: int, *, memory_bytes: int) -> None:
    """Check that all pairs of items fit in half of the machine's memory.

    Raises:
        TrainError: they do not; the message says what to take instead.
    """
    needed = EASE_BYTES * num_items**2
    if needed > memory_bytes / 2:
        raise TrainError(
            f"model.architecture: ease computes with all pairs of items, {needed / 1e9:.1f} GB for {num_items} items, "
            f"more than half of this machine's {memory_bytes / 1e9:.1f} GB. Take item-knn, or sasrec with "
            "model.negatives, or raise data.min_interactions.item."
        )


def choose_cheap_baseline(num_items: int) -> Ease | ItemKnn:
    """Return what a trained model has to beat: EASE, or item neighbours where EASE would take minutes."""
    return Ease(architecture="ease") if num_items <= BASELINE_EASE_ITEMS else ItemKnn(architecture="item-knn")


def fit_cheap_baseline(events: Events, catalogue: ItemVocabulary) -> ItemWeightScorer:
    """Return the scorer of the cheap baseline."""
    model = choose_cheap_baseline(len(catalogue.items))
    weights_II: ItemWeights = (
        solve_ease(model, events, catalogue) if isinstance(model, Ease) else find_neighbours(model, events, catalogue)
    )
    return ItemWeightScorer(weights_II, catalogue.score_popularity())


def find_neighbours(model: ItemKnn, events: Events, catalogue: ItemVocabulary) -> sparse.csr_array:
    """Return the item-item weights of nearest neighbours: shrunk cosines, ``model.neighbours`` for each item.

    The similarity is x'y / (|x| |y| + shrinkage) over the users' weights (Sarwar et al. 2001; Bell and Koren 2007).
    """
    interactions = build_interactions(events, len(catalogue.items)).tocsc()
    norms_I = np.sqrt(interactions.multiply(interactions).sum(axis=0))
    parts = []
    for start in range(0, len(norms_I), KNN_CHUNK):
        chunk = slice(start, start + KNN_CHUNK)
        shared = (interactions.T @ interactions[:, chunk]).tocoo()
        own = shared.col + start
        similar = shared.data / (norms_I[shared.row] * norms_I[own] + model.shrinkage)
        similar[shared.row == own] = 0.0
        sums = sparse.csc_array((similar.astype(np.float32), (shared.row, shared.col)), shape=shared.shape)
        parts.append(_keep_largest_stored(sums, model.neighbours))
    return sparse.hstack(parts).tocsr()


def _mirror_lower(matrix_II: NDArray[np.float64]) -> None:
    """Copy the lower triangle onto the upper one, in place."""
    size = len(matrix_II)
    for start in range(0, size, MIRROR_ROWS):
        stop = min(start + MIRROR_ROWS, size)
        block = matrix_II[start:stop, start:stop]
        block[:] = np.tril(block) + np.tril(block, -1).T
        matrix_II[start:stop, stop:] = matrix_II[stop:, start:stop].T


def keep_largest(weights_II: NDArray[np.float32], count: int) -> sparse.csr_array:
    """Return a matrix with the ``count`` weights of each column that are furthest from 0."""
    kept = np.argpartition(-np.abs(weights_II), count, axis=0)[:count]
    columns = np.broadcast_to(np.arange(weights_II.shape[1]), kept.shape)
    values = np.take_along_axis(weights_II, kept, axis=0)
    return sparse.csr_array((values.ravel(), (kept.ravel(), columns.ravel())), shape=weights_II.shape)


def _keep_largest_stored(weights: sparse.csc_array, count: int) -> sparse.csc_array:
    """Return ``weights`` with only the ``count`` largest entries of each column."""
    lengths = np.diff(weights.indptr)
    columns = np.repeat(np.arange(weights.shape[1]), lengths)
    order = np.lexsort((-weights.data, columns))
    rank = np.arange(len(order)) - np.repeat(weights.indptr[:-1], lengths)
    kept = order[rank < count]
    return sparse.csc_array((weights.data[kept], (weights.indices[kept], columns[kept])), shape=weights.shape)
