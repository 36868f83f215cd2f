"""When a finished step may stand in for a new one: what its sources are and whether they can change."""

from __future__ import annotations

import secrets
from contextlib import closing
from pathlib import Path

from launchyard.event_log import EventLog
from launchyard.kind import get_kind
from launchyard.settings import Settings
from launchyard.spec.blocks import Product
from launchyard.spec.uris import list_uris


def is_fixed(uri: str) -> bool:
    """Return whether a URI always means the same bytes: pinned by digest, or a released package."""
    return "#sha256=" in uri or uri.startswith("pypi://")


def are_sources_fixed(spec: Product) -> bool:
    """Return whether no source of the spec can change."""
    return all(is_fixed(uri) for uri in list_uris(spec))


def describe_sources(spec: Product, base_dir: Path) -> str:
    """Return a text that changes when a local source's files do; always new for a remote source without a pin."""
    return ";".join(_describe(uri, base_dir) for uri in list_uris(spec) if not is_fixed(uri))


def _describe(uri: str, base_dir: Path) -> str:
    if "://" in uri and not uri.startswith("file://"):
        return f"{uri}@{secrets.token_hex(8)}"
    path = base_dir / uri.removeprefix("file://").partition("?")[0]
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    states = (file.stat() for file in files if file.is_file())
    return f"{uri}@" + ",".join(f"{state.st_size}-{state.st_mtime_ns}" for state in states)


def describe_events(spec: Product, settings: Settings) -> str:
    """Return a text that changes when the product's endpoint was sent events or a user was forgotten."""
    if get_kind(spec.kind).resources is None:
        return ""
    with closing(EventLog(settings, spec.product)) as log:
        return f";events@{log.latest_sequence()}-{log.latest_forgotten()}"
