from __future__ import annotations

import asyncio
import threading

import pytest

from launchyard_serving.replica.lanes import Lane, LaneFull


def test_a_call_runs_in_a_thread_of_the_lane_and_its_error_is_the_callers() -> None:
    lane = Lane("here", num_threads=1, max_waiting=0)

    def fail() -> None:
        raise ValueError("no")

    assert asyncio.run(lane.run(lambda: threading.current_thread().name)).startswith("here")
    with pytest.raises(ValueError, match="no"):
        asyncio.run(lane.run(fail))


def test_more_calls_than_may_wait_are_refused_until_those_that_run_end() -> None:
    gate, ran = threading.Event(), list[int]()

    async def scenario() -> None:
        lane = Lane("busy", num_threads=1, max_waiting=1)
        running = asyncio.ensure_future(lane.run(lambda: gate.wait(10)))
        late = asyncio.ensure_future(lane.run(lambda: ran.append(1), deadline=asyncio.get_running_loop().time() + 0.05))
        await asyncio.sleep(0)
        with pytest.raises(LaneFull):
            await lane.run(lambda: None)
        with pytest.raises(TimeoutError):
            await late
        # The place of the call that never began is free; that of the one that runs is not.
        waiting = asyncio.ensure_future(lane.run(lambda: ran.append(2)))
        await asyncio.sleep(0)
        with pytest.raises(LaneFull):
            await lane.run(lambda: None)
        gate.set()
        await asyncio.gather(running, waiting)

    asyncio.run(scenario())

    assert ran == [2]


def test_a_call_that_overruns_its_deadline_keeps_its_place_until_it_ends() -> None:
    gate = threading.Event()

    async def scenario() -> None:
        lane = Lane("slow", num_threads=1, max_waiting=0)
        with pytest.raises(TimeoutError):
            await lane.run(lambda: gate.wait(10), deadline=asyncio.get_running_loop().time() + 0.05)
        with pytest.raises(LaneFull):
            await lane.run(lambda: None)
        gate.set()

    asyncio.run(scenario())
