"""A distribution as pip leaves it in a folder of ``sys.path``, with a kind in it that the platform does not know."""

from __future__ import annotations

from pathlib import Path

PACKAGE = "acme_notes"
KIND = '''
"""Notes of Acme: text classification under a name, with a default and an example of its own."""

from dataclasses import replace
from typing import Literal

from pydantic import Field

from launchyard.kinds.text_classification import KIND as TEXTS
from launchyard.kinds.text_classification.spec import TextClassification, TextServe


class NotesServe(TextServe):
    """How Acme's endpoint answers."""

    max_inputs: int = Field(7, description="Most notes in one request.")


class Notes(TextClassification):
    """A product of Acme."""

    kind: Literal["acme-notes"] = Field(description="What sort of product it is.")
    serve: NotesServe = Field(NotesServe(), description="How the endpoint answers.")


KIND = replace(TEXTS, name="acme-notes", summary="What notes are about.", spec=Notes)
'''
EXAMPLE = """\
api: launchyard/v1
product: my-notes
kind: acme-notes
data: {source: notes.csv}
model: {base: base}
"""


def install(site: Path, *, module: str = KIND, point: str = "acme-notes", name: str = "acme-notes-kind") -> None:
    """Put the distribution into ``site``.

    Args:
        site: A folder of ``sys.path``.
        module: Source of its package.
        point: Name of its entry point.
        name: Name of the distribution.
    """
    package, metadata = site / PACKAGE, site / f"{name.replace('-', '_')}-1.2.dist-info"
    package.mkdir(parents=True, exist_ok=True)
    (package / "__init__.py").write_text(module, encoding="utf-8")
    (package / "example.yaml").write_text(EXAMPLE, encoding="utf-8")
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n", encoding="utf-8")
    points = f"[launchyard.kinds]\n{point} = {PACKAGE}:KIND\n"
    (metadata / "entry_points.txt").write_text(points, encoding="utf-8")
