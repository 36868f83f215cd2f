from __future__ import annotations

import stat
import tempfile
from pathlib import Path

import pytest

from launchyard.scratch import open_scratch


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
