"""The networks of sequence models, and the softmax over a catalogue that they learn by.

Shapes: I items, D numbers of a vector, B histories, P places of a padded history, N targets of all histories, H heads,
S sampled items, F features of an item, C targets of one chunk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
from torch import nn
from torch.nn import functional

from launchyard.kinds.recommendation.architectures import Content, SasRec

CHUNK_LOGITS_CPU = 1_000_000
"""Logits computed at once on a CPU (4 MB): they stay in its cache from the first product to the last."""
CHUNK_LOGITS_CUDA = 100_000_000
"""Scores computed at once on a GPU: 400 MB in float32."""
INIT_STD = 0.02
"""As BERT begins; larger weights make the first softmax too sure."""
EXPANSION = 1
"""Width of the feed-forward part, in dim."""


@dataclass(frozen=True)
class Sample:
    """Items that stand for the catalogue in one step."""

    items_S: torch.Tensor
    log_odds_S: torch.Tensor
    """Logarithm of how often each is expected in such a sample."""


@dataclass(frozen=True)
class Targets:
    """What a batch of histories is to predict, place by place."""

    places_N: torch.Tensor
    """Places of the flattened batch, B * P, that have a target."""
    items_N: torch.Tensor
    weights_N: torch.Tensor
    sample: Sample | None
    """What they are told from; None for all items of the catalogue."""


class SequenceNetwork(Protocol):
    """A network that turns each place of a history into a query, and items into vectors of the same space."""

    def encode(self, items_BP: torch.Tensor, lengths_B: torch.Tensor) -> torch.Tensor:
        """Return ``queries_BPD``; a place sees itself and what is before it."""
        ...

    def embed(self, items_N: torch.Tensor | None = None) -> torch.Tensor:
        """Return the vectors of some items, or of all."""
        ...


class CatalogueSoftmax(torch.autograd.Function):
    """Weighted sum of softmax cross entropies over all items, with gradients found on the way.

    A matrix of logits, N x I, is by far the largest thing in such a training. Here a chunk of it is made, turned into
    loss and gradients and forgotten, so that it is neither kept nor computed twice.
    """

    @staticmethod
    def forward(
        ctx: Any, queries_ND: torch.Tensor, vectors_ID: torch.Tensor, items_N: torch.Tensor, weights_N: torch.Tensor
    ) -> torch.Tensor:
        """Return the sum over targets of weight times -log softmax(query . vectors)[item]."""
        loss = queries_ND.new_zeros(())
        grad_queries_ND = torch.empty_like(queries_ND)
        grad_vectors_ID = torch.zeros_like(vectors_ID)
        limit = CHUNK_LOGITS_CUDA if queries_ND.is_cuda else CHUNK_LOGITS_CPU
        size = max(1, limit // len(vectors_ID))
        for start in range(0, len(queries_ND), size):
            chunk = slice(start, start + size)
            queries_CD, items_C1, weights_C1 = queries_ND[chunk], items_N[chunk, None], weights_N[chunk, None]
            shares_CI = (queries_CD @ vectors_ID.T).softmax(dim=1)
            taken_C1 = shares_CI.gather(1, items_C1).clamp(min=torch.finfo(torch.float32).tiny)
            loss -= (weights_C1 * taken_C1.log()).sum()
            # Shares minus the truth is the gradient of the logits; weights are multiplied where it is small.
            shares_CI.scatter_add_(1, items_C1, -torch.ones_like(weights_C1))
            torch.mm(shares_CI, vectors_ID, out=grad_queries_ND[chunk]).mul_(weights_C1)
            grad_vectors_ID.addmm_(shares_CI.T, queries_CD * weights_C1)
        ctx.save_for_backward(grad_queries_ND, grad_vectors_ID)
        return loss

    @staticmethod
    def backward(ctx: Any, *grad_outputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None, None]:
        """Return the gradients that forward found, scaled."""
        grad_queries_ND, grad_vectors_ID = ctx.saved_tensors
        return grad_queries_ND * grad_outputs[0], grad_vectors_ID * grad_outputs[0], None, None


def sampled_softmax(
    queries_ND: torch.Tensor, network: SequenceNetwork, targets: Targets, sample: Sample
) -> torch.Tensor:
    """Return the weighted sum of cross entropies of each target among itself and the sampled items.

    Each sampled logit is lowered by the logarithm of how often it is expected in the sample, so that the sum over the
    sample estimates the sum over the catalogue (Bengio and Senecal 2008; Yi et al. 2019). A target that is itself in
    the sample is taken out there.
    """
    positive_N1 = (queries_ND * network.embed(targets.items_N)).sum(dim=1, keepdim=True)
    logits_NS = queries_ND @ network.embed(sample.items_S).T - sample.log_odds_S
    logits_NS = logits_NS.masked_fill(targets.items_N[:, None] == sample.items_S, -torch.inf)
    loss_N = torch.cat([positive_N1, logits_NS], dim=1).logsumexp(dim=1) - positive_N1[:, 0]
    return (targets.weights_N * loss_N).sum()


def compute_softmax_loss(network: SequenceNetwork, queries_BPD: torch.Tensor, targets: Targets) -> torch.Tensor:
    """Return the weighted sum of the targets' cross entropies, over all items or over sampled ones, in fp32."""
    queries_ND = queries_BPD.flatten(0, 1)[targets.places_N].float()
    with torch.autocast(queries_ND.device.type, enabled=False):
        if targets.sample is not None:
            return sampled_softmax(queries_ND, network, targets, targets.sample)
        loss = CatalogueSoftmax.apply(queries_ND, network.embed(), targets.items_N, targets.weights_N)
        return cast(torch.Tensor, loss)


class Dropout(nn.Module):
    """Sets a share of all numbers to zero in training, in steps of 1/256, and scales the rest up accordingly.

    On a CPU torch draws one random number per number dropped or kept, which takes longer than the products between;
    here each draw of 64 bits decides on eight.
    """

    def __init__(self, share: float) -> None:
        """Drop about ``share`` of the numbers."""
        super().__init__()
        self.threshold = round(share * 256)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Return the values, some dropped."""
        if not self.training or not self.threshold:
            return values
        draws = torch.empty(-(-values.numel() // 8), dtype=torch.int64, device=values.device)
        # From the smallest integer on: all 64 bits are random, the sign too.
        draws.random_(torch.iinfo(torch.int64).min, None)
        kept = draws.view(torch.uint8)[: values.numel()].view(values.shape) >= self.threshold
        return values * kept.to(values.dtype).mul_(256 / (256 - self.threshold))


class Attention(nn.Module):
    """Causal self-attention over right-padded histories: no place sees the padding, which is after all of them."""

    def __init__(self, dim: int, heads: int) -> None:
        """Project with one matrix in and one out."""
        super().__init__()
        self.heads = heads
        self.inputs = nn.Linear(dim, 3 * dim)
        self.output = nn.Linear(dim, dim)

    def forward(self, hidden_BPD: torch.Tensor) -> torch.Tensor:
        """Return what each place gathers from itself and the places before it."""
        queries, keys, values = self.inputs(hidden_BPD).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed_BHPD = functional.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        return cast(torch.Tensor, self.output(mixed_BHPD.transpose(1, 2).flatten(2)))


class TransformerBlock(nn.Module):
    """Attention and a feed-forward part, each normalised before and added to what it read (Xiong et al. 2020)."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        """Build the two parts."""
        super().__init__()
        self.attention_norm = nn.LayerNorm(dim)
        self.attention = Attention(dim, heads)
        self.forward_norm = nn.LayerNorm(dim)
        self.widen = nn.Linear(dim, EXPANSION * dim)
        self.narrow = nn.Linear(EXPANSION * dim, dim)
        self.dropout = Dropout(dropout)

    def forward(self, hidden_BPD: torch.Tensor) -> torch.Tensor:
        """Return the hidden states after this block."""
        hidden_BPD = hidden_BPD + self.dropout(self.attention(self.attention_norm(hidden_BPD)))
        widened = self.dropout(functional.relu(self.widen(self.forward_norm(hidden_BPD))))
        return cast(torch.Tensor, hidden_BPD + self.dropout(self.narrow(widened)))


class SasRecNetwork(nn.Module):
    """A causal transformer over items, whose vectors are those that queries are compared with."""

    def __init__(self, num_items: int, model: SasRec) -> None:
        """Build the network with fresh weights."""
        super().__init__()
        self.items = nn.Embedding(num_items, model.dim)
        self.places = nn.Embedding(model.max_length, model.dim)
        self.dropout = Dropout(model.dropout)
        self.blocks = nn.ModuleList(
            TransformerBlock(model.dim, model.heads, model.dropout) for _ in range(model.layers)
        )
        self.norm = nn.LayerNorm(model.dim)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=INIT_STD)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def encode(self, items_BP: torch.Tensor, lengths_B: torch.Tensor) -> torch.Tensor:
        """Return ``queries_BPD``. Places are counted from the newest item, which is place 0."""
        places_P = torch.arange(items_BP.shape[1], device=items_BP.device)
        places_BP = (lengths_B[:, None] - 1 - places_P).clamp(min=0)
        hidden_BPD = self.dropout(self.items(items_BP) + self.places(places_BP))
        for block in self.blocks:
            hidden_BPD = block(hidden_BPD)
        return cast(torch.Tensor, self.norm(hidden_BPD))

    def embed(self, items_N: torch.Tensor | None = None) -> torch.Tensor:
        """Return the vectors of some items, or of all."""
        return self.items.weight if items_N is None else cast(torch.Tensor, self.items(items_N))

    def forward(self, items_BP: torch.Tensor, lengths_B: torch.Tensor, targets: Targets) -> torch.Tensor:
        """Return the weighted sum of the targets' losses."""
        return compute_softmax_loss(self, self.encode(items_BP, lengths_B), targets)


class ContentNetwork(nn.Module):
    """Items by fixed features: one projection makes what is looked for, another what is found."""

    features_IF: torch.Tensor

    def __init__(self, features_IF: torch.Tensor, model: Content) -> None:
        """Build the network with fresh projections."""
        super().__init__()
        self.half_life = model.half_life
        self.register_buffer("features_IF", features_IF, persistent=False)
        self.taken = nn.Linear(features_IF.shape[1], model.dim, bias=False)
        self.wanted = nn.Linear(features_IF.shape[1], model.dim, bias=False)

    def encode(self, items_BP: torch.Tensor, lengths_B: torch.Tensor) -> torch.Tensor:
        """Return ``queries_BPD``: the decayed mean of the vectors up to each place."""
        vectors_BPD = self.taken(self.features_IF[items_BP])
        places_P = torch.arange(items_BP.shape[1], device=items_BP.device)
        ages_PP = places_P[:, None] - places_P
        shares_PP = torch.where(ages_PP >= 0, 0.5 ** (ages_PP.clamp(min=0) / self.half_life), 0.0)
        return (shares_PP / shares_PP.sum(dim=1, keepdim=True)) @ vectors_BPD

    def embed(self, items_N: torch.Tensor | None = None) -> torch.Tensor:
        """Return the vectors of some items, or of all."""
        return cast(torch.Tensor, self.wanted(self.features_IF if items_N is None else self.features_IF[items_N]))

    def forward(self, items_BP: torch.Tensor, lengths_B: torch.Tensor, targets: Targets) -> torch.Tensor:
        """Return the weighted sum of the targets' losses."""
        return compute_softmax_loss(self, self.encode(items_BP, lengths_B), targets)
