"""The course of training and of the search, as plots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeGuard

from launchyard.evaluation.figures import Caption, Series
from launchyard.evaluation.results import GradientRecord, TrainingRecord, TrialResult, TuneRecord
from launchyard.report.charts import Axis, Curve, Plot, as_curve, draw_plot
from launchyard.report.terms import Terms
from launchyard.report.texts import as_data, name_in, phrase

Value = bool | int | float | str | None


LOSS = "loss"
"""What training minimises, in the names of its curves."""
PREFIXES = ("train_", "validation_")
"""What the name of a learning curve starts with, unless it belongs to no split."""


def draw_learning_curves(
    training: TrainingRecord, headline: str, terms: Terms
) -> tuple[list[NamedPlot], list[NamedPlot]]:
    """Return the plots that everybody wants to see, loss and the ``headline`` metric, and all others.

    Training and validation share a plot where they have a curve of the same quantity; the loss of the training
    steps and the metric of the validation that the kind calls its loss are the same quantity. A fit has no curves.
    """
    if not isinstance(training, GradientRecord):
        return [], []
    by_quantity: dict[str, list[Series]] = {}
    for series in training.curves:
        by_quantity.setdefault(_quantity(series.name, terms), []).append(series)
    names = {quantity: terms.name_metric(quantity) for quantity in by_quantity}
    plots = {name: NamedPlot(names[name], _draw_quantity(names[name], by_quantity[name])) for name in by_quantity}
    first = [plots[name] for name in (LOSS, headline) if name in plots]
    return first, [plot for plot in plots.values() if plot not in first]


@dataclass(frozen=True)
class NamedPlot:
    """A plot and its title."""

    name: Caption
    plot: Plot


def _split(series: str) -> str:
    return next((prefix.rstrip("_") for prefix in PREFIXES if series.startswith(prefix)), series)


def _quantity(series: str, terms: Terms) -> str:
    name = series.removeprefix(_split(series)).lstrip("_") or series
    metric = terms.find_metric(name)
    return LOSS if metric is not None and metric.is_loss else name


def _draw_quantity(name: Caption, series: Sequence[Series]) -> Plot:
    curves = [as_curve(one, name_in("split", _split(one.name))) for one in series]
    return draw_plot(curves, Axis(phrase("training.step")), Axis(name))


def draw_search(tuning: TuneRecord, terms: Terms) -> NamedPlot:
    """Return every trial's metric and the best so far, over the trials in their order."""
    measured = _measured(tuning)
    best: list[tuple[float, float]] = []
    choose = max if tuning.mode == "max" else min
    for trial, metric in measured:
        best.append((trial.number, choose(metric, best[-1][1]) if best else metric))
    curves = [
        Curve(phrase("tuning.best_so_far"), best),
        Curve(phrase("tuning.trial"), [(trial.number, metric) for trial, metric in measured], "dots"),
    ]
    plot = draw_plot(curves, Axis(phrase("tuning.number")), Axis(terms.name_metric(tuning.metric)))
    return NamedPlot(phrase("tuning.search"), plot)


def draw_parameters(tuning: TuneRecord, terms: Terms) -> list[NamedPlot]:
    """Return, for each key that the measured trials differ in, their metric over the key's values."""
    measured = [trial for trial, _ in _measured(tuning)]
    keys = sorted({key for trial in measured for key in trial.parameters})
    varied = [key for key in keys if len({repr(trial.parameters.get(key)) for trial in measured}) > 1]
    return [NamedPlot(as_data(key), _draw_parameter(tuning, key, terms)) for key in varied]


def _draw_parameter(tuning: TuneRecord, key: str, terms: Terms) -> Plot:
    pairs = [(trial.parameters.get(key), metric) for trial, metric in _measured(tuning)]
    y = Axis(terms.name_metric(tuning.metric))
    numbers = [(float(value), metric) for value, metric in pairs if is_number(value)]
    if pairs and len(numbers) == len(pairs):
        x = Axis(as_data(key), log=_spans_decades([value for value, _ in numbers]))
        return draw_plot([Curve(phrase("tuning.trial"), numbers, "dots")], x, y)
    names = sorted({show_value(value) for value, _ in pairs})
    points = [(float(names.index(show_value(value))), metric) for value, metric in pairs]
    return draw_plot([Curve(phrase("tuning.trial"), points, "dots")], Axis(as_data(key), categories=tuple(names)), y)


def show_value(value: Value) -> str:
    """Return a searched value as the product file would hold it, to six digits.

    >>> show_value(None), show_value(True), show_value(5.011872336272725e-05)
    ('null', 'true', '5.01187e-05')
    """
    if is_number(value):
        return f"{value:.6g}"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def is_number(value: Value) -> TypeGuard[int | float]:
    """Return whether a parameter is a number; Python counts True among them, people do not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _spans_decades(values: Sequence[float]) -> bool:
    return min(values) > 0 and max(values) / min(values) > 20


def _measured(tuning: TuneRecord) -> list[tuple[TrialResult, float]]:
    return [(trial, trial.metric) for trial in tuning.trials if trial.metric is not None]
