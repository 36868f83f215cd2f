"""What the ``features`` commands show: a JSON document for programs, tables for people."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE
from rich.table import Column, Table

from launchyard.cli.console import PlainConsole
from launchyard.cli.streams import echo, print_json
from launchyard.features.sets import FeatureSet

if TYPE_CHECKING:
    from launchyard.adapters.feast.online import OnlineRow
    from launchyard.adapters.feast.store import Materialized, PublishedSet

MAX_SHOWN = 8
"""Values of a list that the table shows."""


def show_sets(product: str, published: Sequence[PublishedSet], *, as_json: bool) -> None:
    """Show each set with its features."""
    if as_json:
        print_json({"product": product, "sets": [_describe_set(found) for found in published]})
        return
    console = PlainConsole(highlight=False, markup=False)
    for found in published:
        newest = "no rows" if found.newest is None else f"{found.num_rows:,} rows, newest {_format_time(found.newest)}"
        online = "online" if found.is_online else f"not online: launchyard features materialize {product}"
        console.print(f"{found.feature_set.name}: {found.feature_set.description or 'features'} ({newest}; {online})")
        console.print(_tabulate_features(found.feature_set))


def show_row(feature_set: FeatureSet, entity: str, row: OnlineRow | None, *, now: float, as_json: bool) -> None:
    """Show what is online of one entity at ``now``, expired or not."""
    has_expired = row is not None and feature_set.has_expired(row.timestamp, now)
    if as_json:
        document: dict[str, Any] = {"set": feature_set.name, "entity": entity, "values": None}
        if row is not None:
            document |= {"values": row.values, "timestamp": row.timestamp, "age_s": now - row.timestamp}
            document |= {"has_expired": has_expired, "units": {f.name: f.unit for f in feature_set.features}}
        print_json(document)
        return
    if row is None:
        echo(f"{feature_set.name}: nothing is known of {feature_set.entity} '{entity}'.")
        return
    table = Table("feature", "value", "unit", box=SIMPLE)
    for feature in feature_set.features:
        table.add_row(feature.name, _format_value(row.values[feature.name]), feature.unit)
    age = timedelta(seconds=round(now - row.timestamp))
    state = "expired: answers do without it" if has_expired else "holds"
    console = PlainConsole(highlight=False, markup=False)
    console.print(f"{feature_set.entity} '{entity}': known since {_format_time(row.timestamp)}, age {age}, {state}.")
    console.print(table)


def show_materialized(product: str, written: Sequence[Materialized], *, as_json: bool) -> None:
    """Show what was brought online."""
    if as_json:
        sets = [
            {"set": found.set_name, "rows": found.num_rows, "written": found.num_written, "seconds": found.seconds}
            for found in written
        ]
        print_json({"product": product, "sets": sets})
        return
    table = Table("set", Column("rows", justify="right"), Column("written", justify="right"), "seconds", box=SIMPLE)
    for found in written:
        table.add_row(found.set_name, f"{found.num_rows:,}", f"{found.num_written:,}", f"{found.seconds:.1f}")
    PlainConsole(markup=False).print(table)


def _describe_set(found: PublishedSet) -> dict[str, Any]:
    published = {"num_rows": found.num_rows, "newest": found.newest, "is_online": found.is_online}
    return found.feature_set.model_dump(mode="json") | published


def _tabulate_features(feature_set: FeatureSet) -> Table:
    table = Table(f"feature of {feature_set.entity}", "type", "unit", "meaning", box=SIMPLE)
    for feature in feature_set.features:
        length = f"[{feature.length}]" if feature.length else ""
        table.add_row(feature.name, feature.type + length, feature.unit, feature.description)
    return table


def _format_value(value: Any) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, list):
        more = f" ... ({len(value)})" if len(value) > MAX_SHOWN else ""
        return ", ".join(_format_value(part) for part in value[:MAX_SHOWN]) + more
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _format_time(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"
