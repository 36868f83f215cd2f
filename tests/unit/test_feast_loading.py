"""Feast is loaded without what nobody here uses, and has it when asked."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
import launchyard.adapters.feast.store
import typeguard
from feast.online_response import get_torch

assert "torch" not in sys.modules
assert typeguard.typechecked.__name__ == "typechecked"
assert get_torch().tensor([1.0, 2.0]).sum() == 3
"""


def test_feast_comes_without_torch_which_it_loads_when_asked_and_leaves_typeguard_as_it_was() -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, timeout=120)
