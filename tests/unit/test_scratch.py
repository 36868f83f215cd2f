from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from launchyard.files.scratch import MIN_AGE_S, open_scratch


@pytest.fixture
def long_tmpdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / ("long-" * 30)
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    # The library looks at the variable once only.
    monkeypatch.setattr(tempfile, "tempdir", None)
    return folder


def test_a_long_temporary_folder_is_not_used_for_sockets(long_tmpdir: Path) -> None:
    with open_scratch() as folder:
        assert len(str(folder)) <= 20
        assert list(long_tmpdir.iterdir()) == []


def test_the_folder_is_private_and_goes_with_what_was_left_in_it() -> None:
    with open_scratch() as folder:
        (folder / "session").mkdir()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700

    assert not folder.exists()


def test_the_folder_of_a_killed_process_is_removed_by_the_next_one() -> None:
    program = "import os\nfrom launchyard.files.scratch import open_scratch\n"
    program += "with open_scratch() as folder:\n    print(folder, flush=True)\n    os.kill(os.getpid(), 9)\n"
    killed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    left = Path(killed.stdout.strip())
    assert left.is_dir()
    long_ago_s = time.time() - MIN_AGE_S - 1
    os.utime(left, (long_ago_s, long_ago_s))

    with open_scratch() as mine:
        os.utime(mine, (long_ago_s, long_ago_s))
        with open_scratch():
            assert mine.is_dir()

    assert not left.exists()
