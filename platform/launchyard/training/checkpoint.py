"""What a training needs to go on exactly where it was, as a folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import nn

from launchyard.training.sharding import divide_like

State = dict[str, torch.Tensor]
HISTORY_NAME = "history.json"
STATE_NAME = "state.pt"


@dataclass
class History:
    """Where a training stands and how it came there."""

    step: int = 0
    """Finished optimiser steps."""
    num_samples: int = 0
    train_seconds: float = 0.0
    """Time in optimiser steps alone."""
    total_seconds: float = 0.0
    """Time in steps, validations and checkpoints."""
    resumed_from_step: int | None = None
    best_step: int = 0
    best_metrics: dict[str, float] = field(default_factory=dict)
    stale_evaluations: int = 0
    """Evaluations since the best one."""
    losses: list[tuple[int, float]] = field(default_factory=list)
    """(step, mean training loss since the previous entry)."""
    learning_rates: list[tuple[int, float]] = field(default_factory=list)
    validations: list[tuple[int, dict[str, float]]] = field(default_factory=list)

    @property
    def samples_per_second(self) -> float:
        """Rows per second of the optimiser steps."""
        return self.num_samples / self.train_seconds if self.train_seconds else 0.0


HISTORY = TypeAdapter(History)


def select_trained(model: nn.Module) -> State:
    """Return all weights that training changes, as they are; frozen ones are in the base model."""
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    return {name: tensor for name, tensor in model.state_dict().items() if name not in frozen}


def collect_weights(model: nn.Module) -> State:
    """Return a copy, on the CPU, of all weights that training changes."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in select_trained(model).items()}


def restore_weights(model: nn.Module, weights: State) -> None:
    """Put collected weights back into ``model``, on whatever device it is and however it is divided."""
    current = model.state_dict()
    model.load_state_dict({name: divide_like(tensor, current[name]) for name, tensor in weights.items()}, strict=False)


def save_checkpoint(folder: Path, history: History, weights: State, best: State, optimizer: dict[str, Any]) -> None:
    """Write all of a training's state; the best weights are written once when they are the newest."""
    state: dict[str, Any] = {"weights": weights, "optimizer": optimizer}
    if best is not weights:
        state["best"] = best
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(state, folder / STATE_NAME)
    (folder / HISTORY_NAME).write_bytes(HISTORY.dump_json(history))


def load_checkpoint(folder: Path) -> tuple[History, State, State, dict[str, Any]]:
    """Return history, newest weights, best weights and optimizer state as :func:`save_checkpoint` wrote them."""
    history = HISTORY.validate_json((folder / HISTORY_NAME).read_bytes())
    state = torch.load(folder / STATE_NAME, map_location="cpu", weights_only=True, mmap=True)
    return history, state["weights"], state.get("best", state["weights"]), state["optimizer"]
