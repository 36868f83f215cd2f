"""The command that asks a served product: ``predict``."""

from __future__ import annotations

from typing import Annotated

import typer

from launchyard.settings import load_settings

EPILOG = """
Examples:

  launchyard predict review-sentiment "A warm film." --explain

  launchyard predict review-sentiment --file rows.jsonl

  launchyard predict movie-recommender '{"user": "42", "k": 5}'
"""


def add_commands(app: typer.Typer) -> None:
    """Add this module's commands to the command line."""
    app.command(epilog=EPILOG)(predict)


def predict(
    product: Annotated[str, typer.Argument(help="Name of the product.", show_default=False)],
    inputs: Annotated[
        list[str] | None, typer.Argument(help="Inputs to answer: texts, or JSON objects.", show_default=False)
    ] = None,
    file: Annotated[
        str | None,
        typer.Option(
            help="File with one input a line, JSON or plain text; - reads standard input.", show_default=False
        ),
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show what in each input speaks for the answer.")] = False,
    url: Annotated[str | None, typer.Option(help="Where the server answers; default: this machine's.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Ask a served product and show its answers."""
    from launchyard.cli import answers
    from launchyard.client import Client

    settings = load_settings()
    asked = answers.read_inputs(inputs or [], file)
    if not asked:
        raise typer.BadParameter("give inputs, or --file")
    with Client(url or f"http://{settings.host}:{settings.port}", product, timeout_s=settings.timeout_s) as client:
        replies = answers.ask(client, asked, explain=explain)
    answers.show(asked, replies, as_json=as_json)
