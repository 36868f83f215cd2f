"""A new product's folder: a working spec to change, and the schema that editors complete it with."""

from __future__ import annotations

import re
from pathlib import Path

from launchyard.errors import SpecError
from launchyard.files.atomic import write_text
from launchyard.kind import Kind
from launchyard.kinds import iter_kinds
from launchyard.spec.blocks import MAX_PRODUCT_LENGTH
from launchyard.spec.document import SPEC_NAME
from launchyard.spec.reference import SCHEMA_NAME, render_json_schema

EXAMPLE_NAME = "example.yaml"


def create_product(kind: Kind, folder: Path) -> Path:
    """Write a spec of ``kind``, named after its folder, and the schema beside it; return the spec's path.

    Raises:
        SpecError: the folder's name gives no product name, or a file of these names is there already.
    """
    example = (kind.folder / EXAMPLE_NAME).read_text(encoding="utf-8")
    named = re.sub(r"^product: .*$", f"product: {derive_name(folder)}", example, count=1, flags=re.MULTILINE)
    return write_product(folder, named)


def write_product(folder: Path, spec: str) -> Path:
    """Write a spec, given as YAML, and the schema beside it; return the spec's path.

    Raises:
        SpecError: a file of these names is there already.
    """
    spec_path, schema_path = find_places(folder)
    write_text(schema_path, render_json_schema(iter_kinds()))
    write_text(spec_path, f"# yaml-language-server: $schema={SCHEMA_NAME}\n{spec}")
    return spec_path


def find_places(folder: Path) -> tuple[Path, Path]:
    """Return where spec and schema of a new product are written.

    Raises:
        SpecError: a file of these names is there already.
    """
    spec_path, schema_path = folder / SPEC_NAME, folder / SCHEMA_NAME
    if folder.exists() and not folder.is_dir():
        raise SpecError(f"{folder}: is a file. Name a folder.")
    for path in (spec_path, schema_path):
        if path.exists():
            raise SpecError(f"{path}: exists already and is not overwritten. Name another folder, or remove the file.")
    return spec_path, schema_path


def derive_name(folder: Path) -> str:
    """Return the product name that a folder's name gives: lower case, hyphens for all that is not allowed.

    >>> derive_name(Path("My Reviews_2"))
    'my-reviews-2'

    Raises:
        SpecError: nothing is left of it.
    """
    name = re.sub(r"[^a-z0-9]+", "-", folder.resolve().name.lower()).lstrip("-0123456789")
    name = name[:MAX_PRODUCT_LENGTH].rstrip("-")
    if not name:
        raise SpecError(f"{folder}: its name holds no letter to name the product by. Name a folder such as my-product.")
    return name
