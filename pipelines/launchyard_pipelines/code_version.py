"""The identity of the code that made something."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import launchyard
from launchyard.kinds import list_installed_kinds

# Without launchyard_serving, of which no step runs a line.
PACKAGES = ("launchyard", "launchyard_pipelines")
SOURCES = (".py", ".html", ".css", ".js", ".yaml", ".json")
"""Ends of the names of files that make what a step makes: a report is made of templates and texts, too."""


@cache
def compute_code_version() -> str:
    """Return the package's version and a digest of its source and of the kinds that other distributions bring.

    A step is not reused after a change of code.
    """
    digest = hashlib.sha256()
    for name in (*PACKAGES, *sorted({kind.package for kind in list_installed_kinds() if not kind.is_built_in})):
        for path, shown in _list_sources(name):
            digest.update(shown.encode() + b"\0" + path.read_bytes() + b"\0")
    outside = [f"{kind.name}\0{kind.origin}\0" for kind in list_installed_kinds() if not kind.is_built_in]
    digest.update("".join(outside).encode())
    return f"{launchyard.__version__}+{digest.hexdigest()[:12]}"


def _list_sources(name: str) -> list[tuple[Path, str]]:
    """Return the files of a package, or the one of a module, each with its path inside it."""
    found = find_spec(name)
    if found is None:
        return []
    if found.submodule_search_locations is None:
        return [(Path(found.origin), name)] if found.origin else []
    # By names inside the package: installed in another place, the same code is the same version.
    folders = map(Path, found.submodule_search_locations)
    files = [(folder, path) for folder in folders for path in sorted(folder.rglob("*")) if path.suffix in SOURCES]
    return [(path, path.relative_to(folder).as_posix()) for folder, path in files]
