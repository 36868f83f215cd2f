"""What the launch report can draw: plain values with bilingual titles, drawn by ``launchyard.report``."""

from __future__ import annotations

import base64
from typing import Literal

from pydantic import ConfigDict, Field, field_validator

from launchyard.media import IN_BROWSERS, sniff_media_type
from launchyard.stored import Stored

MAX_MEDIUM_BYTES = 2 * 2**20
"""Of each; base64 makes a third more of it."""
MAX_MEDIA = 24
"""Most media of one figure; a report is one file that people send to each other."""


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


class Medium(Stored):
    """One picture, sound or film; kept in JSON as base64."""

    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    content: bytes = Field(max_length=MAX_MEDIUM_BYTES, description="PNG, JPEG, GIF, WebP, WAV, MP3, Ogg, MP4, WebM.")
    alt: Caption = Field(description="What is to be seen or heard, for those who cannot.")
    caption: Caption | None = Field(None, description="What stands below it.")

    @field_validator("content")
    @classmethod
    def _is_shown_by_browsers(cls, content: bytes) -> bytes:
        if sniff_media_type(content) not in IN_BROWSERS:
            names = ", ".join(IN_BROWSERS)
            raise ValueError(f"is of no type that a report shows, beginning with {content[:8]!r}. Give one of: {names}")
        return content

    @property
    def media_type(self) -> str:
        """The type that the content tells."""
        return sniff_media_type(self.content) or ""

    @property
    def element(self) -> str:
        """Name of the HTML element that shows it: img, audio or video."""
        sort = self.media_type.partition("/")[0]
        return "img" if sort == "image" else sort

    @property
    def data_uri(self) -> str:
        """The content as a URI."""
        return f"data:{self.media_type};base64,{base64.b64encode(self.content).decode()}"


class MediaFigure(Stored):
    """A grid of pictures, sounds or films: inputs beside answers, before and after."""

    type: Literal["media"] = "media"
    name: str
    title: Caption
    help: Caption
    media: tuple[Medium, ...] = Field(min_length=1, max_length=MAX_MEDIA)


Figure = LineFigure | BarFigure | HeatmapFigure | ConfusionMatrixFigure | TableFigure | MediaFigure
