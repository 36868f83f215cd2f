"""What ``status``, ``history`` and ``feedback`` show: a JSON document for programs, tables for people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rich.box import SIMPLE
from rich.table import Column, Table
from rich.text import Text

from launchyard.bundle.manifest import GateRecord
from launchyard.cli.console import PlainConsole
from launchyard.cli.metric_choice import choose_metrics
from launchyard.cli.streams import echo, print_json
from launchyard.foreign_text import make_printable
from launchyard.kinds import find_kind
from launchyard.records.records import Feedback, Records, VersionRecord
from launchyard.rollout.rules import Decision, RolloutRecord, start_rollout

NUM_RECENT = 5
"""Decisions that status shows; history shows all."""


def show_products(records: Records, *, as_json: bool) -> None:
    """Show one line for each product of the namespace."""
    products = [_describe_product(records, product) for product in records.list_products()]
    if as_json:
        print_json({"products": products})
        return
    if not products:
        echo("Nothing is registered here yet. Start with: launchyard run PATH")
        return
    columns = (Column("product", no_wrap=True), "version", Column("since", no_wrap=True), "gates", "feedback")
    table = Table(*columns, box=SIMPLE)
    for found in products:
        serves = found["serves"]
        table.add_row(
            found["product"],
            str(serves["version"]) if serves else "none serves",
            _format_time(datetime.fromisoformat(found["since"])) if serves else "",
            f"{sum(gate['passed'] for gate in serves['gate']['gates'])} passed" if serves else "",
            str(found["num_feedback"]),
        )
    PlainConsole(markup=False).print(table)


def show_product(records: Records, product: str, *, as_json: bool) -> None:
    """Show what serves a product, its metrics and gates, and the last decisions.

    Raises:
        RegistryError: nothing was ever registered under that name.
    """
    decisions = records.history(product)[-NUM_RECENT:]
    document = _describe_product(records, product)
    if as_json:
        print_json(document | {"decisions": [decision.model_dump(mode="json") for decision in decisions]})
        return
    # The names of metrics have brackets, which rich would take for markup.
    console = PlainConsole(highlight=False, markup=False)
    versions = ", ".join(map(str, document["versions"]))
    if document["serves"] is None:
        console.print(f"{product}: nothing serves. Versions: {versions}. Next: launchyard promote {product}")
        return
    serving = VersionRecord.model_validate(document["serves"])
    since = _format_time(datetime.fromisoformat(document["since"]))
    console.print(f"{product}: version {serving.version} serves since {since}, revision {document['revision']}.")
    console.print(
        f"Bundle {serving.digest[:12]}, run {serving.run_id}, feedback on {document['num_feedback']} answers."
    )
    console.print(f"Versions: {versions}.")
    console.print(_tabulate_metrics(serving))
    console.print(_tabulate_gates(serving.gate))
    console.print(_tabulate_decisions(decisions))


def show_history(records: Records, product: str, *, as_json: bool) -> None:
    """Show all decisions on a product, oldest first.

    Raises:
        RegistryError: nothing was ever registered under that name.
    """
    # Raises for a name that was never registered; a product without decisions has an empty history.
    records.list_versions(product)
    decisions = records.history(product)
    if as_json:
        document = [decision.model_dump(mode="json") for decision in decisions]
        print_json({"product": product, "decisions": document})
        return
    PlainConsole(markup=False).print(_tabulate_decisions(decisions))


def show_feedback(records: Records, product: str, *, as_json: bool) -> None:
    """Show what stands about each answer that somebody gave feedback on, newest answer first.

    Raises:
        RegistryError: nothing was ever registered under that name.
    """
    records.list_versions(product)
    said = sorted(records.list_feedback(product), key=lambda feedback: feedback.predicted_at, reverse=True)
    if as_json:
        print_json({"product": product, "feedback": [feedback.model_dump(mode="json") for feedback in said]})
        return
    if not said:
        echo(f"Nobody gave feedback on {product} yet. It arrives by: POST /{product}/feedback")
        return
    PlainConsole(markup=False).print(_tabulate_feedback(said))


def _describe_product(records: Records, product: str) -> dict[str, Any]:
    versions = {version.version: version for version in records.list_versions(product)}
    record: RolloutRecord = records.find_rollout(product) or start_rollout("", product)
    serving = versions[record.champion.version] if record.champion else None
    return {
        "product": product,
        "revision": record.revision,
        "since": record.decision.time.isoformat() if record.decision else None,
        "serves": serving.model_dump(mode="json") if serving else None,
        "versions": list(versions),
        "num_feedback": records.count_feedback(product),
    }


def _tabulate_metrics(serving: VersionRecord) -> Table:
    metrics, gated = serving.metrics, {result.metric for result in serving.gate.gates}
    kind = find_kind(serving.kind)
    find_direction = (lambda metric: None) if kind is None else kind.find_direction
    table = Table(
        "metric",
        "value",
        "interval",
        "n",
        title="On the test rows",
        title_justify="left",
        caption_justify="left",
        box=SIMPLE,
    )
    names, table.caption = choose_metrics(
        {name: found.value for name, found in metrics.items()}, find_direction, gated=gated
    )
    for name in names:
        measure = metrics[name]
        interval = f"{measure.low:.4f} to {measure.high:.4f}"
        table.add_row(name, f"{measure.value:.4f}", interval, str(measure.n))
    return table


def _tabulate_gates(gate: GateRecord) -> Table:
    table = Table("gate", "rule", "value", "", title="Gates", title_justify="left", box=SIMPLE)
    for result in gate.gates:
        verdict = Text("passed", "green") if result.passed else Text("failed", "red")
        value = "undefined" if result.value is None else f"{result.value:.4f}"
        table.add_row(result.metric, result.rule, value, verdict)
    return table


def _tabulate_decisions(decisions: Sequence[Decision]) -> Table:
    columns = ("revision", Column("time", no_wrap=True), "who", "what", Column("version", no_wrap=True), "why")
    table = Table(*columns, title="Decisions", title_justify="left", box=SIMPLE)
    for decision in decisions:
        before = "" if decision.before is None else f"{decision.before} -> "
        table.add_row(
            str(decision.revision),
            _format_time(decision.time),
            make_printable(decision.actor, keep_lines=False),
            decision.action,
            f"{before}{decision.after.version}",
            make_printable(decision.reason, keep_lines=False),
        )
    return table


def _tabulate_feedback(said: Sequence[Feedback]) -> Table:
    columns = (Column("answered", no_wrap=True), "version", "label", "rating", "comment", "correction", "answer")
    table = Table(*columns, title="Feedback", title_justify="left", box=SIMPLE)
    for feedback in said:
        table.add_row(
            _format_time(feedback.predicted_at),
            str(feedback.version),
            None if feedback.label is None else make_printable(feedback.label, keep_lines=False),
            None if feedback.rating is None else f"{feedback.rating:g}",
            None if feedback.comment is None else make_printable(feedback.comment, keep_lines=False),
            None if feedback.correction is None else make_printable(_show_json(feedback.correction), keep_lines=False),
            feedback.output_id,
        )
    return table


def _show_json(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _format_time(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC"
