"""Commands this package adds to the ``launchyard`` command line."""

from __future__ import annotations

from typing import Annotated

import typer

from launchyard.cli.streams import echo
from launchyard.settings import load_settings

SERVE_EPILOG = """
Examples:

  launchyard serve

  launchyard serve review-sentiment --port 8080
"""


def add_commands(app: typer.Typer) -> None:
    """Add this package's commands to the command line."""
    app.command("serve", epilog=SERVE_EPILOG)(serve_products)


def serve_products(
    products: Annotated[list[str] | None, typer.Argument(help="Products to serve; default: all deployed.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; default: LAUNCHYARD_HOST.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port; default: LAUNCHYARD_PORT.")] = None,
) -> None:
    """Serve deployed products over HTTP on this machine until Ctrl-C."""
    from launchyard.rollout.change import restore_features
    from launchyard_serving.session.foreground import Foreground
    from launchyard_serving.session.products import count_serving_gpus, read_served_specs
    from launchyard_serving.session.session import open_session

    settings = load_settings()
    specs = read_served_specs(settings, products or [])
    num_gpus = count_serving_gpus(specs.values())
    for name in specs:
        if restore_features(settings, name):
            echo(
                f"{name}: a release was cut off; the features of the version that serves are published again.", err=True
            )
    with open_session(host or settings.host, port or settings.port) as session:
        foreground = Foreground(session.url, list(specs))
        foreground.announce()
        # Only now: ray reads the environment, which the session has just set, when it is imported.
        from launchyard_serving.deployment import plan_applications
        from launchyard_serving.session.cluster import check_applications, serve_applications

        with serve_applications(session, plan_applications(settings, specs), num_gpus=num_gpus):
            foreground.run(check_applications)
