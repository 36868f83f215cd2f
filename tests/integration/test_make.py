"""The Makefile tasks that documents name and `test_docs.py` does not run, as they would write into the source."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from doc_blocks import ROOT, list_make_words

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

GENERATED = ("spec.md", "commands.md", "map.md", "product.schema.json")


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the source that git knows, where they may be changed."""
    folder = tmp_path_factory.mktemp("copy")
    named = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, named.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def test_make_docs_writes_the_reference_that_is_committed(copy: Path) -> None:
    committed = {name: (ROOT / "docs" / name).read_text(encoding="utf-8") for name in GENERATED}
    for name in GENERATED:
        (copy / "docs" / name).unlink()
    parts = os.pathsep.join(str(copy / part) for part in ("platform", "pipelines", "serving"))

    done = subprocess.run(
        list_make_words("docs"),
        cwd=copy,
        env=os.environ | {"PYTHONPATH": parts},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert {name: (copy / "docs" / name).read_text(encoding="utf-8") for name in GENERATED} == committed


def test_make_test_is_what_ci_runs_on_a_machine_that_has_everything(copy: Path) -> None:
    stand_in = copy / "bin" / "make"
    stand_in.parent.mkdir()
    stand_in.write_text('#!/bin/sh\necho "$PWD: CI=$CI make $*"\n', encoding="utf-8")
    stand_in.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if name != "CI"}

    done = subprocess.run(
        [copy / ".ci" / "run"],
        cwd=copy / "docs",
        env=environment | {"PATH": f"{stand_in.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.splitlines() == [f"{copy}: CI=true make {task}" for task in ("system-deps", "test")]


def test_make_test_runs_every_test_once_after_style_and_types() -> None:
    done = subprocess.run(
        [*list_make_words("test"), "--dry-run", "WORKERS=2"], cwd=ROOT, capture_output=True, text=True, check=True
    )

    tools = [line.partition("/bin/")[2].split()[0] for line in done.stdout.splitlines()]
    runs = [line for line in done.stdout.splitlines() if "pytest" in line]
    assert tools == ["ruff", "ruff", "lint-imports", "mypy", "mypy", "python", "python"]
    assert [line.partition(" -m pytest ")[2].split(" --")[0] for line in runs] == ['-m "not alone"', "-m alone"]
