"""A step that meets a full disk says where, and how to go on."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from ray.train import TrainingFailedError, WorkerGroupError
from safetensors.torch import save_file

from launchyard.errors import RunError, SourceError
from launchyard.files.full_disk import is_disk_full
from launchyard.settings import Settings
from launchyard_pipelines.run_events import EventReader, explain_full_disk, reported_step
from small_disk import small_files_only

LIMIT_BYTES = 20_000
TENSORS = {"weights": torch.zeros(LIMIT_BYTES)}


def write_table(folder: Path) -> None:
    pq.write_table(pa.table({"row": list(range(LIMIT_BYTES))}), folder / "rows.parquet", compression=None)


WRITERS: dict[str, Callable[[Path], object]] = {
    "text": lambda folder: (folder / "text").write_text("a" * 2 * LIMIT_BYTES),
    "device": lambda _: Path("/dev/full").write_text("a"),
    "copy": lambda folder: shutil.copyfile(shutil.__file__, folder / "copy"),
    "tree": lambda folder: shutil.copytree(Path(torch.__file__).parent / "nn" / "modules", folder / "tree"),
    "parquet": write_table,
    "safetensors": lambda folder: save_file(TENSORS, folder / "model.safetensors"),
    "checkpoint": lambda folder: torch.save(TENSORS, folder / "state.pt"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_whatever_writes_the_step_says_that_the_disk_is_full(tmp_path: Path, name: str) -> None:
    settings = Settings(home=tmp_path / "home", run_dir=tmp_path)

    with (
        small_files_only(LIMIT_BYTES),
        pytest.raises(
            RunError, match=r"^train: the disk is full at /.+\. Free some space, .*--from train\.$"
        ) as caught,
        reported_step("train", settings, started_s=time.monotonic()),
    ):
        WRITERS[name](tmp_path)

    *_, last = EventReader(tmp_path).read_new()
    assert (last.type, last.message) == ("failed", str(caught.value))


def test_a_copy_names_where_there_is_no_room(tmp_path: Path) -> None:
    with small_files_only(LIMIT_BYTES), pytest.raises(OSError, match="File too large") as caught:
        shutil.copyfile(shutil.__file__, tmp_path / "copy")

    assert f"full at {tmp_path / 'copy'}." in str(explain_full_disk(caught.value, "evaluate", Settings()))


def test_a_disk_without_room_for_the_event_does_not_hide_the_error(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", run_dir=tmp_path)

    with (
        pytest.raises(RunError, match="prepare: the disk is full"),
        reported_step("prepare", settings, started_s=time.monotonic()),
        small_files_only((tmp_path / "events.jsonl").stat().st_size),
    ):
        (tmp_path / "rows").write_text("a" * LIMIT_BYTES)


def test_a_full_disk_of_a_training_worker_is_one_too() -> None:
    failed: TrainingFailedError = WorkerGroupError(
        "[Rank 0]\nsafetensors_rust.SafetensorError: I/O error: No space left on device (os error 28)", {}
    )

    assert is_disk_full(failed)


@pytest.mark.parametrize("error", [SourceError("gone"), FileNotFoundError(2, "No such file"), KeyError("weights")])
def test_other_errors_are_not_taken_for_a_full_disk(error: Exception) -> None:
    assert not is_disk_full(error)
