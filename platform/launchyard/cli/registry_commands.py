"""Commands on what serves: ``status``, ``promote``, ``rollback``, ``history`` and ``feedback``."""

from __future__ import annotations

import getpass
import os
from collections.abc import Sequence
from contextlib import closing
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

import typer

from launchyard.cli.streams import echo
from launchyard.settings import Settings, load_settings

if TYPE_CHECKING:
    from launchyard.rollout.rules import RolloutRecord

ProductArgument = Annotated[str, typer.Argument(help="Name of the product.", show_default=False)]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why, for the history.")]


def add_commands(app: typer.Typer) -> None:
    """Add this module's commands to the command line."""
    app.command(epilog="Examples:  launchyard status;  launchyard status review-sentiment --json")(status)
    app.command(epilog="Examples:  launchyard promote review-sentiment;  launchyard promote review-sentiment 3")(
        promote
    )
    app.command(epilog="Examples:  launchyard rollback review-sentiment;  launchyard rollback review-sentiment --to 2")(
        rollback
    )
    app.command(epilog="Example:  launchyard history review-sentiment --json")(history)
    app.command(epilog="Example:  launchyard feedback review-sentiment --json")(feedback)


def status(
    product: Annotated[
        str | None, typer.Argument(help="Name of the product; default: all.", show_default=False)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what serves, since when, how good it is and how it came to serve."""
    from launchyard.cli import registry_views
    from launchyard.records.records import opening_records
    from launchyard.rollout.change import restore_features

    settings = load_settings()
    with opening_records(settings) as records:
        if product is None:
            registry_views.show_products(records, as_json=as_json)
        else:
            registry_views.show_product(records, product, as_json=as_json)
        behind = [record.product for record in records.list_unmirrored()]
        names = records.list_products() if product is None else [product]
    # After what was asked for is on the screen: MLflow may take half a minute to be given up.
    _mirror(settings, [name for name in behind if product in (None, name)])
    for name in names:
        if restore_features(settings, name):
            echo(
                f"{name}: a release was cut off; the features of the version that serves are published again.", err=True
            )


def promote(
    product: ProductArgument,
    version: Annotated[int | None, typer.Argument(help="Version; default: the newest.", show_default=False)] = None,
    reason: ReasonOption = "promoted by hand",
) -> None:
    """Make a version serve; refused (exit code 3) when one of its gates did not pass."""
    from launchyard.records.records import opening_records
    from launchyard.rollout.change import release

    settings = load_settings()
    chosen = version
    if chosen is None:
        with opening_records(settings) as records:
            chosen = records.list_versions(product)[-1].version
    _announce(settings, release(settings, product, chosen, actor=_find_actor(), reason=reason))


def rollback(
    product: ProductArgument,
    to: Annotated[int | None, typer.Option("--to", help="Version; default: what served before.")] = None,
    reason: ReasonOption = "rolled back by hand",
) -> None:
    """Go back to the version that served before; repeated, further back. Forward again: promote."""
    from launchyard.rollout.change import roll_back

    settings = load_settings()
    _announce(settings, roll_back(settings, product, to=to, actor=_find_actor(), reason=reason))


def history(product: ProductArgument, as_json: JsonOption = False) -> None:
    """Show every change of what served: when, who, from which version to which, and why."""
    from launchyard.cli import registry_views
    from launchyard.records.records import opening_records

    with opening_records(load_settings()) as records:
        registry_views.show_history(records, product, as_json=as_json)


def feedback(product: ProductArgument, as_json: JsonOption = False) -> None:
    """Show what people said about the product's answers, newest answer first."""
    from launchyard.cli import registry_views
    from launchyard.records.records import opening_records

    with opening_records(load_settings()) as records:
        registry_views.show_feedback(records, product, as_json=as_json)


def _announce(settings: Settings, record: RolloutRecord) -> None:
    """Say what serves now and then, because it takes seconds, bring MLflow's alias up to date where there is MLflow."""
    if record.champion is not None:
        echo(f"{record.product}: version {record.champion.version} serves (revision {record.revision}).")
    _mirror(settings, [record.product])


def _mirror(settings: Settings, products: Sequence[str]) -> None:
    """Bring MLflow up to date where there is one; one that is away is a warning, for it decides nothing."""
    # Looked for and not imported, which takes seconds.
    if not products or find_spec("mlflow") is None:
        return
    from launchyard.adapters.mlflow import Registry

    with closing(Registry(settings)) as registry:
        for product in products:
            if behind := registry.mirror_aliases(product):
                echo(f"warning: {behind}", err=True)
                # The others would wait for the same server.
                break


def _find_actor() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # In a container a user may have a number and no name; before 3.13 Python says so by a KeyError.
        return f"user {os.getuid()}"
