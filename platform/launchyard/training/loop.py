"""The training loop of every kind that learns by gradient descent.

What happens at a step depends on the spec, the rows and the step's number alone: batches and random numbers are
drawn anew for each step from (seed, rank, step). So a resumed training equals an uninterrupted one, and the
gradient does not depend on how many workers share a batch.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from launchyard.contract.evaluation import Better
from launchyard.errors import TrainError
from launchyard.spec.blocks import GradientTrain, ScalableTrain
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
    select_trained,
)
from launchyard.training.context import TrainContext, TrainProgress
from launchyard.training.loader import count_loaders, load_batches
from launchyard.training.optimizer import build_optimizer, learning_rate_at, set_learning_rate
from launchyard.training.precision import autocast, choose_precision
from launchyard.training.recorder import Recorder
from launchyard.training.sharding import clip_gradients, divide_optimizer_state, make_whole, shard_model
from launchyard.training.task import Answers, Task
from launchyard.training.workers import gather_rows, share_model, sum_over_workers

STEPS_PER_SYNC_CUDA = 10
"""Reading a loss makes the CPU wait for the GPU, so there it is read only this often."""


@dataclass(frozen=True)
class _Slice:
    """What this worker computes before one backward pass."""

    parts: list[NDArray[np.intp]]
    """The rows of each forward pass."""
    counts: bool
    """Whether the loss of these rows counts, or only keeps others company."""


class TrainingLoop:
    """One worker's training of one task; after :meth:`run` rank 0's ``task.model`` is whole, with the best weights."""

    def __init__(self, context: TrainContext, train: GradientTrain, task: Task, *, better: Better) -> None:
        """Set up optimizer and data parallelism, and take up the newest checkpoint if there is one.

        Args:
            context: This worker.
            train: How to optimise.
            task: Model, rows and loss. With ``train.sharding`` the model may still be on the CPU: its parts move.
            better: Whether more or less of the task's metric is better.
        """
        torch.set_num_threads(context.threads)
        self.context = context
        self.train = train
        self.task = task
        self.plan = plan_steps(train, len(task.train_lengths_R))
        self.precision = choose_precision(train.precision, context.device)
        self.better = better
        self.is_sharded = isinstance(train, ScalableTrain) and train.sharding == "full" and context.world_size > 1
        self._whole: nn.Module | None = None
        if self.is_sharded:
            # Rank 0 hands the trained model on whole. Memory for it is on the CPU, where the model came from.
            self._whole = copy.deepcopy(task.model).cpu() if context.rank == 0 else None
            shard_model(context, task.model)
        self.model = task.model if self.is_sharded else share_model(context, task.model)
        self.optimizer = build_optimizer(train, task.model)
        self.history = History()
        self.best: State = {}
        self._epochs: dict[int, list[NDArray[np.intp]]] = {}
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
        loaded = self._load_ahead()
        with Recorder(self.history, self.plan.num_steps, log_dir if self.context.rank == 0 else None) as recorder:
            while not self.is_finished:
                started = time.perf_counter()
                self._step(loaded)
                self._read_losses(recorder)
                self.history.train_seconds += time.perf_counter() - started
                self._show_progress()
                if self.history.step in self.plan.evaluation_steps:
                    self._evaluate(recorder, started)
                else:
                    self.history.total_seconds += time.perf_counter() - started
        if self._whole is not None:
            self.task.model = self._whole
        if not self.is_sharded or self.context.rank == 0:
            restore_weights(self.task.model, self.best)
        self.task.model.eval()
        return self.history

    def _resume(self) -> None:
        folder = self.context.latest_checkpoint()
        if folder is None:
            return
        self.history, weights, self.best, optimizer = load_checkpoint(folder)
        restore_weights(self.task.model, weights)
        if self.is_sharded:
            optimizer = divide_optimizer_state(optimizer, self.optimizer)
        self.optimizer.load_state_dict(optimizer)
        self.history.resumed_from_step = self.history.step

    def _step(self, loaded: Iterator[Any]) -> None:
        """Compute the gradient of one global batch, loaded part by part, and update the weights with it."""
        step = self.history.step
        rows_B = self._rows_of(step)
        # Drawn from four numbers, hashed by numpy: neighbouring steps and ranks share no random numbers.
        seed = np.random.SeedSequence((self.train.seed, self.context.rank, step)).generate_state(1, np.uint64)
        torch.manual_seed(int(seed[0]))
        self.model.train()
        self._unread.append(self._backward(rows_B, loaded))
        if self.is_sharded:
            clip_gradients(self.task.model, self.train.max_grad_norm)
        else:
            nn.utils.clip_grad_norm_(self.task.model.parameters(), self.train.max_grad_norm)
        set_learning_rate(self.optimizer, learning_rate_at(self.train, step, self.plan.num_steps))
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.history.step += 1
        self.history.num_samples += len(rows_B)

    def _rows_of(self, step: int) -> NDArray[np.intp]:
        """Return the rows of the global batch of one step."""
        epoch, index = divmod(step, self.plan.steps_per_epoch)
        if epoch not in self._epochs:
            # Loading runs ahead of the steps, perhaps into the next epoch.
            self._epochs = {number: batches for number, batches in self._epochs.items() if number == epoch - 1}
            self._epochs[epoch] = order_batches(
                self.task.train_lengths_R,
                self.plan.batch_size,
                seed=self.train.seed,
                epoch=epoch,
                grouped=self.train.length_grouped,
            )
        return self._epochs[epoch][index]

    def _slices_of(self, rows_B: NDArray[np.intp]) -> list[_Slice]:
        """Return this worker's slices of a global batch.

        Data parallelism waits for all workers in each backward pass, sharding in each forward pass, too: a worker
        takes part for which no row is left.
        """
        context, most = self.context, self.train.gradient_accumulation
        own = slice_batch(rows_B, rank=context.rank, world_size=context.world_size, slices=most)
        slices = [_Slice(self._split(part), counts=True) for part in own]
        least = min(most, math.ceil(len(rows_B) / context.world_size)) if self.is_sharded else 1
        return slices + [_Slice([rows_B[:1]], counts=False)] * (least - len(slices))

    def _split(self, rows_B: NDArray[np.intp]) -> list[NDArray[np.intp]]:
        """Return the rows of each forward pass of a slice.

        On a CPU rows of like length are computed together, since padding costs as much as words do there. Without
        dropout that changes loss and gradient by rounding alone. A GPU prefers one large pass.
        """
        if self.context.device.startswith("cuda") or self.is_sharded:
            return [rows_B]
        return split_by_length(rows_B, self.task.train_lengths_R[rows_B])

    def _load_ahead(self) -> Iterator[Any]:
        """Yield the rows of each forward pass from here to the end, as the task loads them."""
        wanted = self.train.loader_workers if isinstance(self.train, ScalableTrain) else 0
        parts = (
            part
            for step in range(self.history.step, self.plan.num_steps)
            for slice_ in self._slices_of(self._rows_of(step))
            for part in slice_.parts
        )
        num_workers = count_loaders(
            wanted, device=self.context.device, num_rows=self.plan.num_rows, threads=self.context.threads
        )
        return load_batches(self.task.load, parts, num_workers=num_workers, device=self.context.device)

    def _backward(self, rows_B: NDArray[np.intp], loaded: Iterator[Any]) -> torch.Tensor:
        """Add up the gradient of the batch's mean loss and return this worker's share of that loss.

        The mean is over the whole global batch. Data parallelism averages over workers, so each worker's
        share is multiplied by their number. A worker without a row takes part with a gradient of zero.
        """
        context = self.context
        total = float(self.task.weights_R[rows_B].sum())
        slices = self._slices_of(rows_B)
        losses = []
        for number, slice_ in enumerate(slices, start=1):
            scale = (1.0 if slice_.counts else 0.0) / total
            with self._synchronise(last=number == len(slices)):
                with autocast(self.precision, context.device):
                    passes = [self.task.compute_loss(self.model, next(loaded)) for _ in slice_.parts]
                    loss = torch.stack(passes).sum() * scale
                (loss * context.world_size).backward()
            losses.append(loss.detach())
        return torch.stack(losses).sum()

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
        weights = self._collect_weights()
        if self._is_better(metrics):
            self.history.best_step, self.history.best_metrics = self.history.step, metrics
            self.history.stale_evaluations = 0
            self.best = weights
        else:
            self.history.stale_evaluations += 1
        self.history.total_seconds += time.perf_counter() - started
        folder = None
        if not self.is_finished:
            optimizer = self._collect_optimizer()
            if self.context.rank == 0:
                folder = self.context.scratch_dir / f"step-{self.history.step}"
                save_checkpoint(folder, self.history, weights, self.best, optimizer)
        steps = {"step": self.history.step, "best_step": self.history.best_step}
        self.context.report({**metrics, **steps}, folder)

    def _collect_weights(self) -> State:
        """Return a copy of the trained weights, whole; with sharding rank 0 alone has it."""
        if not self.is_sharded:
            return collect_weights(self.task.model)
        whole = make_whole(select_trained(self.task.model), keep=self.context.rank == 0)
        return cast(State, whole) if self.context.rank == 0 else {}

    def _collect_optimizer(self) -> dict[str, Any]:
        state = self.optimizer.state_dict()
        return cast(dict[str, Any], make_whole(state, keep=self.context.rank == 0)) if self.is_sharded else state

    def _validate(self) -> dict[str, float]:
        context = self.context
        size = max(1, 2 * self.train.batch_size // self.train.gradient_accumulation // context.world_size)
        batches = pack_by_length(self.task.validation_lengths_V, size, rank=context.rank, world_size=context.world_size)
        most = math.ceil(math.ceil(len(self.task.validation_lengths_V) / context.world_size) / size)
        self.task.model.eval()
        # What sharding gathers in inference mode could not be trained on afterwards.
        mode = torch.no_grad() if self.is_sharded else torch.inference_mode()
        with mode, autocast(self.precision, context.device):
            answers = [self._answer(rows_B) for rows_B in batches]
            if self.is_sharded:
                # Each pass waits for all workers, so all make as many as the one with most rows.
                for _ in range(most - len(batches)):
                    self.task.answer(np.zeros(1, dtype=np.intp))
        rows = np.concatenate(batches) if batches else np.empty(0, dtype=np.intp)
        return self.task.measure(gather_rows(context, rows, answers))

    def _answer(self, rows_B: NDArray[np.intp]) -> Answers:
        """Return the task's answers, off the device: those of all rows may be more than it holds."""
        answers = self.task.answer(rows_B)
        return answers.cpu() if isinstance(answers, torch.Tensor) else [answer.cpu() for answer in answers]

    def _is_better(self, metrics: dict[str, float]) -> bool:
        """Whether ``metrics`` beat the best so far; between equal scores the lower loss wins."""
        best = self.history.best_metrics
        if not best:
            return True
        gain = metrics[self.task.metric] - best[self.task.metric]
        gain = gain if self.better == "max" else -gain
        rule = self.train.early_stopping
        if gain == 0:
            return metrics[self.task.loss_metric] < best[self.task.loss_metric]
        return gain > (rule.min_delta if rule is not None else 0.0)
