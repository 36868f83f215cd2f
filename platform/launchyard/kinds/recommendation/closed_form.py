"""Models that are computed, not trained: popularity, neighbours of items, the linear autoencoder.

Shapes: U users, I items, E events.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse

from launchyard.errors import TrainError
from launchyard.kinds.recommendation.architectures import Ease, ItemKnn, Popularity
from launchyard.kinds.recommendation.histories import Catalogue, Events

SECONDS_PER_DAY = 86_400.0
DENSE_BYTES = 8.0
"""Bytes that EASE holds per pair of items at its peak: the Gram matrix in double precision, inverted in place."""
MAX_EASE_BYTES = 8e9
EASE_NEIGHBOURS = 1000
"""Largest weights that are kept for each item once a catalogue is larger than this by far."""
DENSE_ITEMS = 5000
"""Largest catalogue whose item-item weights are all kept."""
KNN_CHUNK = 2000
"""Items whose similarities to all others are held at once."""


def build_interactions(events: Events, num_items: int) -> sparse.csr_array:
    """Return a user-item matrix; an item that a user took several times has the largest of its weights."""
    keys_E = events.repeat_users().astype(np.int64) * num_items + events.items_E
    order_E = np.lexsort((-events.weights_E, keys_E))
    keys, first = np.unique(keys_E[order_E], return_index=True)
    values = events.weights_E[order_E][first].astype(np.float64)
    return sparse.csr_array((values, (keys // num_items, keys % num_items)), shape=(len(events.users), num_items))


def score_popularity(model: Popularity, events: Events, catalogue: Catalogue) -> NDArray[np.float32]:
    """Return the score of each item: the sum of its events' weights, halved for each half-life of age.

    Age is counted back from the newest training event.
    """
    weights_E = events.weights_E.astype(np.float64)
    if model.half_life_days is not None:
        ages_E = (events.times_E.max() - events.times_E) / SECONDS_PER_DAY
        weights_E = weights_E * 0.5 ** (ages_E / model.half_life_days)
    totals_I = np.bincount(events.items_E, weights=weights_E, minlength=len(catalogue.items))
    return totals_I.astype(np.float32)


def solve_ease(model: Ease, events: Events, catalogue: Catalogue) -> sparse.csr_array:
    """Return the item-item weights of EASE: row i is what having taken item i says about all items.

    B = I - P diag(1 / diag(P)), P = (X'X + l2 I)^-1, diagonal 0 (Steck 2019, "Embarrassingly Shallow Autoencoders for
    Sparse Data", eq. 8). In catalogues above ``DENSE_ITEMS`` each column keeps its ``EASE_NEIGHBOURS`` largest weights.

    Raises:
        TrainError: the catalogue is too large for memory.
    """
    num_items = len(catalogue.items)
    if DENSE_BYTES * num_items**2 > MAX_EASE_BYTES:
        raise TrainError(
            f"model.architecture: ease needs all pairs of items at once, {DENSE_BYTES * num_items**2 / 1e9:.0f} GB for "
            f"{num_items} items, more than {MAX_EASE_BYTES / 1e9:.0f} GB. Take item-knn, sasrec with model.negatives, "
            "or raise data.min_interactions.item."
        )
    interactions = build_interactions(events, num_items)
    gram_II = np.zeros((num_items, num_items), order="F")
    (interactions.T @ interactions).todense(out=gram_II)
    gram_II[np.diag_indices(num_items)] += model.l2
    factor_II, _ = linalg.cho_factor(gram_II, lower=True, overwrite_a=True, check_finite=False)
    inverse_II, status = linalg.lapack.dpotri(factor_II, lower=1, overwrite_c=1)
    if status != 0:
        raise TrainError(f"model.l2: the item matrix cannot be inverted with {model.l2:g}. Raise it.")
    weights_II = np.tril(inverse_II) + np.tril(inverse_II, -1).T
    weights_II /= -np.diag(weights_II)
    weights_II[np.diag_indices(num_items)] = 0.0
    weights_II = weights_II.astype(np.float32)
    return sparse.csr_array(weights_II) if num_items <= DENSE_ITEMS else keep_largest(weights_II, EASE_NEIGHBOURS)


def find_neighbours(model: ItemKnn, events: Events, catalogue: Catalogue) -> sparse.csr_array:
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
