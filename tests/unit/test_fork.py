"""Steps as forks: each is a process of its own, and nothing of it stays in the one that executes the run."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import Any

import pytest

from launchyard_pipelines.local.fork import StepCommand

PROGRAM = '''
import atexit, json, os, signal, sys, threading, time
from kfp import dsl, local
from launchyard.kinds import get_kind
from launchyard.settings import set_process_defaults
from launchyard_pipelines.local.fork import fork_steps, run_forked

TRAIN = "launchyard.kinds.recommendation.train.train"
set_process_defaults()
PARENT = os.getpid()
ENDS = os.path.join(sys.argv[1], "ends")
atexit.register(lambda: open(ENDS, "a").write(f"exit-of-parent-{os.getpid() == PARENT} "))
signal.signal(signal.SIGTERM, lambda *_: os._exit(99))

def run(body, name="act", kind=None, **env_vars):
    code = f"def {name}():\\n" + "".join(f"    {line}\\n" for line in body.splitlines())
    command = ["sh", "-ec", 'x > "$program_path/ephemeral_component.py"', code]
    inputs = json.dumps({"inputs": {}, "outputs": {"outputFile": os.devnull}})
    return run_forked([*command, "--executor_input", inputs, "--function_to_execute", name], env_vars, kind)

@dsl.component(install_kfp_package=False)
def name_parent() -> int:
    import os
    return os.getppid()

@dsl.pipeline
def flow() -> int:
    return name_parent().output

found = {
    "error": run("raise ValueError('wrong')"),
    "exit": run("import sys; sys.exit(3)"),
    "crash": run("import os; os.kill(os.getpid(), 11)"),
    "sigterm": run("import os, signal; os.kill(os.getpid(), signal.SIGTERM)"),
    "changes": run("""
import os, sys, colorsys
os.environ['LEFT'] = 'x'
os.chdir('/')
sys.path.insert(0, 'left')
"""),
    "unchanged": run("""
import os, sys
assert 'LEFT' not in os.environ and 'left' not in sys.path and os.getcwd() != '/' and 'colorsys' not in sys.modules
"""),
    "surroundings": run("""
import os, time
from launchyard_pipelines.steps import STARTED_S
assert os.environ['LAUNCHYARD_NAMESPACE'] == 'ours'
assert float(os.environ['BEFORE']) < STARTED_S.get() < time.monotonic()
""", LAUNCHYARD_NAMESPACE="ours", BEFORE=str(time.monotonic())),
    "thread": run(f"""
import threading
def note():
    threading.main_thread().join()
    open({ENDS!r}, 'a').write('thread ')
threading.Thread(target=note).start()
"""),
    "ends": open(ENDS).read().split()[-2:],
    "unknown": run("pass", name="nobody_wrote_this_step"),
    "known": [run("pass", name="deploy"), "launchyard_pipelines.steps.deploy" in sys.modules],
    "kind": [run("pass", name="train", kind=get_kind("recommendation")), TRAIN in sys.modules],
}
local.init(local.SubprocessRunner(use_venv=False), pipeline_root=os.path.join(sys.argv[1], "root"))
fork_steps()
found["kfp"] = flow().output == PARENT
held = threading.Event()
threading.Thread(target=held.wait, daemon=True).start()
found["kfp beside a thread"] = flow().output == PARENT
print("\\nFOUND", json.dumps(found))
'''


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a program finds that forks steps; a process of pytest has threads of its own, so it does not fork."""
    folder = tmp_path_factory.mktemp("fork")
    (folder / "program.py").write_text(PROGRAM, encoding="utf-8")
    command = [sys.executable, str(folder / "program.py"), str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
    found: dict[str, Any] = json.loads(result.stdout.rpartition("\nFOUND ")[2].splitlines()[0])
    return found


def test_a_command_of_kfp_is_its_code_and_its_arguments() -> None:
    command = ["sh", "-ec", 'printf "%s" "$0" > "$program_path/ephemeral_component.py"', "def train(): ...", "--a", "b"]

    parsed = StepCommand.parse([*command, "--function_to_execute", "train"])

    assert parsed == StepCommand("def train(): ...", ("--a", "b", "--function_to_execute", "train"))
    assert parsed.name == "train"


def test_a_step_that_fails_or_crashes_ends_alone(found: dict[str, Any]) -> None:
    assert [found[name] for name in ("error", "exit", "crash")] == [1, 1, -signal.SIGSEGV]


def test_a_step_is_ended_by_a_signal_that_its_parent_handles_otherwise(found: dict[str, Any]) -> None:
    assert found["sigterm"] == -signal.SIGTERM


def test_what_a_step_changes_is_unknown_to_the_next(found: dict[str, Any]) -> None:
    assert (found["changes"], found["unchanged"]) == (0, 0)


def test_a_step_has_its_environment_and_knows_when_it_began(found: dict[str, Any]) -> None:
    assert found["surroundings"] == 0


def test_a_step_ends_as_a_program_does_with_its_threads_and_then_its_exit_functions(found: dict[str, Any]) -> None:
    assert found["thread"] == 0
    assert found["ends"] == ["thread", "exit-of-parent-False"]


def test_a_step_whose_module_cannot_be_loaded_runs_all_the_same(found: dict[str, Any]) -> None:
    assert found["unknown"] == 0


def test_the_next_step_finds_loaded_what_a_step_needed(found: dict[str, Any]) -> None:
    assert found["known"] == [0, True]


def test_libraries_of_a_kind_are_loaded_once_for_all_steps(found: dict[str, Any]) -> None:
    assert found["kind"] == [0, True]


def test_kfp_itself_runs_its_components_as_forks(found: dict[str, Any]) -> None:
    assert found["kfp"] is True


def test_a_process_with_threads_does_not_fork_but_starts_programs(found: dict[str, Any]) -> None:
    assert found["kfp beside a thread"] is False
