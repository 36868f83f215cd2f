"""What the training loop trains: next items of sequences, for the transformer and for item texts.

Shapes: R training rows (windows of histories), V validation rows, B rows of one pass, P places of a padded window,
N targets of a pass, I items, S sampled items, K numbers of an answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from launchyard.kinds.recommendation.data.histories import Events, HeldOut, ItemVocabulary, pad_newest
from launchyard.kinds.recommendation.predict.ranking import LOSS, METRIC, answer_rows, measure_answers
from launchyard.kinds.recommendation.train.networks import Sample, SequenceNetwork, Targets

SAMPLE_POWER = 0.75
"""Negatives are drawn in proportion to (events + 1) to this power: from uniform to popular (Mikolov et al. 2013)."""
MAX_SCORES = 20_000_000
"""Most scores of a catalogue held at once (80 MB)."""


@dataclass(frozen=True)
class Windows:
    """Training rows: parts of histories, each event but a user's first being the target of exactly one of them."""

    starts_R: NDArray[np.int64]
    """Where the inputs of each window start among all events; its targets are the events one further."""
    lengths_R: NDArray[np.int64]
    """Number of inputs, which is that of targets."""


def cut_windows(events: Events, max_length: int) -> Windows:
    """Return windows of at most ``max_length`` inputs, cut from the end of each history.

    So one user with 100,000 events is many rows of the usual size, and none is left out.
    """
    targets_U = np.maximum(events.count_events() - 1, 0)
    windows_U = -(-targets_U // max_length)
    users_R = np.repeat(np.arange(len(targets_U)), windows_U)
    # back_R: how many windows of the same user come later.
    back_R = np.arange(len(users_R)) - np.repeat(np.cumsum(windows_U) - windows_U, windows_U)
    lengths_R = np.minimum(targets_U[users_R] - back_R * max_length, max_length)
    ends_R = events.starts_U[users_R + 1] - 1 - back_R * max_length
    return Windows(ends_R - lengths_R, lengths_R)


@dataclass
class SequenceTask:
    """The next item at each place of a history, for the training loop."""

    model: nn.Module
    """A :class:`SequenceNetwork`, on the worker's device."""
    events: Events
    validation: HeldOut
    catalogue: ItemVocabulary
    max_length: int
    negatives: int | None
    """Sampled items of a step; None for all items."""
    exclude_seen: bool
    device: str
    metric: str = METRIC
    loss_metric: str = LOSS

    def __post_init__(self) -> None:
        """Derive what the loop asks for."""
        windows = cut_windows(self.events, self.max_length)
        self._starts_R = windows.starts_R
        self.train_lengths_R = windows.lengths_R
        self.validation_lengths_V = np.minimum(self.validation.events.count_events(), self.max_length)
        total_E = np.concatenate([[0.0], np.cumsum(self.events.weights_E, dtype=np.float64)])
        self.weights_R = total_E[windows.starts_R + windows.lengths_R + 1] - total_E[windows.starts_R + 1]
        counts_I = (self.catalogue.num_events_I + 1.0) ** SAMPLE_POWER
        self._shares_I = counts_I / counts_I.sum()
        self._upto_I = torch.from_numpy(np.cumsum(self._shares_I))

    def load(self, rows_B: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return the rows: what is drawn of them depends on the step."""
        return rows_B

    def compute_loss(self, model: nn.Module, rows_B: NDArray[np.intp]) -> torch.Tensor:
        """Return the summed, weighted cross entropy of all targets of some windows."""
        lengths_B = self.train_lengths_R[rows_B]
        places_P = np.arange(int(lengths_B.max()))
        filled_BP = places_P < lengths_B[:, None]
        inputs_N = (self._starts_R[rows_B][:, None] + places_P)[filled_BP]
        items_BP = np.zeros(filled_BP.shape, dtype=np.int64)
        items_BP[filled_BP] = self.events.items_E[inputs_N]
        targets = Targets(
            places_N=self._send(np.flatnonzero(filled_BP)),
            items_N=self._send(self.events.items_E[inputs_N + 1].astype(np.int64)),
            weights_N=self._send(self.events.weights_E[inputs_N + 1]),
            sample=self._draw_sample(),
        )
        return cast(torch.Tensor, model(self._send(items_BP), self._send(lengths_B), targets))

    def answer(self, rows_B: NDArray[np.intp]) -> torch.Tensor:
        """Return the best items and the loss of validation rows; see :func:`answer_rows`."""
        size = max(1, MAX_SCORES // len(self.catalogue.items))
        parts = [self._answer(rows_B[start : start + size]) for start in range(0, len(rows_B), size)]
        return torch.from_numpy(np.concatenate(parts))

    def measure(self, answers_VK: NDArray[np.float32]) -> dict[str, float]:
        """Return the ranking metrics over all validation rows."""
        return measure_answers(answers_VK, self.validation, self.catalogue)

    def _answer(self, rows_B: NDArray[np.intp]) -> NDArray[np.float32]:
        network = cast(SequenceNetwork, self.model)
        items_BP, lengths_B = pad_newest(self.validation.events, rows_B, self.max_length)
        queries_BPD = network.encode(self._send(items_BP.astype(np.int64)), self._send(lengths_B))
        last_B = self._send(np.maximum(lengths_B - 1, 0))
        queries_BD = queries_BPD[torch.arange(len(rows_B), device=self.device), last_B]
        # In full precision: rounded to bf16, neighbours of a ranking would change places.
        with torch.autocast(self.device.partition(":")[0], enabled=False):
            scores_BI = (queries_BD.float() @ network.embed().float().T).cpu().numpy()
        scores_BI[lengths_B == 0] = self.catalogue.score_popularity()
        return answer_rows(scores_BI, self.validation, rows_B, exclude_seen=self.exclude_seen)

    def _draw_sample(self) -> Sample | None:
        """Return the sampled items of the step that is under way: all parts of its batch get the same ones."""
        if self.negatives is None:
            return None
        generator = torch.Generator().manual_seed(torch.initial_seed())
        drawn_S = torch.rand(self.negatives, generator=generator, dtype=torch.float64)
        items_S = torch.searchsorted(self._upto_I, drawn_S).clamp(max=len(self._upto_I) - 1)
        log_odds_S = torch.from_numpy(np.log(self.negatives * self._shares_I[items_S.numpy()])).float()
        return Sample(items_S.to(self.device), log_odds_S.to(self.device))

    def _send(self, array: NDArray[np.generic]) -> torch.Tensor:
        return torch.from_numpy(array).to(self.device)
