"""What each step of the pipeline does, as plain functions; a module a step, so that each loads only its own.

A step is a process of its own. Loading its libraries is part of its time, and they read the environment when
they are loaded: hence what happens here, before any of them.
"""

import time

from launchyard.settings import set_process_defaults

LOADED_S = time.monotonic()
"""When this process began to load its step."""

set_process_defaults()
