"""Commands on a product's features: ``features list``, ``apply``, ``materialize`` and ``get``."""

from __future__ import annotations

from typing import Annotated

import typer

from launchyard.cli.arguments import AsJson
from launchyard.cli.streams import echo
from launchyard.settings import load_settings

ProductArgument = Annotated[str, typer.Argument(help="Name of the product.", show_default=False)]
SetArgument = Annotated[str, typer.Argument(metavar="SET", help="Name of the feature set.", show_default=False)]
EntityArgument = Annotated[
    str, typer.Argument(metavar="ENTITY", help="Id of the user or item, as your own data has it.", show_default=False)
]


def add_commands(app: typer.Typer) -> None:
    """Add this module's commands to the command line."""
    features = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
    features.command("list", epilog="Example:  launchyard features list movie-recommender")(list_sets)
    features.command("get", epilog="Example:  launchyard features get movie-recommender user_profile 196")(get)
    features.command("apply", epilog="Example:  launchyard features apply movie-recommender")(apply)
    features.command("materialize", epilog="Example:  launchyard features materialize movie-recommender --json")(
        materialize
    )
    app.add_typer(features, name="features", help="What is known about a product's users and items, and since when.")


def list_sets(product: ProductArgument, as_json: AsJson = False) -> None:
    """Show the feature sets: what is in them, how many rows, how new, and whether they are online."""
    from launchyard.cli import feature_views
    from launchyard.features.publishing import opening_store
    from launchyard.rollout.change import get_spec

    settings = load_settings()
    with opening_store(settings, get_spec(settings, product)) as store:
        feature_views.show_sets(product, store.list_sets(), as_json=as_json)


def get(product: ProductArgument, set_name: SetArgument, entity: EntityArgument, as_json: AsJson = False) -> None:
    """Show what is known online of one user or item: each value, when it became known, and whether it still holds."""
    import time

    from launchyard.cli import feature_views
    from launchyard.features.publishing import find_online_row, get_feature_set
    from launchyard.rollout.change import get_spec

    settings = load_settings()
    spec = get_spec(settings, product)
    feature_set = get_feature_set(spec, set_name)
    row = find_online_row(settings, spec, feature_set, entity)
    feature_views.show_row(feature_set, entity, row, now=time.time(), as_json=as_json)


def apply(product: ProductArgument) -> None:
    """Register the feature sets with Feast and remove those that the product has no longer."""
    from launchyard.features.publishing import opening_store
    from launchyard.rollout.change import get_spec

    settings = load_settings()
    with opening_store(settings, get_spec(settings, product)) as store:
        store.apply()
        echo(f"{product}: feature sets {', '.join(store.set_names)} are registered.")


def materialize(product: ProductArgument, as_json: AsJson = False) -> None:
    """Bring the newest row of every user and item online; what is there already is not written again."""
    from launchyard.cli import feature_views
    from launchyard.features.publishing import opening_store
    from launchyard.rollout.change import get_spec

    settings = load_settings()
    with opening_store(settings, get_spec(settings, product)) as store:
        store.apply()
        feature_views.show_materialized(product, store.materialize(), as_json=as_json)
