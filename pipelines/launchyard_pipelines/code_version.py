"""The identity of the code that made something."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import launchyard
from launchyard.kinds import list_installed_kinds

PACKAGES = ("launchyard", "launchyard_pipelines")


@cache
def compute_code_version() -> str:
    """Return the package's version and a digest of its source and of the kinds that other distributions bring.

    A step is not reused after a change of code.
    """
    digest = hashlib.sha256()
    for name in PACKAGES:
        found = find_spec(name)
        for folder in found.submodule_search_locations or () if found is not None else ():
            _add_source(digest, Path(folder))
    for installed in list_installed_kinds():
        if installed.kind is not None and not installed.is_built_in:
            digest.update(f"{installed.name}\0{installed.origin}\0".encode())
            _add_source(digest, installed.kind.folder)
    return f"{launchyard.__version__}+{digest.hexdigest()[:12]}"


def _add_source(digest: hashlib._Hash, folder: Path) -> None:
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
