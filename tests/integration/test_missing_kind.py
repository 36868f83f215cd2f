"""The platform without one of its kinds: whatever does not need the kind works as before."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from doc_blocks import ROOT
from launchyard.kind import Kind
from launchyard.kinds import iter_built_in_kinds

pytestmark = pytest.mark.integration

ROOTS = ("platform", "pipelines", "serving")
CORE = (
    "bundle_self_test",
    "data_split",
    "drift",
    "event_log",
    "gates",
    "rollout",
    "run_record",
    "serving_batching",
    "serving_index",
    "sources_uri",
    "spec_document",
    "spec_scaffold",
)
"""Tests of some rooms that are done in seconds; those that take the kind for an example are left out."""


@pytest.mark.parametrize("kind", iter_built_in_kinds(), ids=lambda kind: kind.name)
def test_without_a_kind_the_rest_works(kind: Kind, tmp_path: Path) -> None:
    for name in ROOTS:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", kind.folder.name))
    paths = [ROOT / "tests" / "unit" / f"test_{name}.py" for name in CORE]
    chosen = [path for path in paths if not _names(path, (kind.name, kind.folder.name, kind.spec.__name__))]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(str(tmp_path / name) for name in ROOTS)}

    listed = _run(["-c", "from launchyard.cli import main; main()", "kinds"], environment)
    # Without the fixtures that all tests share: they make examples of a kind.
    tested = _run(["-m", "pytest", "-q", "--noconftest", "-p", "no:cacheprovider", *map(str, chosen)], environment)

    assert kind.name not in listed.stdout
    assert len(chosen) > len(CORE) / 2
    assert tested.returncode == 0, tested.stdout[-3000:]


def _run(arguments: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


def _names(path: Path, words: tuple[str, ...], seen: frozenset[Path] = frozenset()) -> bool:
    """Return whether a test file, or a module of the tests that it imports, names one of ``words``."""
    text = path.read_text(encoding="utf-8")
    modules = {line.split()[1] for line in text.splitlines() if line.startswith(("from ", "import "))}
    imported = {found for name in modules if (found := ROOT / "tests" / f"{name}.py").is_file()} - seen
    return any(word in text for word in words) or any(_names(found, words, seen | {path}) for found in imported)
