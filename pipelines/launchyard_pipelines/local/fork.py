"""Steps as forks of the process that executes the run: what one step has loaded, the next has loaded, too.

A step on a laptop is a process of its own, so that its crash is its own and its memory goes with it. Started anew it
would load Python, KFP and its libraries each time, which on two cores takes longer than the work of most steps (see
docs/adr-0009-forked-steps.md).
"""

from __future__ import annotations

import atexit
import gc
import importlib
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

from kfp.dsl.executor_main import executor_main
from kfp.local import subprocess_task_handler

from launchyard.kind import Kind, load_part
from launchyard_pipelines import steps

PROGRAM = "ephemeral_component.py"
"""Name of the file that KFP's command writes the component's code to."""


@dataclass(frozen=True)
class StepCommand:
    """What KFP's command for a component comes to: its code, and the arguments of what executes it."""

    code: str
    arguments: tuple[str, ...]

    @classmethod
    def parse(cls, command: Sequence[str]) -> Self:
        """Return the parts of ``sh -ec <script> <code> --executor_input ... --function_to_execute <name>``."""
        script = next(place for place, word in enumerate(command) if PROGRAM in word)
        return cls(command[script + 1], tuple(command[script + 2 :]))

    @property
    def name(self) -> str:
        """Name of the component."""
        return self.arguments[self.arguments.index("--function_to_execute") + 1]


start_program = subprocess_task_handler.run_local_subprocess
"""As KFP itself runs a component: as a new program."""


LIBRARIES = {"train": ("train", "fit"), "evaluate": ("evaluator", "export", "predictor")}
"""Parts of a kind, by step, that load libraries which another step of the run may load, too."""


def fork_steps(kind: Kind | None = None) -> None:
    """Let ``kfp.local`` run components as forks of this process, which must start no thread and never compute.

    Steps find loaded what they and the steps before them need, of the ``kind`` as well.
    """
    # KFP 2.17 has no public way to run its commands otherwise.
    subprocess_task_handler.run_local_subprocess = partial(run_forked, kind=kind)


def run_forked(full_command: list[str], env_vars: Mapping[str, str] | None = None, kind: Kind | None = None) -> int:
    """Run a component's command in a fork and return its exit code; a signal that ended it is a negative one.

    Where something has started a thread, as a kind's library may when it is loaded, the command runs as a new program:
    a fork has one thread, and may wait for ever for a lock that another one held.
    """
    began_s = time.monotonic()
    command = StepCommand.parse(full_command)
    # What is missing or broken is the step's to report.
    with suppress(Exception):
        importlib.import_module(f"{steps.__name__}.{command.name}")
        for part in LIBRARIES.get(command.name, ()) if kind is not None else ():
            if path := getattr(kind, part):
                load_part(path)
    if threading.active_count() > 1:
        code: int = start_program(full_command, dict(env_vars or {}))
        return code
    # A step's garbage collection would write to, and so copy, the pages of all that is loaded.
    gc.freeze()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        os._exit(_run_here(command, env_vars or {}, began_s))
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        # Whoever is ended so cannot say it, and the log's last lines are what a person is shown.
        hint = " If nobody did that, memory ran out." if -code == signal.SIGKILL else ""
        sys.stdout.write(f"{command.name}: its process was ended by {signal.Signals(-code).name}.{hint}\n")
    return code


def _run_here(command: StepCommand, env_vars: Mapping[str, str], began_s: float) -> int:
    """Run the component in this process, which ends with it, and return the exit code."""
    code = 1
    try:
        # The handler of the process that was forked would end the whole run.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.environ.update(env_vars)
        steps.STARTED_S.set(began_s)
        with tempfile.TemporaryDirectory() as folder:
            program = Path(folder) / PROGRAM
            program.write_text(command.code, encoding="utf-8")
            sys.argv = ["executor_main", "--component_module_path", str(program), *command.arguments]
            executor_main()
        code = 0
    # The boundary of a process: nothing may go on in the frames of the one that was forked.
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    finally:
        with suppress(BaseException):
            # As an interpreter ends: threads that are waited for, then what libraries asked to be called.
            threading._shutdown()  # type: ignore[attr-defined]
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
    return code
