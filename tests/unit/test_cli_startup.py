"""What starting the command loads: nothing heavy, or every `--help` would take seconds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from spec_samples import write_spec

HEAVY = ("torch", "transformers", "ray", "pyarrow", "pandas", "kfp", "mlflow", "sklearn", "onnxruntime", "fastapi")

PROGRAM = """
import sys
from launchyard.cli import main
try:
    main()
finally:
    print("LOADED", *sorted({name.partition(".")[0] for name in sys.modules}))
"""


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["kinds"], ["validate", "SPEC"], ["run", "--help"]])
def test_light_commands_load_nothing_heavy(tmp_path: Path, arguments: list[str]) -> None:
    spec = str(write_spec(tmp_path))
    called = [spec if argument == "SPEC" else argument for argument in arguments]

    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, *called], capture_output=True, text=True, timeout=60, check=True
    )

    loaded = set(result.stdout.rpartition("LOADED")[2].split())
    assert "launchyard" in loaded
    assert loaded.isdisjoint(HEAVY)


def test_importing_the_package_loads_nothing_at_all() -> None:
    program = "import sys; before = set(sys.modules); import launchyard; print(*{m for m in set(sys.modules) - before})"

    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)

    assert {name.partition(".")[0] for name in result.stdout.split()}.isdisjoint((*HEAVY, "pydantic", "typer", "yaml"))
