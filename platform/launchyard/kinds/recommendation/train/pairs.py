"""Users and items as vectors that learn which of two items a user took: LightGCN, and matrix factorisation with BPR.

Shapes: U users, I items, M users and items, E events, R training rows (events), B rows of one pass, S negatives of a
row, D numbers of a vector, V validation rows, C candidates of one negative.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import nn
from torch.nn import functional

from launchyard.kinds.recommendation.architectures import LightGcn
from launchyard.kinds.recommendation.data.histories import Events, HeldOut, ItemVocabulary, build_interactions
from launchyard.kinds.recommendation.predict.ranking import LOSS, METRIC, answer_rows, measure_answers
from launchyard.kinds.recommendation.predict.scorers import LightGcnScorer, pack_names

INIT_STD = 0.1
"""As in He et al. 2020."""
CANDIDATES = 8
"""Draws for one negative, of which the first is taken that the user has not taken."""
MAX_SCORES = 20_000_000
"""Most scores of a catalogue held at once (80 MB)."""


def normalise_graph(events: Events, num_items: int) -> sparse.csr_array:
    """Return the symmetric adjacency of users and items, each edge divided by the root of both ends' degrees."""
    links_UI = build_interactions(events, num_items)
    links_UI.data[:] = 1.0
    full = sparse.block_array([[None, links_UI], [links_UI.T, None]], format="csr")
    scales_M = 1 / np.sqrt(np.maximum(full.sum(axis=1), 1))
    return sparse.csr_array(sparse.diags_array(scales_M) @ full @ sparse.diags_array(scales_M))


class Propagate(torch.autograd.Function):
    """Product with a symmetric sparse matrix: its gradient is the product with the same matrix."""

    @staticmethod
    def forward(ctx: Any, graph_MM: torch.Tensor, vectors_MD: torch.Tensor) -> torch.Tensor:
        """Return ``graph_MM @ vectors_MD``."""
        ctx.graph_MM = graph_MM
        return graph_MM @ vectors_MD

    @staticmethod
    def backward(ctx: Any, *grad_outputs: torch.Tensor) -> tuple[None, torch.Tensor]:
        """Return the gradient of the vectors."""
        return None, ctx.graph_MM @ grad_outputs[0]


class GraphNetwork(nn.Module):
    """Vectors of users and items, averaged over the layers of the graph (He et al. 2020, eq. 3-4)."""

    graph_MM: torch.Tensor

    def __init__(self, graph_MM: sparse.csr_array, num_users: int, model: LightGcn, device: str) -> None:
        """Build the network with fresh vectors, users first, on a device."""
        super().__init__()
        self.layers = model.layers
        self.num_users = num_users
        self.vectors = nn.Embedding(graph_MM.shape[0], model.dim)
        nn.init.normal_(self.vectors.weight, std=INIT_STD)
        parts = (graph_MM.indptr.astype(np.int64), graph_MM.indices.astype(np.int64), graph_MM.data.astype(np.float32))
        # Not a buffer: data-parallel training would send it around.
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta state", UserWarning)
            self.graph_MM = torch.sparse_csr_tensor(
                *map(torch.from_numpy, parts), size=graph_MM.shape, check_invariants=True
            ).to(device)
        self.to(device)

    def propagate(self) -> list[torch.Tensor]:
        """Return the vectors of each layer, the learned ones first."""
        layers = [self.vectors.weight]
        with torch.autocast(self.vectors.weight.device.type, enabled=False):
            for _ in range(self.layers):
                layers.append(cast(torch.Tensor, Propagate.apply(self.graph_MM, layers[-1])))
        return layers

    def forward(
        self, users_B: torch.Tensor, items_B: torch.Tensor, negatives_BS: torch.Tensor, weights_B: torch.Tensor
    ) -> torch.Tensor:
        """Return the summed, weighted BPR loss: -ln sigmoid of how far the taken item is above a negative."""
        vectors_MD = torch.stack(self.propagate()).mean(dim=0)
        users_BD = vectors_MD[users_B]
        taken_B = (users_BD * vectors_MD[self.num_users + items_B]).sum(dim=1)
        negatives_BSD = vectors_MD[self.num_users + negatives_BS]
        lower_BS = (users_BD[:, None] * negatives_BSD).sum(dim=2)
        loss_B = functional.softplus(lower_BS - taken_B[:, None]).mean(dim=1)
        return (weights_B * loss_B).sum()


@dataclass
class PairTask:
    """Taken above not taken, for the training loop; a row is an event."""

    model: GraphNetwork
    events: Events
    validation: HeldOut
    catalogue: ItemVocabulary
    settings: LightGcn
    exclude_seen: bool
    device: str
    metric: str = METRIC
    loss_metric: str = LOSS

    def __post_init__(self) -> None:
        """Derive what the loop asks for."""
        self._users_R = self.events.repeat_users().astype(np.int64)
        self.train_lengths_R = np.ones(len(self._users_R), dtype=np.int64)
        self.validation_lengths_V = np.ones(len(self.validation.truth), dtype=np.int64)
        self.weights_R = self.events.weights_E.astype(np.float64)
        self._pairs = np.unique(self._users_R * len(self.catalogue.items) + self.events.items_E)

    def load(self, rows_B: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return the rows: what is drawn of them depends on the step."""
        return rows_B

    def compute_loss(self, model: nn.Module, rows_B: NDArray[np.intp]) -> torch.Tensor:
        """Return the summed, weighted loss of some events."""
        arrays = (
            self._users_R[rows_B],
            self.events.items_E[rows_B].astype(np.int64),
            self.draw_negatives(rows_B, seed=torch.initial_seed()),
            self.events.weights_E[rows_B],
        )
        return cast(torch.Tensor, model(*(torch.from_numpy(array).to(self.device) for array in arrays)))

    def answer(self, rows_B: NDArray[np.intp]) -> torch.Tensor:
        """Return the best items and the loss of validation rows, scored as serving scores them."""
        scorer = LightGcnScorer(self.settings, list_vectors(self.model, self.events, self.catalogue))
        size = max(1, MAX_SCORES // len(self.catalogue.items))
        parts = []
        for start in range(0, len(rows_B), size):
            part = rows_B[start : start + size]
            scores_BI = scorer.score(self.validation.get_histories(part))
            parts.append(answer_rows(scores_BI, self.validation, part, exclude_seen=self.exclude_seen))
        return torch.from_numpy(np.concatenate(parts))

    def measure(self, answers_VK: NDArray[np.float32]) -> dict[str, float]:
        """Return the ranking metrics over all validation rows."""
        return measure_answers(answers_VK, self.validation, self.catalogue)

    def draw_negatives(self, rows_B: NDArray[np.intp], *, seed: int) -> NDArray[np.int64]:
        """Return random items that each event's user has not taken, as ``negatives_BS``.

        They are a function of seed and row alone, so a row gets the same ones whatever is computed beside it. A user
        who took nearly everything may get an item that is not negative.
        """
        numbers = np.arange(self.settings.negatives * CANDIDATES, dtype=np.uint64)
        keys = rows_B.astype(np.uint64)[:, None] * np.uint64(len(numbers)) + numbers
        drawn = (mix_bits(keys + mix_bits(np.array([seed], dtype=np.uint64))) >> np.uint64(11)).astype(
            np.float64
        ) / 2**53
        items_BSC = (drawn * len(self.catalogue.items)).astype(np.int64).reshape(len(rows_B), -1, CANDIDATES)
        pairs_BSC = self._users_R[rows_B][:, None, None] * len(self.catalogue.items) + items_BSC
        places_BSC = np.searchsorted(self._pairs, pairs_BSC).clip(max=len(self._pairs) - 1)
        first_BS1 = (self._pairs[places_BSC] != pairs_BSC).argmax(axis=2)[..., None]
        return np.take_along_axis(items_BSC, first_BS1, axis=2)[..., 0]


def mix_bits(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return numbers so hashed that neighbours have nothing in common (SplitMix64: Steele et al. 2014)."""
    mixed = numbers + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


@torch.inference_mode()
def list_vectors(network: GraphNetwork, events: Events, catalogue: ItemVocabulary) -> dict[str, NDArray[Any]]:
    """Return the arrays of :class:`LightGcnScorer`, users in the order of their names."""
    layers = [layer.float().cpu().numpy() for layer in network.propagate()]
    num_users = network.num_users
    names = pack_names(events.users)
    order_U = np.argsort(names.view(f"S{names.shape[1]}").ravel(), kind="stable")
    takers_I = np.diff(build_interactions(events, len(catalogue.items)).tocsc().indptr)
    arrays = {
        "vectors_ID": np.mean([layer[num_users:] for layer in layers], axis=0),
        "user_vectors_UD": layers[0][:num_users][order_U],
        "users_UX": names[order_U],
        "popularity_I": catalogue.score_popularity(),
    }
    if network.layers:
        gathered_ID = np.sum([layer[num_users:] for layer in layers[:-1]], axis=0)
        arrays["gathered_ID"] = gathered_ID / np.sqrt(np.maximum(takers_I, 1))[:, None].astype(np.float32)
    return arrays
