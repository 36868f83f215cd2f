"""The command that removes what is kept of a user: ``forget``."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from launchyard.cli.arguments import AsJson
from launchyard.cli.streams import echo, print_json
from launchyard.settings import load_settings

if TYPE_CHECKING:
    from launchyard.privacy.forget import Findings

EPILOG = """
Examples:

  launchyard forget movie-recommender --user 196 --dry-run

  launchyard forget movie-recommender --user 196 --yes
"""


def add_commands(app: typer.Typer) -> None:
    """Add this module's commands to the command line."""
    app.command(epilog=EPILOG)(forget)


def forget(
    product: Annotated[str, typer.Argument(help="Name of the product.", show_default=False)],
    user: Annotated[str, typer.Option("--user", metavar="ID", help="The user, by the id that your own data has.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before removing.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what is kept of the user.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove a user's events, feedback and features now; show what goes with the next training."""
    from launchyard.privacy.forget import find_user, forget_user

    settings = load_settings()
    if as_json and not (yes or dry_run):
        raise typer.BadParameter("nobody can be asked: give --yes or --dry-run", param_hint="--json")
    if dry_run:
        _show(product, find_user(settings, product, user), is_removed=False, as_json=as_json)
        return
    # Shown first, so that who is asked knows what would go.
    if not (yes or as_json):
        _show(product, find_user(settings, product, user), is_removed=False, as_json=False)
        typer.confirm(
            f"Remove what can be removed now, and leave the user out of the next training of {product}?", abort=True
        )
    _show(product, forget_user(settings, product, user), is_removed=True, as_json=as_json)


def _show(product: str, found: Findings, *, is_removed: bool, as_json: bool) -> None:
    if as_json:
        document = _describe(product, found, is_removed=is_removed)
        print_json(document)
        return
    echo(f"{product}: user {found.user} (a pseudonym).")
    if found.is_empty:
        echo("Nothing was found of this user.")
    else:
        _show_findings(found, is_removed=is_removed)
    if is_removed:
        echo("Replicas that run drop what they remember within about a second. The next training leaves the user out.")


def _show_findings(found: Findings, *, is_removed: bool) -> None:
    now = f"{found.now.events} events, {found.now.feedback} pieces of feedback, {found.now.features} feature rows"
    if found.now.training_rows:
        now += f", {found.now.training_rows} digests of training rows"
    if not found.now.total:
        echo("Nothing is left that can be removed now.")
    else:
        echo(f"Removed now: {now}." if is_removed else f"Can be removed now: {now}.")
    if found.later or found.learned:
        echo("Goes when the next training has replaced it:")
    for remains in found.later:
        echo(f"  {remains.place}: {remains.count} rows and mentions in {remains.num_files} files")
    for version in found.learned:
        echo(f"  version {version}: what its model learned from rows of this user")


def _describe(product: str, found: Findings, *, is_removed: bool) -> dict[str, object]:
    return {
        "product": product,
        "user": found.user,
        "removed": is_removed,
        "now": {name: count for name, count in asdict(found.now).items() if count or name != "training_rows"},
        "next_training": [
            {"place": remains.place, "files": remains.num_files, "count": remains.count} for remains in found.later
        ],
        "learned": list(found.learned),
    }
