"""Keeping a replica on its product's champion, without a request noticing."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import TypeVar

from launchyard.errors import LaunchyardError
from launchyard.rollout.rules import Release
from launchyard_serving.replica.lanes import Lane
from launchyard_serving.replica.model import ServedModel

POLL_S = 0.5
"""Time between two looks at the rollout record: with the swap itself far below the promised 2 s."""

RETRY_S = 5.0
"""Time before a champion that was refused is tried again, while its files may be being mended."""

Result = TypeVar("Result")

logger = logging.getLogger(__name__)


class Follower:
    """Loads each new champion beside the one that answers, and then puts it in its place.

    A champion that is refused changes nothing for the requests: the model before it goes on answering,
    ``refusal`` says why, and another try follows until the record or the files are right.

    Args:
        find_champion: Reads the rollout record; None without one. Blocks, is called in a thread of its own.
        load: Loads a champion. Blocks, is called in the same thread.
    """

    def __init__(self, find_champion: Callable[[], Release | None], load: Callable[[Release], ServedModel]) -> None:
        self.model: ServedModel | None = None
        self.refusal: str | None = None
        self._find_champion = find_champion
        self._load = load
        self._lane = Lane("follow", num_threads=1, max_waiting=0)
        self._refused: Release | None = None
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

    def _refuse(self, champion: Release | None, reason: str, error: BaseException | None) -> None:
        if reason != self.refusal:
            # A fault that nobody foresaw is logged with its traceback; the others say all in their message.
            unforeseen = None if isinstance(error, LaunchyardError) else error
            logger.warning("%s", reason, exc_info=unforeseen)
        self._refused, self.refusal = champion, reason
        self._retry_at = time.monotonic() + RETRY_S

    async def _settle(self, call: Callable[[], Result]) -> asyncio.Task[Result]:
        """Return the ended task of a blocking ``call``, whether it succeeded or failed."""
        task = asyncio.ensure_future(self._lane.run(call))
        await asyncio.wait([task])
        return task
