"""The identity of the code that made something."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import launchyard

PACKAGES = ("launchyard", "launchyard_pipelines")


@cache
def compute_code_version() -> str:
    """Return the package's version and a digest of its source: a step is not reused after a change of code."""
    digest = hashlib.sha256()
    for name in PACKAGES:
        found = find_spec(name)
        for folder in found.submodule_search_locations or () if found is not None else ():
            for path in sorted(Path(folder).rglob("*.py")):
                digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return f"{launchyard.__version__}+{digest.hexdigest()[:12]}"
