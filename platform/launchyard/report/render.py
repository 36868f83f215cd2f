"""Turn the records of a run into ``report.html``."""

from __future__ import annotations

import base64
import hashlib
from functools import cache, partial
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from launchyard.data.manifest import SourceRecord
from launchyard.evaluation.figures import (
    BarFigure,
    ConfusionMatrixFigure,
    Figure,
    HeatmapFigure,
    LineFigure,
    MediaFigure,
    TableFigure,
)
from launchyard.files.atomic import write_text
from launchyard.report import charts, course, formats, results
from launchyard.report.inputs import ReportInputs
from launchyard.report.terms import Terms
from launchyard.report.texts import mark_up, name_in, phrase
from launchyard.report.verdict import headline_metric, judge, key_figures

REPORT_NAME = "report.html"
MAX_CELL_CHARACTERS = 400
MAX_TABLE_ROWS = 50


def write_report(folder: Path, inputs: ReportInputs) -> Path:
    """Write ``report.html`` into ``folder`` and return its path."""
    path = folder / REPORT_NAME
    write_text(path, render_report(inputs))
    return path


def render_report(inputs: ReportInputs) -> str:
    """Return the launch report as one HTML document that asks for nothing from outside."""
    evaluation, terms = inputs.evaluation, inputs.terms
    metric = headline_metric(inputs)
    first_curves, other_curves = (
        course.draw_learning_curves(inputs.training, metric, terms) if inputs.training else ([], [])
    )
    style, script = _asset("report.css"), _asset("report.js")
    return (
        _environment()
        .get_template("report.html")
        .render(
            inputs=inputs,
            verdict=judge(inputs),
            keys=key_figures(inputs),
            terms=terms,
            called=lambda group, name: mark_up(terms.name(group, name)),
            draw=partial(draw_figure, terms=terms),
            metric=terms.name_metric(metric),
            headline=terms.kind.headline,
            metrics=results.list_metrics(evaluation, terms),
            directions=terms.explain_directions(results.list_measured(evaluation)),
            meanings=results.explain_metrics(evaluation, terms),
            label_metrics=results.list_labels(evaluation, terms),
            rivals=results.draw_rivals(evaluation, metric, terms),
            cost=results.weigh_cost(evaluation, metric, terms),
            slices=results.draw_slices(evaluation.slices, metric, terms),
            labels=results.draw_labels(inputs.dataset.label_counts.get("train", {}), inputs.dataset.labels),
            first_curves=first_curves,
            other_curves=other_curves,
            search=course.draw_search(inputs.tuning, terms) if inputs.tuning else None,
            parameters=course.draw_parameters(inputs.tuning, terms) if inputs.tuning else [],
            sources=_list_sources(inputs),
            style=Markup(style),
            script=Markup(script),
            policy=content_policy(style, script),
        )
    )


def _list_sources(inputs: ReportInputs) -> list[tuple[str, SourceRecord]]:
    """What was read, by the role that it plays."""
    base = inputs.lineage.base_model
    return [*(("data", source) for source in inputs.dataset.sources), *([("base_model", base)] if base else [])]


def content_policy(style: str, script: str) -> str:
    """Return the Content-Security-Policy under which only this very style and script run, and nothing is fetched.

    Even markup that slipped through the escaping could then neither run nor call home.
    """
    return (
        f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "img-src data:; media-src data:; base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@cache
def _asset(name: str) -> str:
    return (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("launchyard.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        say=lambda path, **values: mark_up(phrase(path, **values)),
        name_in=name_in,
        charts=charts,
        max_table_rows=MAX_TABLE_ROWS,
    )
    environment.filters.update(
        both=mark_up,
        number=formats.format_number,
        score=formats.format_score,
        percent=formats.format_percent,
        bytes=formats.format_bytes,
        seconds=formats.format_seconds,
        interval=results.show_interval,
        cell=show_cell,
        parameter=course.show_value,
    )
    return environment


def draw_figure(figure: Figure, terms: Terms) -> charts.Plot | charts.Bars | charts.Heatmap | TableFigure | MediaFigure:
    """Return the drawing of any figure; tables and media need none."""
    match figure:
        case LineFigure():
            return charts.draw_line_figure(figure, terms)
        case BarFigure():
            return charts.draw_bar_figure(figure, terms)
        case HeatmapFigure():
            return charts.draw_heatmap(figure)
        case ConfusionMatrixFigure():
            return charts.draw_confusion(figure)
        case TableFigure() | MediaFigure():
            return figure


def show_cell(value: str | float | int | None) -> str:
    """Return a table's cell as text; a long text is cut, as the rows themselves are in the data set."""
    if isinstance(value, str):
        return value if len(value) <= MAX_CELL_CHARACTERS else value[: MAX_CELL_CHARACTERS - 1] + "…"
    return formats.format_number(value)
