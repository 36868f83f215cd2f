"""Keeping a replica on its product's champion, without a request noticing."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from typing import TypeVar

from launchyard.errors import LaunchyardError
from launchyard.rollout.rules import Release
from launchyard.spec.blocks import Swap
from launchyard_serving.replica.lanes import Lane
from launchyard_serving.replica.model import ServedModel, make_room

POLL_S = 0.5
"""Time between two looks at the rollout record: with the swap itself far below the promised 2 s."""

RETRY_S = 5.0
"""Meanwhile the files of a champion that was refused may be mended; each try loads it."""

DRAIN_S = 60.0
"""Longest wait for the streams of a model that is unloaded before another takes its place."""

Result = TypeVar("Result")

logger = logging.getLogger(__name__)


class Follower:
    """Loads each new champion beside the one that answers, and then puts it in its place.

    A champion that is refused changes nothing for the requests: the model before it goes on answering,
    ``refusal`` says why, and another try follows until the record or the files are right.

    A champion whose spec says ``serve.swap: unload-first`` is loaded once the model before it is gone: nothing answers
    until then, and ``swapping`` says so. If it is refused then, the model before it is loaded again, and no other try
    follows until the record says something else: each would be such a gap.

    Args:
        find_champion: Reads the rollout record; None without one. Blocks, is called in a thread of its own.
        load: Loads a champion. Blocks, is called in the same thread.
        find_swap: Verifies a champion's files and says how it wants to take the other's place; as ``load``.
        retry_s: Time before a champion that was refused is tried again.
    """

    def __init__(
        self,
        find_champion: Callable[[], Release | None],
        load: Callable[[Release], ServedModel],
        find_swap: Callable[[Release], Swap] = lambda _: "load-beside",
        retry_s: float = RETRY_S,
    ) -> None:
        self.model: ServedModel | None = None
        self.refusal: str | None = None
        self.swapping: str | None = None
        """Why nothing answers while one version takes another's place."""
        self._find_swap = find_swap
        self._find_champion = find_champion
        self._load = load
        self._lane = Lane("follow", num_threads=1, max_waiting=0)
        self._refused: Release | None = None
        self._retry_s = retry_s
        self._retry_at = 0.0

    async def run(self) -> None:
        """Follow the record until cancelled."""
        while True:
            await asyncio.sleep(POLL_S)
            await self.update()

    def stop(self) -> None:
        """Let go of the model, when nobody will ask it any more."""
        self._lane.close()
        if self.model is not None:
            self.model.retire()

    async def update(self) -> None:
        """Look at the record once, and load what it asks for if that does not answer yet."""
        finding = await self._settle(self._find_champion)
        if error := finding.exception():
            self._refuse(None, f"the rollout record cannot be read: {error}", error)
            return
        champion = finding.result()
        if champion is None:
            self._refuse(None, "no version was deployed yet. Run: launchyard run PATH", None)
        elif self.model is not None and champion == self.model.release:
            self._refused, self.refusal = None, None
        elif champion != self._refused or time.monotonic() >= self._retry_at:
            await self._swap_to(champion)

    async def _swap_to(self, champion: Release) -> None:
        if self.model is not None:
            finding = await self._settle(lambda: self._find_swap(champion))
            if error := finding.exception():
                self._refuse(champion, f"version {champion.version} was refused: {error}", error)
                return
            if finding.result() == "unload-first":
                await self._unload_and_load(champion)
                return
        await self._load_beside(champion)

    async def _load_beside(self, champion: Release) -> None:
        loading = await self._settle(lambda: self._load(champion))
        if error := loading.exception():
            self._refuse(champion, f"version {champion.version} was refused: {error}", error)
            return
        # One assignment on the event loop: requests before it finish on the old model, those after it get the new.
        replaced, self.model = self.model, loading.result()
        if replaced is not None:
            replaced.retire()
        self._refused, self.refusal = None, None
        logger.info("version %d (%s) answers", champion.version, champion.digest)

    async def _unload_and_load(self, champion: Release) -> None:
        replaced, self.model = self.model, None
        assert replaced is not None  # noqa: S101 - the caller has looked
        previous = replaced.release
        self.swapping = f"version {champion.version} takes the place of version {previous.version}"
        await replaced.unload(patience_s=DRAIN_S)
        del replaced
        await self._settle(make_room)
        try:
            await self._load_beside(champion)
            if self.model is None:
                # What was refused is not tried again as long as the record names it.
                self._retry_at = math.inf
                await self._restore(previous)
        finally:
            self.swapping = None

    async def _restore(self, previous: Release) -> None:
        """Load the version again that has made room for one that was refused."""
        loading = await self._settle(lambda: self._load(previous))
        if error := loading.exception():
            reason = f"{self.refusal} Nor could version {previous.version} be loaded again: {error}"
            self._refuse(self._refused, reason, error)
        else:
            self.model = loading.result()

    def _refuse(self, champion: Release | None, reason: str, error: BaseException | None) -> None:
        if reason != self.refusal:
            # A fault that nobody foresaw is logged with its traceback; the others say all in their message.
            unforeseen = None if isinstance(error, LaunchyardError) else error
            logger.warning("%s", reason, exc_info=unforeseen)
        self._refused, self.refusal = champion, reason
        self._retry_at = time.monotonic() + self._retry_s

    async def _settle(self, call: Callable[[], Result]) -> asyncio.Task[Result]:
        """Return the ended task of a blocking ``call``, whether it succeeded or failed."""
        task = asyncio.ensure_future(self._lane.run(call))
        await asyncio.wait([task])
        return task
