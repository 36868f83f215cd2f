"""What a piece of code asks of the disk, in order, and its death at any of these steps: real files, nothing patched."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

Calls = list[tuple[str, Path | None]]
RENAMES = {"rename", "replace"}


@contextmanager
def recording() -> Iterator[Calls]:
    """Yield the list of what is synced (with its path) and renamed while the block runs."""
    calls: Calls = []

    def watch(frame: FrameType, event: str, function: object) -> None:
        name = getattr(function, "__name__", "")
        if event != "c_call" or getattr(function, "__module__", "") != "posix":
            return
        if name == "fsync":
            (descriptor,) = (value for key, value in frame.f_locals.items() if key == "descriptor")
            calls.append((name, Path(f"/proc/self/fd/{descriptor}").readlink()))
        elif name in RENAMES:
            calls.append((name, None))

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        yield calls
    finally:
        sys.setprofile(before)


def iter_deaths(act: Callable[[], object]) -> Iterator[int]:
    """Let a process do ``act`` and be killed at its first step, another one at its second, and so on to the last.

    Yields the number of the step each time, with one more at the end for the process that lived. A step is a call of
    the operating system through ``os``.
    """
    for step in range(10_000):
        child = os.fork()
        if child == 0:
            _act_and_die(act, step)
        _, status = os.waitpid(child, 0)
        yield step
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0
            return


def _act_and_die(act: Callable[[], object], step: int) -> None:
    left = step

    def count(_frame: FrameType, event: str, function: object) -> None:
        nonlocal left
        if event == "c_call" and getattr(function, "__module__", "") == "posix":
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    code = 1
    with suppress(BaseException):
        sys.setprofile(count)
        act()
        sys.setprofile(None)
        code = 0
    os._exit(code)
