"""What was measured, beside what it has to be measured against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from launchyard.contract.evaluation import Better
from launchyard.evaluation.figures import Caption
from launchyard.evaluation.results import Evaluation, GateResult, Measure, RuntimeCandidate, SliceResult
from launchyard.kinds import get_kind
from launchyard.report.charts import Bars, BarValue, draw_bars
from launchyard.report.formats import MISSING, format_bytes, format_number, format_score
from launchyard.report.texts import as_data, name_in, phrase
from launchyard.spec.blocks import Product

Rival = Literal["prior", "baseline", "champion"]


def find_direction(spec: Product, metric: str) -> Better:
    """Return whether more or less of ``metric`` is better; more, where the product's kind does not say."""
    return get_kind(spec.kind).find_direction(metric) or "max"


@dataclass(frozen=True)
class GateTag:
    """A gate in a few words: its rule, or the rival that it compares with."""

    text: Caption
    passed: bool


@dataclass(frozen=True)
class MetricRow:
    """One metric over all models and splits; None where it was not measured."""

    name: Caption
    test: Measure | None
    validation: Measure | None
    champion: Measure | None
    baseline: Measure | None
    prior: Measure | None
    gates: tuple[GateTag, ...]


def list_metrics(evaluation: Evaluation) -> list[MetricRow]:
    """Return every metric of all rows together; those of single labels are in :func:`list_labels`."""
    names = list(dict.fromkeys(name for split in evaluation.metrics.values() for name in split))
    return [_metric_row(name, evaluation) for name in names if split_label(name) is None]


def split_label(metric: str) -> tuple[str, str] | None:
    """Return the family and the label of a metric of one label, None for any other.

    >>> split_label("f1[negative]"), split_label("f1_macro")
    (('f1', 'negative'), None)
    """
    family, bracket, label = metric.partition("[")
    return (family, label[:-1]) if bracket and label.endswith("]") else None


def _metric_row(name: str, evaluation: Evaluation) -> MetricRow:
    def of(split: str) -> Measure | None:
        return evaluation.metrics.get(split, {}).get(name)

    gates = [gate for gate in evaluation.gates if gate.metric == name]
    return MetricRow(
        name=name_in("metric", name),
        test=of("test"),
        validation=of("validation"),
        champion=evaluation.champion.get(name),
        baseline=evaluation.baseline.get(name),
        prior=evaluation.prior.get(name),
        gates=tuple(GateTag(_name_gate(gate, evaluation), gate.passed) for gate in gates),
    )


def _name_gate(gate: GateResult, evaluation: Evaluation) -> Caption:
    rival = find_rival(gate, evaluation)
    return phrase(f"rivals.{rival}_short") if rival else as_data(show_rule(gate.rule))


def show_rule(rule: str) -> str:
    """Return a gate's rule as mathematics writes it.

    >>> show_rule(">= 0.80")
    '≥ 0.80'
    """
    return rule.replace(">=", "≥").replace("<=", "≤")


def find_rival(gate: GateResult, evaluation: Evaluation) -> Rival | None:
    """Return which model a gate compares with; None for a plain rule.

    The record names the rival inside the rule's text only: the baseline by its own name, the prior as such.
    """
    if gate.problem:
        return "champion"
    if gate.difference is None:
        return None
    if evaluation.baseline_name and evaluation.baseline_name in gate.rule:
        return "baseline"
    return "prior" if "prior" in gate.rule else "champion"


@dataclass(frozen=True)
class LabelTable:
    """The metrics of each label on the test rows, the weakest label first."""

    families: tuple[Caption, ...]
    rows: tuple[tuple[str, tuple[Measure | None, ...]], ...]


def list_labels(evaluation: Evaluation) -> LabelTable:
    """Return the metrics that belong to one label each, a row per label and a column per family."""
    found: dict[str, dict[str, Measure]] = {}
    for name, measure in evaluation.metrics.get("test", {}).items():
        parts = split_label(name)
        if parts is not None:
            found.setdefault(parts[1], {})[parts[0]] = measure
    families = list(dict.fromkeys(family for measures in found.values() for family in measures))
    ordered = sorted(found, key=lambda label: min(measure.value for measure in found[label].values()))
    rows = tuple((label, tuple(found[label].get(family) for family in families)) for label in ordered)
    return LabelTable(tuple(name_in("metric", family) for family in families), rows)


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


def weigh_cost(evaluation: Evaluation, metric: str, better: Better) -> Caption | None:
    """Return whether the model earns its cost against the cheap baseline; None when either was not measured.

    It does, or the baseline is the better one, when the interval of their paired difference does not hold 0; without
    a paired difference, when their two intervals lie apart.
    """
    model, baseline = evaluation.metrics.get("test", {}).get(metric), evaluation.baseline.get(metric)
    if model is None or baseline is None:
        return None
    gates = [gate for gate in evaluation.gates if gate.metric == metric and find_rival(gate, evaluation) == "baseline"]
    difference = gates[0].difference if gates else None
    low, high = (
        (difference.low, difference.high) if difference else (model.low - baseline.high, model.high - baseline.low)
    )
    if better == "min":
        low, high = -high, -low
    verdict = "earns" if low > 0 else "loses" if high < 0 else "unclear"
    return phrase(
        f"rivals.{verdict}",
        metric=name_in("metric", metric),
        value=format_score(model.value),
        rival=format_score(baseline.value),
        name=evaluation.baseline_name,
        latency=format_number(evaluation.latency.p50_ms),
        size=format_bytes(_chosen_size(evaluation.runtimes)),
    )


def _chosen_size(runtimes: Sequence[RuntimeCandidate]) -> int | None:
    return next((runtime.size_bytes for runtime in runtimes if runtime.chosen), None)


def draw_slices(slices: Sequence[SliceResult], metric: str, better: Better) -> list[tuple[Caption, Bars]]:
    """Return one chart per slice that has this metric, its values from the weakest to the strongest."""
    by_slice: dict[str, list[BarValue]] = {}
    for one in slices:
        if metric in one.metrics:
            value = _bar_value(name_in("series", one.value), one.metrics[metric])
            by_slice.setdefault(one.slice, []).append(value)
    return [
        (
            name_in("slice", name),
            draw_bars(sorted(values, key=lambda bar: bar.value, reverse=better == "min"), name_in("metric", metric)),
        )
        for name, values in by_slice.items()
    ]


def draw_labels(counts: Mapping[str, int], labels: Sequence[str]) -> Bars:
    """Return how many rows each label has, the rarest first."""
    ordered = sorted(labels, key=lambda label: counts.get(label, 0))
    return draw_bars([BarValue(as_data(label), float(counts.get(label, 0))) for label in ordered], phrase("data.rows"))


def show_interval(measure: Measure | None) -> str:
    """Return ``low–high`` of a measure."""
    return MISSING if measure is None else f"{format_score(measure.low)}–{format_score(measure.high)}"
