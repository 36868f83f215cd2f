"""The update rule and the course of its learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from launchyard.spec.blocks import GradientTrain

EXPONENTIAL_END = 0.01
"""Where the exponential schedule ends, as a share of the peak."""


def build_optimizer(train: GradientTrain, model: nn.Module) -> torch.optim.Optimizer:
    """Return the optimizer of the parameters that require a gradient.

    Matrices decay, vectors (biases, norms) do not. ``fused`` and ``foreach`` update all parameters in few kernels.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": train.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    # torch 2.13 has no fused SGD for parameters that are divided among workers.
    kernels = {"foreach" if any(isinstance(parameter, DTensor) for parameter in trained) else "fused": True}
    builders: dict[str, Callable[[], torch.optim.Optimizer]] = {
        "adamw": lambda: torch.optim.AdamW(groups, lr=train.learning_rate, fused=True),
        "adam": lambda: torch.optim.Adam(groups, lr=train.learning_rate, fused=True),
        "rmsprop": lambda: torch.optim.RMSprop(groups, lr=train.learning_rate, momentum=train.momentum, foreach=True),
        "sgd": lambda: torch.optim.SGD(groups, lr=train.learning_rate, momentum=train.momentum, **kernels),
    }
    return builders[train.optimizer]()


def learning_rate_at(train: GradientTrain, step: int, num_steps: int) -> float:
    """Return the learning rate of step ``step``, counted from 0.

    Warm-up rises linearly from 0; then linear and cosine fall to 0, exponential to ``EXPONENTIAL_END`` of the
    peak. The formulas of warm-up, linear and cosine are those of ``transformers.optimization``. Warm-up ends before
    the last step: one that took every step would never reach the peak, and a training of one step would stay at 0.
    """
    warmup = min(math.ceil(num_steps * train.warmup) if train.warmup < 1 else round(train.warmup), num_steps - 1)
    if step < warmup:
        return train.learning_rate * step / warmup
    done = (step - warmup) / max(1, num_steps - warmup)
    factors: dict[str, float] = {
        "constant": 1.0,
        "linear": 1 - done,
        "cosine": 0.5 * (1 + math.cos(math.pi * done)),
        "exponential": EXPONENTIAL_END**done,
    }
    return train.learning_rate * factors[train.scheduler]


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Make ``learning_rate`` the rate of the next update."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
