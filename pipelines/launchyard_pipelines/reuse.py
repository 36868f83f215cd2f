"""When a finished step may stand in for a new one: what its sources are and whether they can change."""

from __future__ import annotations

import secrets
from contextlib import closing
from pathlib import Path

from launchyard.kinds import get_kind
from launchyard.records.events import EventLog
from launchyard.settings import Settings
from launchyard.sources.paths import describe_state
from launchyard.sources.uri import Uri, parse_uri
from launchyard.sources.uri_options import FILES
from launchyard.spec.blocks import Product, RowData
from launchyard.spec.uris import list_uris


def are_sources_fixed(spec: Product) -> bool:
    """Return whether no source of the spec can change."""
    return all(parse_uri(uri).is_fixed for uri in list_uris(spec)) and not _names_files(spec)


def describe_sources(spec: Product, base_dir: Path) -> str:
    """Return a text that changes when a local source does; always new for a remote source without a pin.

    Empty when no source can change.

    Raises:
        SourceError: a local source is not there, or may not be looked at.
    """
    sources = [parse_uri(uri) for uri in list_uris(spec)]
    states = [f"{uri}@{_describe(uri, base_dir)}" for uri in sources if not uri.is_fixed]
    if _names_files(spec):
        # Nobody knows of files that a table names, before they are read, whether they are what they were.
        states.append(secrets.token_hex(8))
    return ";".join(states)


def _names_files(spec: Product) -> bool:
    """Return whether rows of the spec may name files beside the sources."""
    if not isinstance(spec.data, RowData) or not get_kind(spec.kind).load_recipe(spec).file_columns():
        return False
    return any(parse_uri(uri).options.format != FILES for uri in list_uris(spec.data))


def _describe(uri: Uri, base_dir: Path) -> str:
    return describe_state(uri, base_dir) if uri.scheme == "file" else secrets.token_hex(8)


def describe_events(spec: Product, settings: Settings) -> str:
    """Return a text that changes when the product's endpoint was sent events or a user was forgotten."""
    if get_kind(spec.kind).serving_state is None and spec.subject is None:
        return ""
    with closing(EventLog(settings, spec.product)) as log:
        return f";events@{log.latest_sequence()}-{log.latest_forgotten()}"
