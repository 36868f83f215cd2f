"""What the launch report can draw: plain values with bilingual titles, drawn by ``launchyard.report``."""

from __future__ import annotations

from typing import Literal

from launchyard.stored import Stored


class Caption(Stored):
    """A short text in the report's two languages."""

    en: str
    zh: str


class Series(Stored):
    """One curve: ``y`` over ``x``, the same length."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]


class LineFigure(Stored):
    """Curves over a common axis: learning curves, reliability."""

    type: Literal["line"] = "line"
    name: str
    title: Caption
    help: Caption
    x_label: Caption
    y_label: Caption
    series: tuple[Series, ...]
    diagonal: bool = False


class BarFigure(Stored):
    """One value per category, with an optional interval (low, high) each."""

    type: Literal["bar"] = "bar"
    name: str
    title: Caption
    help: Caption
    y_label: Caption
    categories: tuple[str, ...]
    values: tuple[float, ...]
    intervals: tuple[tuple[float, float], ...] = ()


class HeatmapFigure(Stored):
    """Values of rows by columns, shaded by their share of the row."""

    type: Literal["heatmap"] = "heatmap"
    name: str
    title: Caption
    help: Caption
    x_label: Caption
    y_label: Caption
    columns: tuple[str, ...]
    rows: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]


class ConfusionMatrixFigure(Stored):
    """How many rows of each label (rows) got each label as their answer (columns)."""

    type: Literal["confusion_matrix"] = "confusion_matrix"
    name: str
    title: Caption
    help: Caption
    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


class TableFigure(Stored):
    """Rows of text and numbers: worst and most uncertain examples, slices."""

    type: Literal["table"] = "table"
    name: str
    title: Caption
    help: Caption
    columns: tuple[Caption, ...]
    rows: tuple[tuple[str | float | int | None, ...], ...]


Figure = LineFigure | BarFigure | HeatmapFigure | ConfusionMatrixFigure | TableFigure
