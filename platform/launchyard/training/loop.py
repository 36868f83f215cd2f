"""The training loop of every kind that learns by gradient descent.

What happens at a step depends on the spec, the rows and the step's number alone: batches and random numbers are
drawn anew for each step from (seed, rank, step). So a resumed training equals an uninterrupted one, and the
gradient does not depend on how many workers share a batch.
"""

from __future__ import annotations

import math
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from launchyard.errors import TrainError
from launchyard.spec.blocks import GradientTrain
from launchyard.training.batches import (
    order_batches,
    pack_by_length,
    plan_steps,
    slice_batch,
    split_by_length,
)
from launchyard.training.checkpoint import (
    History,
    State,
    collect_weights,
    load_checkpoint,
    restore_weights,
    save_checkpoint,
)
from launchyard.training.context import TrainContext, TrainProgress
from launchyard.training.optimizer import build_optimizer, learning_rate_at, set_learning_rate
from launchyard.training.precision import autocast, choose_precision
from launchyard.training.recorder import Recorder
from launchyard.training.task import Task
from launchyard.training.workers import gather_rows, share_model, sum_over_workers

STEPS_PER_SYNC_CUDA = 10
"""Reading a loss makes the CPU wait for the GPU, so there it is read only this often."""


class TrainingLoop:
    """One worker's training of one task; after :meth:`run` the task's model holds the best weights."""

    def __init__(self, context: TrainContext, train: GradientTrain, task: Task) -> None:
        """Set up optimizer and data parallelism, and take up the newest checkpoint if there is one."""
        torch.set_num_threads(context.threads)
        self.context = context
        self.train = train
        self.task = task
        self.plan = plan_steps(train, len(task.train_lengths_R))
        self.precision = choose_precision(train.precision, context.device)
        self.model = share_model(context, task.model)
        self.optimizer = build_optimizer(train, task.model)
        self.history = History()
        self.best: State = {}
        self._epoch: int | None = None
        self._batches: list[NDArray[np.intp]] = []
        self._unread: list[torch.Tensor] = []
        self._resume()

    @property
    def stopped_early(self) -> bool:
        """Whether validation has not improved for as many evaluations as the spec's patience."""
        rule = self.train.early_stopping
        return rule is not None and self.history.stale_evaluations >= rule.patience

    @property
    def is_finished(self) -> bool:
        """Whether there is nothing left to train."""
        return self.history.step >= self.plan.num_steps or self.stopped_early

    def run(self, log_dir: Path) -> History:
        """Train to the end, write TensorBoard events into ``log_dir`` and return what happened.

        Raises:
            TrainError: the loss is not a finite number any more.
        """
        with Recorder(self.history, self.plan.num_steps, log_dir if self.context.rank == 0 else None) as recorder:
            while not self.is_finished:
                started = time.perf_counter()
                self._step()
                self._read_losses(recorder)
                self.history.train_seconds += time.perf_counter() - started
                self._show_progress()
                if self.history.step in self.plan.evaluation_steps:
                    self._evaluate(recorder, started)
                else:
                    self.history.total_seconds += time.perf_counter() - started
        restore_weights(self.task.model, self.best)
        self.task.model.eval()
        return self.history

    def _resume(self) -> None:
        folder = self.context.latest_checkpoint()
        if folder is None:
            return
        self.history, weights, self.best, optimizer = load_checkpoint(folder)
        restore_weights(self.task.model, weights)
        self.optimizer.load_state_dict(optimizer)
        self.history.resumed_from_step = self.history.step

    def _step(self) -> None:
        """Compute the gradient of one global batch and update the weights with it."""
        step = self.history.step
        rows_B = self._rows_of(step)
        # Drawn from four numbers, hashed by numpy: neighbouring steps and ranks share no random numbers.
        seed = np.random.SeedSequence((self.train.seed, self.context.rank, step)).generate_state(1, np.uint64)
        torch.manual_seed(int(seed[0]))
        self.model.train()
        self._unread.append(self._backward(rows_B))
        nn.utils.clip_grad_norm_(self.task.model.parameters(), self.train.max_grad_norm)
        set_learning_rate(self.optimizer, learning_rate_at(self.train, step, self.plan.num_steps))
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.history.step += 1
        self.history.num_samples += len(rows_B)

    def _rows_of(self, step: int) -> NDArray[np.intp]:
        """Return the rows of the global batch of one step."""
        epoch, index = divmod(step, self.plan.steps_per_epoch)
        if epoch != self._epoch:
            self._epoch = epoch
            self._batches = order_batches(
                self.task.train_lengths_R,
                self.plan.batch_size,
                seed=self.train.seed,
                epoch=epoch,
                grouped=self.train.length_grouped,
            )
        return self._batches[index]

    def _backward(self, rows_B: NDArray[np.intp]) -> torch.Tensor:
        """Add up the gradient of the batch's mean loss and return this worker's share of that loss.

        The mean is over the whole global batch. Data parallelism averages over workers, so each worker's
        share is multiplied by their number. A worker without a row takes part with a gradient of zero.
        """
        context = self.context
        total = float(self.task.weights_R[rows_B].sum())
        own = slice_batch(
            rows_B, rank=context.rank, world_size=context.world_size, slices=self.train.gradient_accumulation
        )
        scale = (1.0 if own else 0.0) / total
        parts = own or [rows_B[:1]]
        losses = []
        for number, part in enumerate(parts, start=1):
            with self._synchronise(last=number == len(parts)):
                with autocast(self.precision, context.device):
                    loss = self._compute_loss(part) * scale
                (loss * context.world_size).backward()
            losses.append(loss.detach())
        return torch.stack(losses).sum()

    def _compute_loss(self, rows_B: NDArray[np.intp]) -> torch.Tensor:
        """Return the summed loss of ``rows_B``.

        On a CPU rows of like length are computed together, since padding costs as much as words do there. Without
        dropout that changes loss and gradient by rounding alone. A GPU prefers one large pass.
        """
        if self.context.device.startswith("cuda"):
            return self.task.compute_loss(self.model, rows_B)
        parts = split_by_length(rows_B, self.task.train_lengths_R[rows_B])
        return torch.stack([self.task.compute_loss(self.model, part) for part in parts]).sum()

    def _synchronise(self, *, last: bool) -> AbstractContextManager[None]:
        """Return the context of one slice's backward pass: gradients travel once per batch, with the last one."""
        if last or not isinstance(self.model, DistributedDataParallel):
            return nullcontext()
        return cast(AbstractContextManager[None], self.model.no_sync())

    def _read_losses(self, recorder: Recorder) -> None:
        """Check and record the losses of the last steps, when they are due."""
        step = self.history.step
        last = step in self.plan.evaluation_steps
        if self.context.device.startswith("cuda") and step % STEPS_PER_SYNC_CUDA and not last:
            return
        losses = sum_over_workers(self.context, torch.stack(self._unread)).tolist()
        self._unread.clear()
        if not all(math.isfinite(loss) for loss in losses):
            raise TrainError(
                f"train: the loss is no finite number any more at step {step} of {self.plan.num_steps}. "
                f"Lower train.learning_rate (now {self.train.learning_rate:g}) or train.max_grad_norm "
                f"(now {self.train.max_grad_norm:g}), or lengthen train.warmup (now {self.train.warmup:g})."
            )
        recorder.add_losses(losses, self.optimizer.param_groups[0]["lr"], last=last)

    def _show_progress(self) -> None:
        history = self.history
        if self.context.rank == 0 and history.losses:
            self.context.progress(
                TrainProgress(
                    step=history.step,
                    num_steps=self.plan.num_steps,
                    epoch=history.step / self.plan.steps_per_epoch,
                    loss=history.losses[-1][1],
                    learning_rate=history.learning_rates[-1][1],
                    samples_per_second=history.samples_per_second,
                    metrics=history.validations[-1][1] if history.validations else {},
                )
            )

    def _evaluate(self, recorder: Recorder, started: float) -> None:
        """Validate, remember the best weights and report; the last report needs no checkpoint."""
        metrics = self._validate()
        recorder.add_validation(metrics)
        weights = collect_weights(self.task.model)
        if self._is_better(metrics):
            self.history.best_step, self.history.best_metrics = self.history.step, metrics
            self.history.stale_evaluations = 0
            self.best = weights
        else:
            self.history.stale_evaluations += 1
        self.history.total_seconds += time.perf_counter() - started
        folder = None
        if self.context.rank == 0 and not self.is_finished:
            folder = self.context.scratch_dir / f"step-{self.history.step}"
            save_checkpoint(folder, self.history, weights, self.best, self.optimizer.state_dict())
        steps = {"step": self.history.step, "best_step": self.history.best_step}
        self.context.report({**metrics, **steps}, folder)

    def _validate(self) -> dict[str, float]:
        context = self.context
        batches = pack_by_length(
            self.task.validation_lengths_V,
            max(1, 2 * self.train.batch_size // self.train.gradient_accumulation // context.world_size),
            rank=context.rank,
            world_size=context.world_size,
        )
        self.task.model.eval()
        with torch.inference_mode(), autocast(self.precision, context.device):
            answers = [self.task.answer(rows_B).float().cpu().numpy() for rows_B in batches]
        rows = np.concatenate(batches) if batches else np.empty(0, dtype=np.intp)
        return self.task.measure(gather_rows(context, rows, answers))

    def _is_better(self, metrics: dict[str, float]) -> bool:
        """Whether ``metrics`` beat the best so far; between equal scores the lower loss wins."""
        best = self.history.best_metrics
        if not best:
            return True
        gain = metrics[self.task.metric] - best[self.task.metric]
        rule = self.train.early_stopping
        if gain == 0:
            return metrics[self.task.loss_metric] < best[self.task.loss_metric]
        return gain > (rule.min_delta if rule is not None else 0.0)
