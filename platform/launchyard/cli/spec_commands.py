"""Commands that need nothing but a spec: ``init``, ``validate``, ``schema`` and ``kinds``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from launchyard.cli.arguments import AsJson, Overrides, SpecPath
from launchyard.cli.streams import echo, print_json
from launchyard.errors import SpecError

if TYPE_CHECKING:
    from launchyard.contract.proposals import Choice

INIT_EPILOG = """
Examples:

  launchyard kinds

  launchyard init KIND my-product

  launchyard init --from reviews.csv my-product

  launchyard init KIND my-product --from https://example.org/log.parquet

With --from the kind and the columns are guessed from the first 100,000 rows, and the evidence is shown and written
beside each key. At a terminal what may be meant otherwise is asked; in a pipe the proposals stand.

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


MOST_SHOWN = 32
"""Characters of a proposed value in the list of reasons; the spec has it whole."""


def add_commands(app: typer.Typer) -> None:
    """Add this module's commands to the command line."""
    app.command("init", epilog=INIT_EPILOG)(init)
    app.command("validate", epilog=VALIDATE_EPILOG)(validate)
    app.command("schema", epilog=SCHEMA_EPILOG)(schema)
    app.command("kinds", epilog=KINDS_EPILOG)(kinds)


def init(
    words: Annotated[
        list[str],
        typer.Argument(metavar="[KIND] DIR", help="What sort of product, and the folder to write to, which names it."),
    ],
    source: Annotated[
        str | None,
        typer.Option("--from", metavar="SOURCE", help="Table to write the spec for: a file, a folder or a URI."),
    ] = None,
) -> None:
    """Start a product: write a spec that works as it is, or one for a table of yours."""
    from launchyard.kinds import get_kind
    from launchyard.spec.scaffold import create_product

    if len(words) > 2 or (len(words) < 2 and source is None):
        raise SpecError(
            "init: give a kind and a folder, or a table and a folder, as in: launchyard init KIND my-product, or: "
            "launchyard init --from rows.csv my-product. 'launchyard kinds' lists the kinds."
        )
    folder = Path(words[-1])
    kind_name = words[0] if len(words) == 2 else None
    path = create_product(get_kind(kind_name or ""), folder) if source is None else _propose(source, kind_name, folder)
    shown = shlex.quote(str(path))
    echo(f"wrote    {path}")
    echo(f"next     launchyard validate {shown}")
    echo(f"         launchyard run {shown}")
    if source is None:
        echo("         then put your own rows under data.source and run it again")


def _propose(source: str, kind_name: str | None, folder: Path) -> Path:
    """Write the spec of a product for a table, tell why, and return its path."""
    from launchyard.proposal.draft import draft_product, place_source, render_spec
    from launchyard.proposal.sketch import sketch_table
    from launchyard.settings import load_settings
    from launchyard.sources.resolve import fetch
    from launchyard.spec.load import load_spec
    from launchyard.spec.scaffold import derive_name, find_places, write_product

    # Before anything is fetched.
    product = derive_name(folder)
    find_places(folder)
    placed = place_source(source, folder)
    table = sketch_table(fetch(source, load_settings(), base_dir=Path.cwd()))
    rows = f"{table.rows.num_rows:,} rows" if table.is_whole else f"the first {table.rows.num_rows:,} rows"
    echo(f"looked   at {rows} of {source}")
    is_asked = sys.stdin.isatty() and sys.stdout.isatty()
    draft = draft_product(table, kind_name, _ask if is_asked else None)
    echo(f"kind     {draft.kind.name}")
    for key, reason in draft.proposal.reasons.items():
        value = draft.read(key)
        echo(
            f"         {key:<28} {value if len(value) <= MOST_SHOWN else value[: MOST_SHOWN - 3] + '...':<32} {reason}"
        )
    for choice in draft.proposal.choices:
        if choice.others and not is_asked:
            echo(f"or       {choice.key}: {', '.join(choice.others)}")
    for warning in draft.proposal.warnings:
        echo(f"warning  {warning}", err=True)
    for other in draft.other_kinds:
        again = shlex.join(["launchyard", "init", other, str(folder), "--from", source])
        echo(f"or       {other} fits, too: {again}")
    path = write_product(folder, render_spec(draft, product=product, source=placed))
    load_spec(path)
    return path


def shorten(text: str, most: int) -> str:
    """Return a text of at most ``most`` characters; one that is cut ends in dots."""
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _ask(choice: Choice) -> str:
    """Ask somebody at a terminal; Enter takes what is proposed."""
    options = [choice.value, *choice.others]
    echo(choice.question)
    for number, option in enumerate(options, start=1):
        echo(f"  {number}  {option}")
    while True:
        chosen: int = typer.prompt("Number", default=1, type=int)
        if 1 <= chosen <= len(options):
            return options[chosen - 1]
        echo(f"Give a number from 1 to {len(options)}.")


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
