from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from launchyard.contract.predictor import Output
from launchyard.contract.rows import Row
from launchyard.errors import FeatureStoreError
from launchyard.isolation import RowFault, compute_each
from launchyard_serving.replica.batching import MicroBatcher, QueueFull, RowFailed


class GatedModel:
    """Answers rows with their number, one batch each time that the gate opens; remembers the batches."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.started = threading.Semaphore(0)
        self.gate = threading.Semaphore(0)

    def compute(self, rows: Sequence[Row]) -> list[Output]:
        self.batches.append([row["n"] for row in rows])
        self.started.release()
        assert self.gate.acquire(timeout=10)
        return [{"n": row["n"], "thread": threading.get_ident()} for row in rows]


def make_rows(first: int, count: int) -> list[Row]:
    return [{"n": number} for number in range(first, first + count)]


def make_batcher(
    compute: Callable[[Sequence[Row]], list[Output]], *, size: int = 4, waiting: int = 100
) -> MicroBatcher:
    return MicroBatcher(compute, ThreadPoolExecutor(1), max_batch_size=size, max_waiting_rows=waiting)


async def begin(batcher: MicroBatcher, rows: list[Row]) -> asyncio.Task[list[Output]]:
    task = asyncio.ensure_future(batcher.submit(rows))
    await asyncio.sleep(0)
    return task


async def wait_for_batch(model: GatedModel) -> None:
    assert await asyncio.to_thread(model.started.acquire, timeout=10)


def test_a_lone_request_is_computed_at_once_and_off_the_event_loop() -> None:
    model = GatedModel()
    model.gate.release()

    outputs = asyncio.run(make_batcher(model.compute).submit(make_rows(0, 1)))

    assert [output["n"] for output in outputs] == [0]
    assert outputs[0]["thread"] != threading.get_ident()


def test_what_is_known_already_is_answered_while_a_batch_computes() -> None:
    model = GatedModel()
    batcher = MicroBatcher(
        model.compute,
        ThreadPoolExecutor(1),
        max_batch_size=4,
        max_waiting_rows=100,
        recall=lambda rows: None if any(row["n"] for row in rows) else [{"n": "known"} for _ in rows],
    )

    async def run() -> tuple[list[Output], list[Output]]:
        computing = await begin(batcher, make_rows(1, 1))
        await wait_for_batch(model)
        known = await batcher.submit([{"n": 0}, {"n": 0}], deadline=0.0)
        model.gate.release()
        return known, await computing

    known, computed = asyncio.run(run())

    assert known == [{"n": "known"}] * 2
    assert [output["n"] for output in computed] == [1]
    assert model.batches == [[1]]


def test_long_rows_are_not_looked_up_on_the_event_loop() -> None:
    model = GatedModel()
    model.gate.release()
    batcher = MicroBatcher(
        model.compute,
        ThreadPoolExecutor(1),
        max_batch_size=4,
        max_waiting_rows=100,
        recall=lambda rows: [{"n": "known"} for _ in rows],
    )

    computed = asyncio.run(batcher.submit(make_rows(1, 1), are_short=False))

    assert [output["n"] for output in computed] == [1]


def test_rows_of_a_request_that_is_given_up_are_not_computed() -> None:
    model = GatedModel()
    batcher = make_batcher(model.compute)

    async def run() -> None:
        computing = await begin(batcher, make_rows(1, 1))
        await wait_for_batch(model)
        with pytest.raises(TimeoutError):
            await batcher.submit(make_rows(2, 1), deadline=asyncio.get_running_loop().time() + 0.01)
        model.gate.release()
        await computing

    asyncio.run(run())

    assert model.batches == [[1]]


def test_rows_that_arrive_while_a_batch_computes_form_the_next_one() -> None:
    model = GatedModel()

    async def scenario() -> list[list[Output]]:
        batcher = make_batcher(model.compute)
        tasks = [await begin(batcher, make_rows(number, 1)) for number in range(4)]
        model.gate.release(2)
        return await asyncio.gather(*tasks)

    answers = asyncio.run(scenario())

    assert model.batches == [[0], [1, 2, 3]]
    assert [[output["n"] for output in outputs] for outputs in answers] == [[0], [1], [2], [3]]


def test_a_request_larger_than_a_batch_is_answered_whole_and_in_order() -> None:
    model = GatedModel()
    model.gate.release(3)

    outputs = asyncio.run(make_batcher(model.compute).submit(make_rows(0, 10)))

    assert [output["n"] for output in outputs] == list(range(10))
    assert [len(batch) for batch in model.batches] == [4, 4, 2]


def test_a_small_request_does_not_wait_for_a_large_one_to_end() -> None:
    model = GatedModel()

    async def scenario() -> bool:
        batcher = make_batcher(model.compute)
        large = await begin(batcher, make_rows(0, 40))
        small = await begin(batcher, make_rows(100, 1))
        model.gate.release(2)
        await asyncio.wait_for(small, timeout=10)
        large_was_waiting = not large.done()
        model.gate.release(100)
        await large
        return large_was_waiting

    assert asyncio.run(scenario())
    assert model.batches[1] == [100, 4, 5, 6]


def test_more_waiting_rows_than_allowed_are_refused_with_the_time_to_come_back() -> None:
    model = GatedModel()

    async def scenario() -> int:
        batcher = make_batcher(model.compute, waiting=4)
        tasks = [await begin(batcher, make_rows(number, 1)) for number in range(5)]
        with pytest.raises(QueueFull) as refusal:
            await batcher.submit(make_rows(5, 1))
        model.gate.release(2)
        await asyncio.gather(*tasks)
        return refusal.value.retry_after_s

    assert asyncio.run(scenario()) >= 1
    assert [number for batch in model.batches for number in batch] == [0, 1, 2, 3, 4]


def test_an_empty_queue_takes_a_request_of_any_size() -> None:
    model = GatedModel()
    model.gate.release(5)

    outputs = asyncio.run(make_batcher(model.compute, waiting=4).submit(make_rows(0, 20)))

    assert len(outputs) == 20


def test_a_cancelled_request_takes_its_waiting_rows_with_it() -> None:
    model = GatedModel()

    async def scenario() -> None:
        batcher = make_batcher(model.compute)
        first = await begin(batcher, make_rows(0, 1))
        await wait_for_batch(model)
        cancelled = await begin(batcher, make_rows(1, 8))
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        last = await begin(batcher, make_rows(9, 1))
        model.gate.release(2)
        await asyncio.gather(first, last)

    asyncio.run(scenario())

    assert model.batches == [[0], [9]]


def fail_on(*numbers: int) -> Callable[[Sequence[Row]], list[Output]]:
    """Return a model that fails on each batch that holds one of these rows."""

    def compute(rows: Sequence[Row]) -> list[Output]:
        for row in rows:
            if row["n"] in numbers:
                raise ValueError(f"no {row['n']}")
        return [{"n": row["n"]} for row in rows]

    return compute


def test_a_row_that_the_model_fails_on_fails_its_own_request_and_no_other_of_its_batch() -> None:
    model = GatedModel()
    fail = fail_on(2, 6)

    def compute(rows: Sequence[Row]) -> list[Output]:
        if rows[0]["n"] == 100:
            return model.compute(rows)
        return fail(rows)

    async def scenario() -> list[list[Output] | BaseException]:
        batcher = make_batcher(compute, size=8)
        first = await begin(batcher, make_rows(100, 1))
        await wait_for_batch(model)
        tasks = [
            await begin(batcher, rows) for rows in (make_rows(0, 2), make_rows(2, 1), make_rows(3, 2), make_rows(5, 3))
        ]
        model.gate.release()
        await first
        return await asyncio.gather(*tasks, return_exceptions=True)

    first, second, third, fourth = asyncio.run(scenario())

    assert first == [{"n": 0}, {"n": 1}]
    assert third == [{"n": 3}, {"n": 4}]
    assert isinstance(second, RowFailed)
    assert isinstance(fourth, RowFailed)
    assert (second.position, str(second.__cause__)) == (0, "no 2")
    assert (fourth.position, str(fourth.__cause__)) == (1, "no 6")


def test_a_request_of_many_batches_names_the_position_of_the_row_that_failed_and_the_next_one_is_computed() -> None:
    async def scenario() -> list[Output]:
        batcher = make_batcher(fail_on(9))
        with pytest.raises(RowFailed) as failed:
            await batcher.submit(make_rows(0, 20))
        assert failed.value.position == 9
        return await batcher.submit(make_rows(20, 1))

    assert asyncio.run(scenario()) == [{"n": 20}]


def test_outputs_that_are_not_one_per_row_fail_the_request_instead_of_letting_it_wait() -> None:
    batcher = make_batcher(lambda rows: [{"n": 0}] * (len(rows) + 1))

    with pytest.raises(RowFailed) as failed:
        asyncio.run(batcher.submit(make_rows(0, 2)))

    assert "2 outputs for 1 rows" in str(failed.value.__cause__)


def test_what_all_rows_need_and_is_missing_is_looked_for_once() -> None:
    calls: list[int] = []

    def compute(rows: Sequence[Row]) -> list[Output]:
        calls.append(len(rows))
        raise FeatureStoreError("gone")

    with pytest.raises(FeatureStoreError):
        asyncio.run(make_batcher(compute).submit(make_rows(0, 4)))
    assert calls == [4]


def test_one_bad_row_of_many_costs_two_more_calls_for_each_halving() -> None:
    calls: list[int] = []

    def compute(rows: Sequence[Row]) -> list[Output]:
        calls.append(len(rows))
        return fail_on(5)(rows)

    outputs = compute_each(compute, make_rows(0, 32))

    assert [position for position, output in enumerate(outputs) if isinstance(output, RowFault)] == [5]
    assert len(calls) == 1 + 2 * 5
    assert compute_each(compute, make_rows(100, 32)) == make_rows(100, 32)
    assert len(calls) == 12
