"""Vectors of items made of who took them: near ones were taken by the same people.

A truncated singular value decomposition of the user-item matrix (Deerwester et al. 1990; Cremonesi et al. 2010,
"PureSVD"), fitted on training events in seconds. They serve what every architecture needs alike: a user's embedding
as a feature, and the item of the history that a recommendation is explained by.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.linalg import svds


def compute_item_vectors(
    users_N: NDArray[np.int32], items_N: NDArray[np.int32], num_items: int, size: int
) -> NDArray[np.float32]:
    """Return a vector of length 1 for each item, of shape (I, ``size``); zeros for one without events."""
    num_users = int(users_N.max(initial=-1)) + 1
    matrix_UI = csr_matrix((np.ones(len(users_N)), (users_N, items_N)), shape=(num_users, num_items))
    matrix_UI.data[:] = 1.0
    vectors_IV = np.zeros((num_items, size))
    rank = min(size, min(matrix_UI.shape) - 1)
    if rank > 0:
        # A start vector of ones makes the result the same on every run; signs are fixed below.
        _, _, right_VI = svds(matrix_UI, k=rank, v0=np.ones(min(matrix_UI.shape)))
        signs_V = np.sign(right_VI[np.arange(rank), np.abs(right_VI).argmax(axis=1)])
        vectors_IV[:, :rank] = (right_VI * signs_V[:, None])[::-1].T
    norms_I = np.linalg.norm(vectors_IV, axis=1, keepdims=True)
    unit_IV: NDArray[np.float64] = np.divide(vectors_IV, norms_I, out=np.zeros_like(vectors_IV), where=norms_I > 1e-12)
    return unit_IV.astype(np.float32)
