"""Commands for the cache of fetched data and models: ``cache list`` and ``cache clear``."""

from __future__ import annotations

import typer

from launchyard.settings import load_settings


def add_commands(app: typer.Typer) -> None:
    """Add this module's commands to the command line."""
    cache = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
    cache.command("list", epilog="Example:  launchyard cache list")(list_entries)
    cache.command("clear", epilog="Example:  launchyard cache clear")(clear_entries)
    app.add_typer(cache, name="cache", help="Show or delete what was fetched: the only raw data that is kept.")


def list_entries() -> None:
    """Show what was fetched, from where, and how much room it takes."""
    from rich.filesize import decimal
    from rich.table import Table

    from launchyard.cli.console import PlainConsole
    from launchyard.sources.fetch.cache import Cache

    cache = Cache(load_settings().cache_dir)
    table = Table(title=str(cache.root), title_justify="left", box=None)
    table.add_column("source", overflow="fold")
    for name in ("size", "fetched", "sha256"):
        table.add_column(name, no_wrap=True)
    entries = cache.entries()
    for entry in entries:
        fetched_at = f"{entry.fetched_at.astimezone():%Y-%m-%d %H:%M}"
        table.add_row(entry.uri, decimal(entry.size_bytes), fetched_at, entry.sha256[:12])
    console = PlainConsole(markup=False, highlight=False, emoji=False)
    console.print(table)
    console.print(f"{len(entries)} sources, {decimal(cache.size_bytes())} on disk.")


def clear_entries() -> None:
    """Delete what was fetched; it is fetched again when needed."""
    from rich.filesize import decimal

    from launchyard.cli.console import PlainConsole
    from launchyard.sources.fetch.cache import Cache

    cache = Cache(load_settings().cache_dir)
    freed_bytes = cache.clear()
    PlainConsole(markup=False, highlight=False).print(f"{cache.root}: {decimal(freed_bytes)} freed.")
