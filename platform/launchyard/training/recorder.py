"""The curves of a training: in its history for the report, and as TensorBoard events to watch."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import fmean
from types import TracebackType
from typing import Self

from torch.utils.tensorboard import SummaryWriter

from launchyard.training.checkpoint import History

MAX_CURVE_POINTS = 500
"""Points of a loss curve: enough to draw, small in any record."""


class Recorder:
    """Adds to a history what a step or a validation showed; rank 0 also writes it for TensorBoard."""

    def __init__(self, history: History, num_steps: int, log_dir: Path | None) -> None:
        """Record into ``history``.

        After a resume its older entries are written anew, and events that a killed worker wrote are hidden.
        """
        self.history = history
        self._interval = math.ceil(num_steps / MAX_CURVE_POINTS)
        self._writer = None if log_dir is None else SummaryWriter(str(log_dir), purge_step=0, flush_secs=10)
        self._pending: list[float] = []
        for (step, loss), (_, rate) in zip(history.losses, history.learning_rates, strict=True):
            self._write_training(step, loss, rate)
        for step, metrics in history.validations:
            self._write_validation(step, metrics)

    def __enter__(self) -> Self:
        """Return the recorder, to be closed at the end of the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write out all events."""
        if self._writer is not None:
            self._writer.close()

    def add_losses(self, losses: list[float], learning_rate: float, *, last: bool) -> None:
        """Record the losses of the newest steps.

        The curve gets a point once per interval, and at the ``last`` step before a validation.
        """
        step = self.history.step
        self._pending += losses
        if self._pending and (last or step % self._interval == 0):
            self.history.losses.append((step, fmean(self._pending)))
            self.history.learning_rates.append((step, learning_rate))
            self._pending.clear()
            self._write_training(step, self.history.losses[-1][1], learning_rate)

    def add_validation(self, metrics: dict[str, float]) -> None:
        """Record the metrics of the validation after the newest step."""
        self.history.validations.append((self.history.step, metrics))
        self._write_validation(self.history.step, metrics)

    def _write_training(self, step: int, loss: float, learning_rate: float) -> None:
        if self._writer is not None:
            self._writer.add_scalar("train/loss", loss, step)
            self._writer.add_scalar("train/learning_rate", learning_rate, step)

    def _write_validation(self, step: int, metrics: dict[str, float]) -> None:
        if self._writer is not None:
            for name, value in metrics.items():
                self._writer.add_scalar(f"validation/{name}", value, step)
