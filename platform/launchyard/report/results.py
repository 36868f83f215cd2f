"""What was measured, beside what it has to be measured against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from launchyard.evaluation import Evaluation, GateResult, Measure, RuntimeCandidate, SliceResult
from launchyard.figures import Caption
from launchyard.report.charts import Bars, BarValue, draw_bars
from launchyard.report.formats import MISSING, format_bytes, format_number, format_score
from launchyard.report.texts import as_data, load_texts, name_in, phrase


@dataclass(frozen=True)
class MetricRow:
    """One metric over all models and splits; None where it was not measured."""

    name: Caption
    test: Measure | None
    validation: Measure | None
    champion: Measure | None
    baseline: Measure | None
    prior: Measure | None
    gate: GateResult | None


def list_metrics(evaluation: Evaluation) -> tuple[list[MetricRow], list[MetricRow]]:
    """Return the metrics that this report has a name for or a gate stands on, and all others."""
    gates = {gate.metric: gate for gate in evaluation.gates}
    names = list(dict.fromkeys(name for split in evaluation.metrics.values() for name in split))
    known = [name for name in names if name in load_texts()["metric"] or name in gates]
    rows = {name: _metric_row(name, evaluation, gates.get(name)) for name in names}
    return [rows[name] for name in known], [rows[name] for name in names if name not in known]


def _metric_row(name: str, evaluation: Evaluation, gate: GateResult | None) -> MetricRow:
    def of(split: str) -> Measure | None:
        return evaluation.metrics.get(split, {}).get(name)

    return MetricRow(
        name=name_in("metric", name),
        test=of("test"),
        validation=of("validation"),
        champion=evaluation.champion.get(name),
        baseline=evaluation.baseline.get(name),
        prior=evaluation.prior.get(name),
        gate=gate,
    )


def draw_rivals(evaluation: Evaluation, metric: str) -> Bars:
    """Return the model's metric beside the champion's, the cheap baseline's and the prior's, on the same test rows."""
    champion = phrase("rivals.champion", version=str(evaluation.champion_version))
    rivals: list[tuple[Caption, Mapping[str, Measure]]] = [
        (phrase("rivals.model"), evaluation.metrics.get("test", {})),
        (champion, evaluation.champion),
        (phrase("rivals.baseline", name=evaluation.baseline_name), evaluation.baseline),
        (phrase("rivals.prior"), evaluation.prior),
    ]
    values = [
        _bar_value(name, measures[metric], emphasis=position == 0)
        for position, (name, measures) in enumerate(rivals)
        if metric in measures
    ]
    return draw_bars(values, name_in("metric", metric))


def _bar_value(name: Caption, measure: Measure, *, emphasis: bool = False) -> BarValue:
    return BarValue(name, measure.value, (measure.low, measure.high), measure.n, emphasis)


def weigh_cost(evaluation: Evaluation, metric: str) -> Caption | None:
    """Return whether the model earns its cost against the cheap baseline; None when either was not measured.

    It does when the interval of the difference, or failing that the two intervals, lie apart.
    """
    model, baseline = evaluation.metrics.get("test", {}).get(metric), evaluation.baseline.get(metric)
    if model is None or baseline is None:
        return None
    difference = next(
        (gate.difference for gate in evaluation.gates if gate.difference and "baseline" in gate.metric), None
    )
    is_better = difference.low > 0 if difference else model.low > baseline.high
    return phrase(
        "rivals.earns" if is_better else "rivals.unclear",
        metric=name_in("metric", metric),
        gain=f"{model.value - baseline.value:+.3f}",
        name=evaluation.baseline_name,
        latency=format_number(evaluation.latency.p50_ms),
        size=format_bytes(_chosen_size(evaluation.runtimes)),
    )


def _chosen_size(runtimes: Sequence[RuntimeCandidate]) -> int | None:
    return next((runtime.size_bytes for runtime in runtimes if runtime.chosen), None)


def draw_slices(slices: Sequence[SliceResult], metric: str) -> list[tuple[Caption, Bars]]:
    """Return one chart per slice that has this metric, its values from the weakest to the strongest."""
    by_slice: dict[str, list[BarValue]] = {}
    for one in slices:
        if metric in one.metrics:
            value = _bar_value(name_in("series", one.value), one.metrics[metric])
            by_slice.setdefault(one.slice, []).append(value)
    return [
        (name_in("slice", name), draw_bars(sorted(values, key=lambda bar: bar.value), name_in("metric", metric)))
        for name, values in by_slice.items()
    ]


def draw_labels(counts: Mapping[str, Mapping[str, int]], labels: Sequence[str]) -> Bars:
    """Return how many training rows each label has, the rarest first."""
    train = counts.get("train", {})
    ordered = sorted(labels, key=lambda label: train.get(label, 0))
    return draw_bars([BarValue(as_data(label), float(train.get(label, 0))) for label in ordered], phrase("data.rows"))


def show_interval(measure: Measure | None) -> str:
    """Return ``low–high`` of a measure."""
    return MISSING if measure is None else f"{format_score(measure.low)}–{format_score(measure.high)}"
