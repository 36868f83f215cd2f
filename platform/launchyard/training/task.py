"""What a product kind gives the training loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import torch

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

Answers: TypeAlias = torch.Tensor | Sequence[torch.Tensor]
"""Of one batch: a row each, or a tensor for each row where their shapes differ."""


class Task(Protocol):
    """A model, its rows and its loss. Rows are named by their position in the training or validation split.

    Array legend: R training rows, V validation rows, B rows of one forward pass, K numbers per answer.
    Randomness comes from torch's global generator alone: the loop seeds it anew for each step.
    """

    model: nn.Module
    """On the worker's device; what is to be trained requires a gradient."""
    metric: str
    """The validation metric that chooses the best weights; the kind declares whether more or less of it is better."""
    loss_metric: str
    """The validation metric that decides between equal scores; less is better."""
    train_lengths_R: NDArray[np.int64]
    """Length of each training row, such as its tokens: rows are padded to the longest beside them."""
    validation_lengths_V: NDArray[np.int64]
    weights_R: NDArray[np.float64]
    """Weight of each training row in the mean loss of its batch."""

    def load(self, rows_B: NDArray[np.intp]) -> Any:
        """Return training rows as :meth:`compute_loss` takes them, on the CPU.

        A function of the rows alone: it may run ahead, in another process.
        """
        ...

    def compute_loss(self, model: nn.Module, batch: Any) -> torch.Tensor:
        """Return the sum over loaded rows of weight times loss, on ``model`` (perhaps a wrapper of ``self.model``).

        A batch may be computed in several calls, so a row's loss must not depend on the rows beside it.
        """
        ...

    def answer(self, rows_B: NDArray[np.intp]) -> Answers:
        """Return the model's answers to validation rows: ``answers_BK``, or a tensor of any shape for each row."""
        ...

    def measure(self, answers: Any) -> dict[str, float]:
        """Return the metrics of the answers to all validation rows; the two named above are among them.

        ``answers`` is the array ``answers_VK``, or a list of one array for each row, as :meth:`answer` gave them.
        """
        ...
