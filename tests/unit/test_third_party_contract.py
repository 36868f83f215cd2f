"""The contract test of kinds, over those of a distribution that no line of the platform knows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from doc_blocks import ROOT
from third_party import SOURCE, install_kinds


def test_kinds_of_another_distribution_keep_the_contract(tmp_path: Path) -> None:
    install_kinds(tmp_path / "site")
    contract = ROOT / "tests" / "unit" / "test_kind_contract.py"
    num_tests = len(re.findall(r"^def test_", contract.read_text(encoding="utf-8"), re.MULTILINE))
    paths = [str(tmp_path / "site"), str(SOURCE), os.environ.get("PYTHONPATH", "")]

    result = subprocess.run(
        [sys.executable, "-m", "pytest", contract, "-k", "acme", "-q", "-p", "no:cacheprovider"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "CI": "true"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert result.returncode == 0, result.stdout + result.stderr
    found = re.search(r"(\d+) passed", result.stdout)
    assert found is not None
    assert int(found[1]) >= 3 * (num_tests - 1)
