"""What the test run itself tells: a newcomer without the Debian packages learns how to run the rest."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from doc_blocks import ROOT

SKIPPED = """
import pytest

@pytest.mark.parametrize("number", range(3))
def test_with_a_program(number):
    pytest.skip("redis-server is not installed. Run: make system-deps")

def test_with_a_gpu():
    pytest.skip("this machine has no CUDA device")
"""


def test_tests_that_were_left_out_for_want_of_programs_are_counted_at_the_end(tmp_path: Path) -> None:
    (tmp_path / "test_skipped.py").write_text(SKIPPED, encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if name != "CI"} | {
        "PYTHONPATH": str(ROOT / "tests")
    }
    options = ["-c", str(ROOT / "pyproject.toml"), "-p", "conftest", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *options, str(tmp_path / "test_skipped.py")]

    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)

    assert "4 skipped" in done.stdout, done.stderr
    assert "3 tests were left out: programs that they start are not installed. Run: make system-deps" in done.stdout
