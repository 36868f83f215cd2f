"""Commands that need nothing but a spec: ``init``, ``validate``, ``schema`` and ``kinds``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from launchyard.cli.arguments import AsJson, Overrides, SpecPath
from launchyard.cli.streams import echo, print_json
from launchyard.errors import SpecError

INIT_EPILOG = """
Examples:

  launchyard kinds

  launchyard init KIND my-product

The folder then holds product.yaml, which works as it is, and product.schema.json for your editor.
"""

VALIDATE_EPILOG = """
Examples:

  launchyard validate product.yaml

  launchyard validate my-product --set train.epochs=1 --set data.redact=[email]

Exit codes: 0 the spec is right, 2 it is not, 130 cancelled.
"""

SCHEMA_EPILOG = """
Examples:

  launchyard schema > product.schema.json

Name the file in a spec's first line: # yaml-language-server: $schema=product.schema.json
"""

KINDS_EPILOG = """
Examples:

  launchyard kinds

  launchyard kinds KIND
"""


def add_commands(app: typer.Typer) -> None:
    """Add this module's commands to the command line."""
    app.command("init", epilog=INIT_EPILOG)(init)
    app.command("validate", epilog=VALIDATE_EPILOG)(validate)
    app.command("schema", epilog=SCHEMA_EPILOG)(schema)
    app.command("kinds", epilog=KINDS_EPILOG)(kinds)


def init(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="What sort of product; see: launchyard kinds.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write to; it names the product.")],
) -> None:
    """Start a product: write a spec that works as it is."""
    from launchyard.kinds import get_kind
    from launchyard.spec.scaffold import create_product

    path = create_product(get_kind(kind), folder)
    shown = shlex.quote(str(path))
    echo(f"wrote    {path}")
    echo(f"next     launchyard validate {shown}")
    echo(f"         launchyard run {shown}")
    echo("         then put your own rows under data.source and run it again")


def validate(path: SpecPath, set_: Overrides = None, as_json: AsJson = False) -> None:
    """Check a spec and say what it will do; every problem is shown at once."""
    from launchyard.spec.load import load_spec, spec_sha256
    from launchyard.spec.summary import summarise

    try:
        spec = load_spec(path, set_ or ())
    except SpecError as err:
        # main() shows it, as any other error.
        if not as_json:
            raise
        print_json({"valid": False, "errors": str(err).splitlines()})
        raise typer.Exit(err.exit_code) from err
    if as_json:
        found = {"valid": True, "product": spec.product, "kind": spec.kind, "sha256": spec_sha256(spec), "errors": []}
        print_json(found)
        return
    for line in summarise(spec, path):
        echo(line)


def schema() -> None:
    """Print the JSON schema of product.yaml, for editors."""
    from launchyard.kinds import iter_kinds
    from launchyard.spec.reference import render_json_schema

    echo(render_json_schema(iter_kinds()).removesuffix("\n"))


def kinds(
    kind: Annotated[
        str | None, typer.Argument(metavar="KIND", help="Show the guide of this kind.", show_default=False)
    ] = None,
) -> None:
    """List the product kinds and the distributions that bring them, or show how to use one."""
    from launchyard.kinds import get_kind, list_installed_kinds

    if kind is not None:
        guide = get_kind(kind).read_guide()
        echo(guide or f"{kind} comes without a guide. Look at its keys: launchyard init {kind} my-product")
        return
    for found in list_installed_kinds():
        if found.kind is None:
            echo(f"{found.name:<24} cannot be used: {found.problem}")
        else:
            echo(f"{found.name:<24} {found.kind.summary}" + ("" if found.is_built_in else f" ({found.origin})"))
