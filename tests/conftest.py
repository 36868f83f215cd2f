"""Fixtures that every tier shares, and the rule that CI skips nothing it could run."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from launchyard.settings import set_process_defaults
from tiny_candidate import make_spec, train_candidate, write_dataset, write_tiny_bundle

MAY_SKIP_IN_CI = {"gpu", "cluster"}
BRINGS_PROGRAMS = "make system-deps"
"""Stands in the reason of each test that was left out because a program that it starts is not installed."""
ROOT = Path(__file__).resolve().parent.parent
# Read before the tests take all variables of that prefix away, which the product would refuse to know.
SHARED = Path(os.environ.get("LAUNCHYARD_SHARED", ROOT.parent / "shared"))

set_process_defaults()
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Threads that wait in a busy loop for each other take the cores from what other tests compute meanwhile: tenfold times.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Folder of the real data sets that are not part of the project (LAUNCHYARD_SHARED names it)."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"{SHARED}: no shared data sets here. Set LAUNCHYARD_SHARED to the folder that holds data/.")
    return SHARED


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared data set of synthetic film reviews: 320, 80 and 120 rows."""
    return write_dataset(tmp_path_factory.mktemp("tiny") / "dataset")


@pytest.fixture(scope="session")
def tiny_candidate(tmp_path_factory: pytest.TempPathFactory, tiny_dataset: Path) -> Path:
    """What training leaves of a two-layer BERT, really trained for a second; copy it before you change it."""
    from tiny_base import write_base  # noqa: PLC0415 - loads torch, which most tests do without

    return train_candidate(tmp_path_factory.mktemp("trained"), make_spec(), tiny_dataset, write_base)


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory, tiny_dataset: Path, tiny_candidate: Path) -> Path:
    """A complete bundle that passed its gates, served by ONNX Runtime; copy it before you change it."""
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny", tiny_dataset, tiny_candidate)


@pytest.fixture(scope="session", autouse=True)
def _no_settings() -> Iterator[None]:
    """No test, and no fixture of one, reads the developer's LAUNCHYARD_ variables."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("LAUNCHYARD_")]:
            patch.delenv(name)
        yield


@pytest.fixture(autouse=True)
def _own_environment() -> None:
    """No test, and no program that it starts, is told what an earlier test did."""
    # Set by importing a step and by running a command in this process; programs of the tests, unlike those of a user,
    # do import what lies beside them.
    os.environ.pop("PYTHONSAFEPATH", None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Under CI turn a skip into a failure, outside the tiers that need special hardware."""
    report = yield
    marked = {mark.name for mark in item.iter_markers()}
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail") and not marked & MAY_SKIP_IN_CI:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid}: skipped under CI: {report.longrepr}. Install what it needs."
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in one line how many tests were left out for want of Debian packages, and what brings those."""
    skipped = terminalreporter.stats.get("skipped", ())
    if num_missing := sum(BRINGS_PROGRAMS in str(report.longrepr) for report in skipped):
        terminalreporter.write_line(
            f"{num_missing} tests were left out: programs that they start are not installed. Run: {BRINGS_PROGRAMS}",
            yellow=True,
        )
