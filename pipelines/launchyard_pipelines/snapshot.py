"""The spec as a run takes it along: complete, with absolute paths, named by its digest."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from launchyard.atomic import write_text
from launchyard.settings import Settings
from launchyard.spec.blocks import ClassSources, Product, SplitSources
from launchyard.spec.load import dump_spec


@dataclass(frozen=True)
class Snapshot:
    """A spec file that no one edits, and the digest of its bytes."""

    path: Path
    sha256: str


def write_snapshot(spec: Product, base_dir: Path, settings: Settings) -> Snapshot:
    """Write ``spec`` with its relative sources made absolute; the same spec gives the same file."""
    text = dump_spec(resolve_paths(spec, base_dir))
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    path = settings.root / "specs" / f"{sha256[:16]}.json"
    write_text(path, text)
    return Snapshot(path=path, sha256=sha256)


def resolve_paths(spec: Product, base_dir: Path) -> Product:
    """Return ``spec`` with every relative path (seen from ``base_dir``) absolute; URIs stay as they are."""

    def resolve(uri: str) -> str:
        return uri if "://" in uri else str((base_dir / uri).resolve())

    source = spec.data.source
    resolved: str | SplitSources | ClassSources
    if isinstance(source, ClassSources):
        resolved = ClassSources(classes={label: resolve(uri) for label, uri in source.classes.items()})
    elif isinstance(source, SplitSources):
        given = {name: uri for name, uri in source.model_dump().items() if uri is not None}
        resolved = SplitSources(**{name: resolve(uri) for name, uri in given.items()})
    else:
        resolved = resolve(source)
    data = spec.data.model_copy(update={"source": resolved})
    model = spec.model.model_copy(update={"base": resolve(spec.model.base)})
    return spec.model_copy(update={"data": data, "model": model})
