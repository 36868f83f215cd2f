"""The spec as a run takes it along: complete, with absolute paths, named by its digest."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from launchyard.files.atomic import write_text
from launchyard.settings import Settings
from launchyard.sources.paths import make_absolute
from launchyard.spec.blocks import Product
from launchyard.spec.load import dump_spec
from launchyard.spec.uris import map_uris


@dataclass(frozen=True)
class Snapshot:
    """A spec file that no one edits, and the digest of its bytes."""

    path: Path
    sha256: str


def write_snapshot(spec: Product, base_dir: Path, settings: Settings) -> Snapshot:
    """Write ``spec`` with its relative sources made absolute; the same spec gives the same file."""
    # A relative path would start at the snapshot's own folder.
    text = dump_spec(resolve_paths(spec, base_dir))
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    path = settings.root / "specs" / f"{sha256[:16]}.json"
    write_text(path, text)
    return Snapshot(path=path, sha256=sha256)


def resolve_paths(spec: Product, base_dir: Path) -> Product:
    """Return ``spec`` with every path of its sources, as seen from ``base_dir``, absolute."""
    return map_uris(spec, lambda uri: make_absolute(uri, base_dir))
