"""Train RecTools' SASRec, the peer that our sequence model is measured against, in an environment of its own.

    python benchmarks/movielens.py .launchyard/benchmarks/movielens
    python benchmarks/recommendation_rectools.py .launchyard/benchmarks/movielens OUTPUT --trials 20
    python benchmarks/recommendation_rectools.py .launchyard/benchmarks/movielens OUTPUT --best --seed 1

RecTools needs an older numpy than Feast's, so it never enters the project's environment: the first call makes one below
`--environment` from `rectools-requirements.txt`. All other arguments are those of `rectools_sasrec.py`.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
REQUIREMENTS = FOLDER / "rectools-requirements.txt"
DEFAULT_ENVIRONMENT = FOLDER.parent / ".launchyard" / "peers" / "rectools"
INSTALL_TIMEOUT_S = 1800


def prepare_environment(environment: Path) -> Path:
    """Return the interpreter of the environment, which is made anew when the requirements have changed."""
    python = environment / "bin" / "python"
    installed = environment / "installed.sha256"
    digest = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    if not installed.exists() or installed.read_text(encoding="utf-8") != digest:
        print(f"installing RecTools in {environment} ...", file=sys.stderr)
        if (environment / "pyvenv.cfg").exists():
            shutil.rmtree(environment)
        venv.create(environment, with_pip=True)
        command = [str(python), "-m", "pip", "install", "--quiet", "--requirement", str(REQUIREMENTS)]
        subprocess.run(command, check=True, timeout=INSTALL_TIMEOUT_S)
        installed.write_text(digest, encoding="utf-8")
    return python


def main() -> None:
    """Become the program that trains, in its environment."""
    parser = argparse.ArgumentParser(description=__doc__, add_help=False)
    parser.add_argument("--environment", type=Path, default=DEFAULT_ENVIRONMENT)
    options, rest = parser.parse_known_args()
    python = prepare_environment(options.environment.resolve())
    os.execv(python, [str(python), str(FOLDER / "rectools_sasrec.py"), *rest])


if __name__ == "__main__":
    main()
