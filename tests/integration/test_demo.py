"""What `make demo` shows, with the real rows and the real pretrained model; it needs a package index."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import psutil
import pytest

from doc_blocks import ROOT, list_make_words

# Its server explains within the deadline that users have by default: 10 s, which other tests would use up.
pytestmark = [pytest.mark.integration, pytest.mark.alone, pytest.mark.timeout(1800)]


def test_make_demo_goes_from_rows_to_answers_and_leaves_nothing_running(tmp_path: Path) -> None:
    environment = {**os.environ, "LAUNCHYARD_HOME": str(tmp_path / "home")}

    result = subprocess.run(
        list_make_words("demo"), cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )

    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
    for words in ("version 1 is the champion", "pass >= 0.80", "report   ", "HTTP 200: kept", "Try next:"):
        assert words in result.stdout
    assert [process for process in psutil.process_iter() if _belongs_to(process, tmp_path)] == []


def _belongs_to(process: psutil.Process, home: Path) -> bool:
    """Return whether a process was started by this demo."""
    try:
        return str(home) in process.environ().get("LAUNCHYARD_HOME", "")
    except psutil.Error:
        return False
