"""The process that executes a run on a laptop: ``python -m launchyard_pipelines.local.child RUN_DIR PARENT_PID``.

It runs the compiled pipeline with ``kfp.local`` in a process group of its own, so that whatever a step
starts can be ended with it, and so that nothing but the run's log sees what libraries print.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import sys
from io import TextIOWrapper
from pathlib import Path
from types import FrameType
from typing import cast

from kfp import local

from launchyard.kinds import get_kind
from launchyard.settings import load_settings, set_process_defaults
from launchyard.spec.load import load_spec
from launchyard_pipelines.build import build_pipeline, compile_pipeline
from launchyard_pipelines.local.fork import fork_steps
from launchyard_pipelines.plan import PLAN_NAME, RunPlan

PR_SET_PDEATHSIG = 1


def end_with_parent(parent_pid: int) -> None:
    """End this process group when the command line's process ends, however it ends (prctl(2), Linux)."""
    # The handler first, for the signal may come at once.
    signal.signal(signal.SIGTERM, _end_group)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    # The parent may have ended before the kernel was asked.
    if os.getppid() != parent_pid:
        os.killpg(0, signal.SIGKILL)


def _end_group(_signal: int, _frame: FrameType | None) -> None:
    os.killpg(0, signal.SIGKILL)


def execute(run_dir: Path) -> None:
    """Execute the plan in ``run_dir``: compile, then run step by step; raises when a step fails."""
    plan = RunPlan.model_validate_json((run_dir / PLAN_NAME).read_text(encoding="utf-8"))
    spec = load_spec(plan.spec_path)
    pipeline = build_pipeline(spec, plan.options, load_settings())
    compile_pipeline(pipeline, run_dir / "pipeline.yaml")
    local.init(
        # A virtual environment for each step would have none of what is installed here.
        local.SubprocessRunner(use_venv=False),
        pipeline_root=str(run_dir / "artifacts"),
        enable_caching=True,
        cache_root=str(plan.cache_dir),
    )
    fork_steps(get_kind(spec.kind))
    pipeline(release=plan.release)


if __name__ == "__main__":
    end_with_parent(int(sys.argv[2]))
    # The log is a file, yet its lines are to stand in the order in which they came, those of errors among them.
    for stream in (sys.stdout, sys.stderr):
        cast(TextIOWrapper, stream).reconfigure(line_buffering=True)
    # A library that crashes says nothing else.
    faulthandler.enable()
    set_process_defaults()
    execute(Path(sys.argv[1]))
