"""Batches that form by themselves: rows that arrive while the model computes go into its next batch."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

from launchyard.contract.predictor import Output
from launchyard.contract.rows import Row
from launchyard.isolation import Compute, RowFault, compute_each

SMOOTHING = 0.2
"""Weight of the newest batch in the running mean of batch times."""
MAX_RECALLED_ROWS = 32
"""Rows of a request that are looked up on the event loop."""


class QueueFull(Exception):  # noqa: N818 - a state that passes, not a fault
    """Too many rows wait already; holds the seconds after which they will have been computed."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(retry_after_s)
        self.retry_after_s = retry_after_s


class RowFailed(Exception):  # noqa: N818 - what became of one request, beside QueueFull
    """The model failed on a row of the request; holds its position there, and is raised from the model's error."""

    def __init__(self, position: int) -> None:
        super().__init__(position)
        self.position = position


@dataclass(eq=False)
class _Job:
    """The rows of one request, and the outputs that are there so far."""

    rows: Sequence[Row]
    answer: asyncio.Future[list[Output]]
    num_taken: int = 0
    outputs: list[Output] = field(default_factory=list)

    @property
    def num_waiting(self) -> int:
        return len(self.rows) - self.num_taken

    def take(self, num_rows: int) -> Sequence[Row]:
        """Return the next ``num_rows`` rows (fewer at the end)."""
        rows = self.rows[self.num_taken : self.num_taken + num_rows]
        self.num_taken += len(rows)
        return rows

    def add(self, outputs: Sequence[Output | RowFault]) -> RowFailed | None:
        """Take in the outputs of the rows that were taken first, and return how the job ends if one of them failed."""
        for output in outputs:
            if isinstance(output, RowFault):
                failed = RowFailed(len(self.outputs))
                failed.__cause__ = output.error
                return failed
            self.outputs.append(output)
        return None


class MicroBatcher:
    """Runs a function on batches of rows in a thread, for requests on one event loop.

    There is no waiting window: an idle batcher computes a lone request at once. While it computes, rows
    wait, and all that wait form the next batch, up to ``max_batch_size``. A request of many rows shares
    each batch with the requests that arrived after it, so a small one never waits for a large one to end.

    A row that the model fails on fails its own request, whole; the others of its batch are answered.

    ``recall`` returns the outputs of rows if they are known already, else None. It is called on the event loop for
    requests of few rows, and may take microseconds: what it knows costs no way to the thread and back.
    """

    def __init__(
        self,
        compute: Compute,
        executor: Executor,
        *,
        max_batch_size: int,
        max_waiting_rows: int,
        recall: Callable[[Sequence[Row]], list[Output] | None] | None = None,
    ) -> None:
        self._compute = partial(compute_each, compute)
        self._executor = executor
        self._max_batch_size = max_batch_size
        self._max_waiting_rows = max_waiting_rows
        self._recall = recall
        self._jobs: deque[_Job] = deque()
        self._num_waiting = 0
        self._busy = False
        self._batch_s = 0.0

    async def submit(
        self, rows: Sequence[Row], *, deadline: float | None = None, are_short: bool = True
    ) -> list[Output]:
        """Return one output per row, in order; what is recalled needs no time, and is returned at any.

        A caller that is cancelled takes its waiting rows with it.

        Args:
            rows: What is asked for.
            deadline: Time of the event loop's clock at which the rest is given up; None for never.
            are_short: Whether the rows are short enough to be looked up on the event loop.

        Raises:
            TimeoutError: the deadline came first.
            QueueFull: the rows would make more than ``max_waiting_rows`` wait. An empty queue takes any number.
            RowFailed: the model failed on one of the rows.
        """
        if not rows:
            return []
        if self._recall is not None and are_short and len(rows) <= MAX_RECALLED_ROWS:
            known = self._recall(rows)
            if known is not None:
                return known
        if self._num_waiting and self._num_waiting + len(rows) > self._max_waiting_rows:
            raise QueueFull(self._seconds_to_drain())
        job = _Job(rows, asyncio.get_running_loop().create_future())
        self._jobs.append(job)
        self._num_waiting += len(rows)
        if not self._busy:
            self._start_batch()
        async with asyncio.timeout_at(deadline):
            try:
                return await job.answer
            except asyncio.CancelledError:
                self._discard(job)
                raise

    def _seconds_to_drain(self) -> int:
        return max(1, math.ceil(self._batch_s * self._num_waiting / self._max_batch_size))

    def _discard(self, job: _Job) -> None:
        if job in self._jobs:
            self._jobs.remove(job)
            self._num_waiting -= job.num_waiting

    def _start_batch(self) -> None:
        jobs = [self._jobs.popleft() for _ in range(min(len(self._jobs), self._max_batch_size))]
        parts: list[tuple[_Job, int]] = []
        rows: list[Row] = []
        # Equal shares, smallest job first, so that what a small one leaves goes to the larger ones.
        for index, job in enumerate(sorted(jobs, key=lambda waiting: waiting.num_waiting)):
            part = job.take((self._max_batch_size - len(rows)) // (len(jobs) - index))
            rows.extend(part)
            parts.append((job, len(part)))
        self._jobs.extend(job for job in jobs if job.num_waiting)
        self._num_waiting -= len(rows)
        self._busy = bool(rows)
        if rows:
            loop, started = asyncio.get_running_loop(), time.perf_counter()
            self._executor.submit(self._compute, rows).add_done_callback(
                lambda done: loop.call_soon_threadsafe(self._finish_batch, parts, done, started)
            )

    def _finish_batch(
        self, parts: list[tuple[_Job, int]], done: Future[list[Output | RowFault]], started: float
    ) -> None:
        seconds = time.perf_counter() - started
        self._batch_s += SMOOTHING * (seconds - self._batch_s) if self._batch_s else seconds
        # The next batch computes while this one's answers are written.
        self._start_batch()
        error = done.exception()
        outputs = iter(() if error else done.result())
        for job, num_rows in parts:
            part = list(islice(outputs, num_rows))
            if job.answer.done():
                continue
            if failed := error or job.add(part):
                self._discard(job)
                job.answer.set_exception(failed)
            elif len(job.outputs) == len(job.rows):
                job.answer.set_result(job.outputs)
