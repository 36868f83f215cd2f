"""Figures as drawings: the places, shades and rows that the templates only have to print.

Units are those of an SVG ``viewBox`` of :data:`WIDTH` by :data:`HEIGHT`; x grows to the right, y downwards.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from launchyard.evaluation.figures import BarFigure, Caption, ConfusionMatrixFigure, HeatmapFigure, LineFigure, Series
from launchyard.report.formats import format_number
from launchyard.report.scales import Scale, Tick, fit_scale, thin
from launchyard.report.terms import Terms
from launchyard.report.texts import phrase

WIDTH, HEIGHT = 440, 250
LEFT, RIGHT, TOP, BOTTOM = 48, 428, 10, 210
BAR_WIDTH = 200

MAX_CURVES = 6
"""Curves in one drawing: as many as there are colours that can be told apart."""
MAX_POINTS = 200
MAX_ROWS = 50
"""Rows of the table behind a line chart."""
MAX_BARS = 30
MAX_CELLS = 20
"""Rows or columns of a heatmap that fit a page; beyond, the largest cells are listed instead."""
SHADES = 10


@dataclass(frozen=True)
class Curve:
    """Points over a common axis; ``log`` axes need positive values."""

    name: Caption
    points: Sequence[tuple[float, float]]
    style: Literal["line", "dots"] = "line"


@dataclass(frozen=True)
class DrawnCurve:
    """A curve in places of the drawing; ``number`` picks its colour and dash pattern."""

    number: int
    name: Caption
    style: Literal["line", "dots"]
    places: tuple[tuple[float, float], ...]

    @property
    def path(self) -> str:
        """The ``points`` attribute of an SVG polyline."""
        return " ".join(f"{x:g},{y:g}" for x, y in self.places)


@dataclass(frozen=True)
class Plot:
    """A line or scatter chart, and the numbers behind its lines."""

    x_label: Caption
    y_label: Caption
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    curves: tuple[DrawnCurve, ...]
    diagonal: tuple[float, float, float, float] | None
    header: tuple[Caption, ...]
    rows: tuple[tuple[str, ...], ...]
    num_hidden: int


@dataclass(frozen=True)
class Axis:
    """How one direction of a plot is labelled; ``categories`` name the values 0, 1, 2..."""

    label: Caption
    log: bool = False
    categories: tuple[str, ...] = ()


def draw_plot(curves: Sequence[Curve], x: Axis, y: Axis, *, diagonal: bool = False) -> Plot:
    """Return the drawing of ``curves``; points that are not finite are left out."""
    shown = [_finite(curve) for curve in curves[:MAX_CURVES]]
    points = [point for curve in shown for point in curve.points]
    corners = [(0.0, 0.0), (1.0, 1.0)] if diagonal else []
    x_scale = fit_scale([at for at, _ in points + corners], LEFT, RIGHT, log=x.log)
    y_scale = fit_scale([at for _, at in points + corners], BOTTOM, TOP, log=y.log, is_round=True)
    if x.categories:
        x_scale = Scale(-0.5, len(x.categories) - 0.5, LEFT, RIGHT)
    return Plot(
        x_label=x.label,
        y_label=y.label,
        x_ticks=_axis_ticks(x, x_scale),
        y_ticks=_axis_ticks(y, y_scale),
        curves=tuple(_draw_curve(number, curve, x_scale, y_scale) for number, curve in enumerate(shown)),
        diagonal=(x_scale.place(0), y_scale.place(0), x_scale.place(1), y_scale.place(1)) if diagonal else None,
        header=(x.label, *(curve.name for curve in shown)),
        rows=_tabulate(shown) if all(curve.style == "line" for curve in shown) else (),
        num_hidden=len(curves) - len(shown),
    )


def draw_line_figure(figure: LineFigure, terms: Terms) -> Plot:
    """Return the drawing of a figure of curves."""
    curves = [as_curve(one, terms.name("series", one.name)) for one in figure.series]
    return draw_plot(curves, Axis(figure.x_label), Axis(figure.y_label), diagonal=figure.diagonal)


def as_curve(series: Series, name: Caption) -> Curve:
    """Return a record's series as a curve; a single point becomes a dot, since it has no line to be seen by."""
    return Curve(name, list(zip(series.x, series.y, strict=True)), "line" if len(series.x) > 1 else "dots")


def _finite(curve: Curve) -> Curve:
    points = [(x, y) for x, y in curve.points if math.isfinite(x) and math.isfinite(y)]
    return Curve(curve.name, thin(points, MAX_POINTS) if curve.style == "line" else points, curve.style)


def _axis_ticks(axis: Axis, scale: Scale) -> tuple[Tick, ...]:
    if axis.categories:
        return tuple(Tick(scale.place(number), name) for number, name in enumerate(axis.categories))
    return tuple(scale.ticks())


def _draw_curve(number: int, curve: Curve, x: Scale, y: Scale) -> DrawnCurve:
    places = tuple((x.place(at), y.place(value)) for at, value in curve.points)
    return DrawnCurve(number, curve.name, curve.style, places)


def _tabulate(curves: Sequence[Curve]) -> tuple[tuple[str, ...], ...]:
    """One row per x, at most 50, evenly chosen; an x without a point of a curve has an empty cell there."""
    columns = [dict(curve.points) for curve in curves]
    places = sorted({at for column in columns for at in column})
    places = places[:: math.ceil(len(places) / MAX_ROWS)] if places else []
    return tuple(
        (format_number(at), *(format_number(column[at]) if at in column else "" for column in columns)) for at in places
    )


@dataclass(frozen=True)
class Bar:
    """One value as a horizontal bar of ``start..end`` in :data:`BAR_WIDTH`; ``low..high`` is its interval."""

    name: Caption
    value: float
    start: float
    end: float
    low: float | None
    high: float | None
    interval: tuple[float, float] | None
    n: int | None = None
    emphasis: bool = False


@dataclass(frozen=True)
class Bars:
    """A bar chart whose rows are rows of a table; ``rest`` are the ones that are not drawn."""

    value_label: Caption
    bars: tuple[Bar, ...]
    rest: tuple[Bar, ...] = ()

    @property
    def has_counts(self) -> bool:
        """Whether all values are whole numbers without an interval: counts, which have no decimals."""
        return all(bar.interval is None and float(bar.value).is_integer() for bar in self.bars + self.rest)


@dataclass(frozen=True)
class BarValue:
    """What one bar shows."""

    name: Caption
    value: float
    interval: tuple[float, float] | None = None
    n: int | None = None
    emphasis: bool = False


def draw_bars(values: Sequence[BarValue], value_label: Caption) -> Bars:
    """Return the drawing of ``values`` in their order; when they are too many, the lowest are drawn."""
    ends = [end for one in values for end in (one.value, *(one.interval or ())) if math.isfinite(end)]
    low, high = min([0.0, *ends]), max([0.0, *ends])
    scale = Scale(low, 1.0 if 0 < high <= 1 else high or 1.0, 0, BAR_WIDTH)
    drawn = [_draw_bar(one, scale) for one in values]
    if len(drawn) <= MAX_BARS:
        return Bars(value_label, tuple(drawn))
    drawn.sort(key=lambda bar: (not math.isfinite(bar.value), bar.value))
    return Bars(value_label, tuple(drawn[:MAX_BARS]), tuple(drawn[MAX_BARS:]))


def draw_bar_figure(figure: BarFigure, terms: Terms) -> Bars:
    """Return the drawing of a figure of bars."""
    intervals = figure.intervals or (None,) * len(figure.values)
    rows = zip(figure.categories, figure.values, intervals, strict=True)
    return draw_bars([BarValue(terms.name("series", name), value, pair) for name, value, pair in rows], figure.y_label)


def _draw_bar(one: BarValue, scale: Scale) -> Bar:
    value = one.value if math.isfinite(one.value) else 0.0
    interval = one.interval if one.interval and all(map(math.isfinite, one.interval)) else None
    return Bar(
        name=one.name,
        value=one.value,
        start=scale.place(min(0.0, value)),
        end=scale.place(max(0.0, value)),
        low=scale.place(interval[0]) if interval else None,
        high=scale.place(interval[1]) if interval else None,
        interval=interval,
        n=one.n,
        emphasis=one.emphasis,
    )


@dataclass(frozen=True)
class Cell:
    """One count; ``shade`` (0 to :data:`SHADES`) is its share of the row."""

    value: str
    shade: int
    agrees: bool


@dataclass(frozen=True)
class CellGroup:
    """The cell of one row and one column, by name, with its share of the row."""

    row: str
    column: str
    value: str
    share: float


@dataclass(frozen=True)
class Heatmap:
    """A heatmap: ``cells`` when it fits a page, otherwise ``largest``, the largest cells that do not agree."""

    x_label: Caption
    y_label: Caption
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    largest: tuple[CellGroup, ...]
    num_rows: int
    num_columns: int


def draw_heatmap(figure: HeatmapFigure) -> Heatmap:
    """Return the drawing of counts: all cells of a small table, the largest disagreements of a big one."""
    num_rows, num_columns = len(figure.rows), len(figure.columns)
    if max(num_rows, num_columns) > MAX_CELLS:
        return Heatmap(figure.x_label, figure.y_label, (), (), _largest_disagreements(figure), num_rows, num_columns)
    rows = tuple(
        (
            name,
            tuple(
                Cell(format_number(value), round(SHADES * _share(value, values)), name == column)
                for column, value in zip(figure.columns, values, strict=True)
            ),
        )
        for name, values in zip(figure.rows, figure.values, strict=True)
    )
    return Heatmap(figure.x_label, figure.y_label, figure.columns, rows, (), num_rows, num_columns)


def draw_confusion(figure: ConfusionMatrixFigure) -> Heatmap:
    """Return the drawing of a confusion matrix."""
    return draw_heatmap(
        HeatmapFigure(
            **figure.model_dump(include={"name", "title", "help"}),
            x_label=phrase("chart.answer"),
            y_label=phrase("chart.truth"),
            columns=figure.labels,
            rows=figure.labels,
            values=figure.counts,
        )
    )


def _share(value: float, row: Sequence[float]) -> float:
    total = math.fsum(row)
    return value / total if total > 0 else 0.0


def _largest_disagreements(figure: HeatmapFigure) -> tuple[CellGroup, ...]:
    cells = [
        (value, CellGroup(row, column, format_number(value), _share(value, values)))
        for row, values in zip(figure.rows, figure.values, strict=True)
        for column, value in zip(figure.columns, values, strict=True)
        if row != column and value > 0
    ]
    cells.sort(key=lambda cell: (-cell[0], -cell[1].share))
    return tuple(group for _, group in cells[:MAX_CELLS])
