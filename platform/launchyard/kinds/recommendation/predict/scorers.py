"""Trained recommenders as serving computes them: plain arrays and numpy, no framework to load.

    model/scorer.json          the spec's model block
    model/scorer.safetensors   its arrays; row or column i belongs to catalogue position i

Shapes: B histories, L events of one history, N events of all histories, I items, D numbers of a vector, U users.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from scipy import sparse
from threadpoolctl import threadpool_limits

from launchyard.errors import BundleError
from launchyard.files.atomic import write_text
from launchyard.kinds.recommendation.architectures import ARCHITECTURES, Content, LightGcn, SasRec
from launchyard.kinds.recommendation.data.histories import History, build_interactions, join_histories
from launchyard.stored import Stored

CONFIG_NAME = "scorer.json"
ARRAYS_NAME = "scorer.safetensors"
NORM_EPSILON = 1e-5
"""As in torch.nn.LayerNorm."""

Floats = NDArray[np.float32]
ItemWeights: TypeAlias = "Floats | sparse.csr_array"
"""Item-item weights, all of them or the largest; row i is what having taken item i says about all items."""
Arrays = Mapping[str, NDArray[Any]]


class ScorerConfig(Stored):
    """What a scorer is, beside its arrays."""

    schema_version: int = 1
    model: ARCHITECTURES


class Scorer(Protocol):
    """A trained recommender. A history's scores depend on nothing but the history."""

    item_vectors_ID: Floats | None
    """Not None: scores are inner products of a query with these vectors."""

    def compute_queries(self, histories: Sequence[History]) -> Floats:
        """Return a query for each history, of shape (B, D); only where there are item vectors."""
        ...

    def score(self, histories: Sequence[History]) -> Floats:
        """Return the score of every item for each history, of shape (B, I): more is better, nothing is left out.

        An empty history gets the items in order of popularity.
        """
        ...


class PopularityScorer:
    """The same scores for everybody."""

    item_vectors_ID: Floats | None = None

    def __init__(self, scores_I: Floats) -> None:
        """Score items so."""
        self.scores_I = scores_I

    def compute_queries(self, histories: Sequence[History]) -> Floats:
        """Refuse: there are no item vectors."""
        raise NotImplementedError("popularity has no item vectors. Call score")

    def score(self, histories: Sequence[History]) -> Floats:
        """Return the popularity of every item, once for each history."""
        return np.repeat(self.scores_I[None], len(histories), axis=0)


class ItemWeightScorer:
    """Items add up what having taken each item of the history says: EASE and item neighbours."""

    item_vectors_ID: Floats | None = None

    def __init__(self, weights_II: ItemWeights, popularity_I: Floats) -> None:
        """Score with item-item weights."""
        self.weights_II = weights_II
        self.popularity_I = popularity_I

    def compute_queries(self, histories: Sequence[History]) -> Floats:
        """Refuse: there are no item vectors."""
        raise NotImplementedError("item-item weights have no item vectors. Call score")

    def score(self, histories: Sequence[History]) -> Floats:
        """Return the history's row of the interaction matrix times the weights; popularity for an empty one."""
        taken_BI = build_interactions(join_histories(histories), len(self.popularity_I)).astype(np.float32)
        product = taken_BI @ self.weights_II
        scores_BI = cast(Floats, product.toarray() if sparse.issparse(product) else product)
        empty_B = np.array([len(history.items_L) == 0 for history in histories], dtype=bool)
        scores_BI[empty_B] = self.popularity_I
        return scores_BI


class VectorScorer:
    """Items as vectors, a history as a query.

    The vectors' last number is the item's popularity. Queries hold 0 there, except for an empty history, whose query
    is 0 elsewhere and 1 there: so an inner product ranks by popularity too, in an index as well.
    """

    def __init__(self, vectors_ID: Floats, popularity_I: Floats) -> None:
        """Score with these vectors."""
        self.item_vectors_ID: Floats | None = np.column_stack([vectors_ID, popularity_I]).astype(np.float32)

    def compute_queries(self, histories: Sequence[History]) -> Floats:
        """Return a query for each history."""
        assert self.item_vectors_ID is not None  # noqa: S101 - set by __init__
        queries_BD = np.zeros((len(histories), self.item_vectors_ID.shape[1]), dtype=np.float32)
        filled = [place for place, history in enumerate(histories) if len(history.items_L)]
        if filled:
            queries_BD[filled, :-1] = self._encode([histories[place] for place in filled])
        queries_BD[[not len(history.items_L) for history in histories], -1] = 1.0
        return queries_BD

    def score(self, histories: Sequence[History]) -> Floats:
        """Return the inner products of queries and item vectors."""
        assert self.item_vectors_ID is not None  # noqa: S101 - set by __init__
        return cast(Floats, self.compute_queries(histories) @ self.item_vectors_ID.T)

    def _encode(self, histories: Sequence[History]) -> Floats:
        """Return the queries of histories that are not empty, without their last number."""
        raise NotImplementedError


class SasRecScorer(VectorScorer):
    """The transformer's forward pass; histories lie end to end, so that nothing is padded.

    Only the newest event's output is asked for, so the last block computes one place of each history.
    """

    def __init__(self, model: SasRec, arrays: Arrays) -> None:
        """Take the weights by their names in the network."""
        super().__init__(arrays["items.weight"], arrays["popularity_I"])
        self.model = model
        self.arrays = arrays

    def _encode(self, histories: Sequence[History]) -> Floats:
        newest = [history.items_L[-self.model.max_length :] for history in histories]
        lengths_B = np.array([len(items_L) for items_L in newest])
        ends_B = np.cumsum(lengths_B)
        places_N = np.concatenate([np.arange(length)[::-1] for length in lengths_B])
        hidden_ND = self.arrays["items.weight"][np.concatenate(newest)] + self.arrays["places.weight"][places_N]
        for block in range(self.model.layers - 1):
            hidden_ND = self._run_block(f"blocks.{block}", hidden_ND, ends_B, slice(None))
        last_BD = self._run_block(f"blocks.{self.model.layers - 1}", hidden_ND, ends_B, ends_B - 1)
        return self._normalise("norm", last_BD)

    def _run_block(
        self, name: str, hidden_ND: Floats, ends_B: NDArray[np.intp], wanted: slice | NDArray[np.intp]
    ) -> Floats:
        """Return the block's output at the ``wanted`` events: all, or the last of each history."""
        normed_ND = self._normalise(f"{name}.attention_norm", hidden_ND)
        projected = self._project(f"{name}.attention.inputs", normed_ND)
        queries_ND, keys_ND, values_ND = np.split(projected, 3, axis=1)
        mixed = self._attend(queries_ND, keys_ND, values_ND, ends_B, last_only=not isinstance(wanted, slice))
        hidden = hidden_ND[wanted] + self._project(f"{name}.attention.output", mixed)
        widened = self._project(f"{name}.widen", self._normalise(f"{name}.forward_norm", hidden))
        return cast(Floats, hidden + self._project(f"{name}.narrow", np.maximum(widened, 0)))

    def _attend(
        self, queries_ND: Floats, keys_ND: Floats, values_ND: Floats, ends_B: NDArray[np.intp], *, last_only: bool
    ) -> Floats:
        """Return what each event (or the last of each history) gathers from itself and those before it."""
        heads, dim = self.model.heads, self.model.dim
        scale = np.float32((dim // heads) ** -0.5)
        parts = []
        for start, end in zip(np.concatenate([[0], ends_B[:-1]]), ends_B, strict=True):
            first = end - 1 if last_only else start
            queries_HLX = queries_ND[first:end].reshape(end - first, heads, -1).transpose(1, 0, 2)
            keys_HXL = keys_ND[start:end].reshape(end - start, heads, -1).transpose(1, 2, 0)
            values_HLX = values_ND[start:end].reshape(end - start, heads, -1).transpose(1, 0, 2)
            logits_HLL = queries_HLX @ keys_HXL * scale
            if not last_only:
                logits_HLL[:, ~np.tri(end - start, dtype=bool)] = -np.inf
            shares_HLL = np.exp(logits_HLL - logits_HLL.max(axis=2, keepdims=True))
            shares_HLL /= shares_HLL.sum(axis=2, keepdims=True)
            parts.append((shares_HLL @ values_HLX).transpose(1, 0, 2).reshape(end - first, dim))
        return np.concatenate(parts)

    def _project(self, name: str, values_ND: Floats) -> Floats:
        projected: Floats = values_ND @ self.arrays[f"{name}.weight"].T + self.arrays[f"{name}.bias"]
        return projected

    def _normalise(self, name: str, values_ND: Floats) -> Floats:
        centred_ND = values_ND - values_ND.mean(axis=1, keepdims=True)
        variance_N1 = np.square(centred_ND).mean(axis=1, keepdims=True)
        scaled_ND = centred_ND / np.sqrt(variance_N1 + np.float32(NORM_EPSILON))
        return cast(Floats, scaled_ND * self.arrays[f"{name}.weight"] + self.arrays[f"{name}.bias"])


class ContentScorer(VectorScorer):
    """The decayed mean of what the history's texts are about."""

    def __init__(self, model: Content, arrays: Arrays) -> None:
        """Take both vectors of each item: what it says of who took it, and what finds it."""
        super().__init__(arrays["wanted_ID"], arrays["popularity_I"])
        self.half_life = model.half_life
        self._taken_ID = arrays["taken_ID"]

    def _encode(self, histories: Sequence[History]) -> Floats:
        queries = []
        for history in histories:
            shares_L = 0.5 ** (np.arange(len(history.items_L))[::-1] / self.half_life)
            queries.append((shares_L / shares_L.sum()) @ self._taken_ID[history.items_L])
        return np.stack(queries).astype(np.float32)


class LightGcnScorer(VectorScorer):
    """A user's learned vector, averaged with what the graph makes of the history as it is now.

    The user's share of the layers is recomputed from the items' vectors, so that a new event counts at once and a new
    user is somebody: u = (u0 + sum over taken i of q_i / sqrt(taken)) / (layers + 1), where q_i is the sum of the
    item's vectors of layers 0 to layers - 1 over sqrt(its users). Without layers a new user is the mean of the items.
    """

    def __init__(self, model: LightGcn, arrays: Arrays) -> None:
        """Take the final item vectors, the q_i and the vectors of known users."""
        super().__init__(arrays["vectors_ID"], arrays["popularity_I"])
        self.layers = model.layers
        self.arrays = arrays
        self._users_U = unpack_names(arrays["users_UX"])

    def _encode(self, histories: Sequence[History]) -> Floats:
        return np.stack([self._encode_one(history) for history in histories])

    def _encode_one(self, history: History) -> Floats:
        items = np.unique(history.items_L)
        own_D = self._find_user(history.user)
        if not self.layers:
            return self.arrays["vectors_ID"][items].mean(axis=0) if own_D is None else own_D
        gathered_D = self.arrays["gathered_ID"][items].sum(axis=0) / np.sqrt(len(items), dtype=np.float32)
        return cast(Floats, (gathered_D if own_D is None else own_D + gathered_D) / (self.layers + 1))

    def _find_user(self, user: str | None) -> Floats | None:
        if user is None:
            return None
        name = user.encode()
        place = int(np.searchsorted(self._users_U, name))
        if place == len(self._users_U) or self._users_U[place] != name:
            return None
        return cast(Floats, self.arrays["user_vectors_UD"][place])


def pack_names(names: Sequence[str]) -> NDArray[np.uint8]:
    """Return names as rows of bytes, filled up with zeros: an array that needs no pickle.

    >>> unpack_names(pack_names(["ab", "c"])).tolist()
    [b'ab', b'c']
    """
    packed = np.array([name.encode() for name in names], dtype=np.bytes_)
    return packed.view(np.uint8).reshape(len(names), -1)


def unpack_names(packed_UX: NDArray[np.uint8]) -> NDArray[np.bytes_]:
    """Return the names that :func:`pack_names` took."""
    return np.ascontiguousarray(packed_UX).view(f"S{packed_UX.shape[1]}").ravel()


def list_item_weights(weights_II: ItemWeights) -> dict[str, NDArray[Any]]:
    """Return the arrays that item-item weights are written as."""
    if isinstance(weights_II, np.ndarray):
        return {"weights_II": weights_II}
    return {
        "values": weights_II.data.astype(np.float32),
        "columns": weights_II.indices.astype(np.int32),
        "starts": weights_II.indptr.astype(np.int64),
    }


def _load_item_weights(model: object, arrays: Arrays) -> Scorer:
    popularity_I = arrays["popularity_I"]
    if "weights_II" in arrays:
        return ItemWeightScorer(arrays["weights_II"], popularity_I)
    parts = (arrays["values"], arrays["columns"], arrays["starts"])
    return ItemWeightScorer(sparse.csr_array(parts, shape=(len(popularity_I), len(popularity_I))), popularity_I)


LOADERS: dict[str, Callable[[Any, Arrays], Scorer]] = {
    "popularity": lambda model, arrays: PopularityScorer(arrays["popularity_I"]),
    "item-knn": _load_item_weights,
    "ease": _load_item_weights,
    "content": ContentScorer,
    "lightgcn": LightGcnScorer,
    "sasrec": SasRecScorer,
}


def save_scorer(model_dir: Path, config: ScorerConfig, arrays: Arrays) -> None:
    """Write a scorer's files; the config comes last, so that where it is the arrays are too."""
    model_dir.mkdir(parents=True, exist_ok=True)
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, model_dir / ARRAYS_NAME)
    write_text(model_dir / CONFIG_NAME, config.model_dump_json(indent=2) + "\n")


def load_scorer(model_dir: Path, *, threads: int) -> Scorer:
    """Return the scorer in a bundle's ``model/``; all of numpy then computes on ``threads`` CPU threads.

    Raises:
        BundleError: a file is missing or damaged.
    """
    try:
        config = ScorerConfig.model_validate_json((model_dir / CONFIG_NAME).read_text(encoding="utf-8"))
        arrays = load_file(model_dir / ARRAYS_NAME)
        threadpool_limits(threads, user_api="blas")
        return LOADERS[config.model.architecture](config.model, arrays)
    except (OSError, KeyError, ValidationError, SafetensorError) as err:
        raise BundleError(f"{model_dir}: not a complete recommender: {err}. Train the model again.") from err
