"""What each step of the pipeline does, as plain functions; a module a step, so that each loads only its own.

A step is a process of its own. Loading its libraries is part of its time, and they read the environment when
they are loaded: hence what happens here, before any of them.
"""

import time
from contextvars import ContextVar

from launchyard.settings import set_process_defaults

STARTED_S: ContextVar[float] = ContextVar("started_s", default=time.monotonic())  # noqa: B039 - a float
"""When this process began to load its step; a fork of a process that has loaded others says when its own began."""

set_process_defaults()
