"""The course of training and of the search, as plots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeGuard

from launchyard.evaluation import TrainingRecord, TrialResult, TuneRecord
from launchyard.figures import Caption, Series
from launchyard.report.charts import Axis, Curve, Plot, as_curve, draw_plot
from launchyard.report.texts import as_data, name_in, phrase

Value = bool | int | float | str | None


def draw_learning_curves(training: TrainingRecord) -> list[tuple[Caption, Plot]]:
    """Return one plot per quantity, such as loss, each with a curve per split.

    A series is called ``<split>/<quantity>``, or by the quantity alone.
    """
    by_quantity: dict[str, list[Series]] = {}
    for series in training.curves:
        by_quantity.setdefault(series.name.rpartition("/")[2], []).append(series)
    return [(_quantity(name), _draw_quantity(name, series)) for name, series in by_quantity.items()]


def _quantity(name: str) -> Caption:
    return name_in("metric", name)


def _draw_quantity(quantity: str, series: Sequence[Series]) -> Plot:
    curves = [as_curve(one, name_in("split", one.name.rpartition("/")[0] or one.name)) for one in series]
    return draw_plot(curves, Axis(phrase("training.step")), Axis(_quantity(quantity)))


def draw_search(tuning: TuneRecord) -> Plot:
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
    return draw_plot(curves, Axis(phrase("tuning.number")), Axis(_quantity(tuning.metric)))


def draw_parameters(tuning: TuneRecord) -> list[tuple[str, Plot]]:
    """Return, for each searched key, the trials' metric over the key's values."""
    keys = sorted({key for trial in tuning.trials for key in trial.parameters})
    return [(key, _draw_parameter(tuning, key)) for key in keys]


def _draw_parameter(tuning: TuneRecord, key: str) -> Plot:
    pairs = [(trial.parameters.get(key), metric) for trial, metric in _measured(tuning)]
    y = Axis(_quantity(tuning.metric))
    numbers = [(float(value), metric) for value, metric in pairs if is_number(value)]
    if pairs and len(numbers) == len(pairs):
        x = Axis(as_data(key), log=_spans_decades([value for value, _ in numbers]))
        return draw_plot([Curve(phrase("tuning.trial"), numbers, "dots")], x, y)
    names = sorted({str(value) for value, _ in pairs})
    points = [(float(names.index(str(value))), metric) for value, metric in pairs]
    return draw_plot([Curve(phrase("tuning.trial"), points, "dots")], Axis(as_data(key), categories=tuple(names)), y)


def is_number(value: Value) -> TypeGuard[int | float]:
    """Return whether a parameter is a number; Python counts True among them, people do not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _spans_decades(values: Sequence[float]) -> bool:
    return min(values) > 0 and max(values) / min(values) > 20


def _measured(tuning: TuneRecord) -> list[tuple[TrialResult, float]]:
    return [(trial, trial.metric) for trial in tuning.trials if trial.metric is not None]
