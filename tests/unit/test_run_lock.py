from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from launchyard.errors import RunError
from launchyard.rollout.run_lock import hold_product
from launchyard.settings import Settings

HOLD = """
import sys, time
from pathlib import Path
from launchyard.rollout.run_lock import hold_product
from launchyard.settings import Settings

with hold_product(Settings(home=Path(sys.argv[1])), "reviews", "run-1"):
    print("held", flush=True)
    sys.stdin.read()
"""


def start_holder(home: Path) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    return child


def test_a_second_run_is_told_which_one_goes_on(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    with start_holder(tmp_path) as child:
        with (
            pytest.raises(RunError, match=rf"another run .*: run run-1, process {child.pid}, since 20"),
            hold_product(settings, "reviews", "run-2"),
        ):
            pytest.fail("two runs held one product")
        child.communicate(timeout=30)

    with hold_product(settings, "reviews", "run-2"):
        pass


def test_other_products_and_namespaces_run_at_the_same_time(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)

    with (
        hold_product(settings, "reviews", "run-1"),
        hold_product(settings, "intents", "run-2"),
        hold_product(Settings(home=tmp_path, namespace="other"), "reviews", "run-3"),
    ):
        pass


def test_a_killed_run_does_not_stand_in_the_way(tmp_path: Path) -> None:
    with start_holder(tmp_path) as child:
        child.send_signal(signal.SIGKILL)
        child.communicate(timeout=30)

    with hold_product(Settings(home=tmp_path), "reviews", "run-2"):
        pass


def test_a_run_that_fails_lets_go(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)

    with pytest.raises(ZeroDivisionError), hold_product(settings, "reviews", "run-1"):
        _ = 1 / 0

    with hold_product(settings, "reviews", "run-2"):
        pass
