"""What was measured, beside what it has to be measured against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from launchyard.evaluation.figures import Caption
from launchyard.evaluation.results import Evaluation, GateResult, Measure, RuntimeCandidate, SliceResult
from launchyard.report.charts import Bars, BarValue, draw_bars
from launchyard.report.formats import MISSING, format_bytes, format_number, format_score
from launchyard.report.terms import Terms
from launchyard.report.texts import as_data, phrase

Role = Literal["prior", "baseline", "champion"]


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


def list_metrics(evaluation: Evaluation, terms: Terms) -> list[MetricRow]:
    """Return every metric of all rows together; those of single labels are in :func:`list_labels`."""
    return [_metric_row(name, evaluation, terms) for name in list_measured(evaluation)]


def list_measured(evaluation: Evaluation) -> list[str]:
    """Return the names of the metrics of all rows together."""
    names = dict.fromkeys(name for split in evaluation.metrics.values() for name in split)
    return [name for name in names if split_label(name) is None]


@dataclass(frozen=True)
class Meaning:
    """A metric in words."""

    name: Caption
    help: Caption
    direction: Caption


def explain_metrics(evaluation: Evaluation, terms: Terms) -> list[Meaning]:
    """Return what the metrics of all rows together mean, as far as something is said of them."""
    found = {name: terms.find_metric(name) for name in list_measured(evaluation)}
    return [
        Meaning(metric.name, metric.help, phrase(f"results.{'higher' if metric.better == 'max' else 'lower'}"))
        for metric in found.values()
        if metric is not None
    ]


def split_label(metric: str) -> tuple[str, str] | None:
    """Return the family and the label of a metric of one label, None for any other.

    >>> split_label("f1[negative]"), split_label("f1_macro")
    (('f1', 'negative'), None)
    """
    family, bracket, label = metric.partition("[")
    return (family, label[:-1]) if bracket and label.endswith("]") else None


def _metric_row(name: str, evaluation: Evaluation, terms: Terms) -> MetricRow:
    def of(split: str) -> Measure | None:
        return evaluation.metrics.get(split, {}).get(name)

    gates = [gate for gate in evaluation.gates if gate.metric == name]
    return MetricRow(
        name=terms.name_metric(name),
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


def find_rival(gate: GateResult, evaluation: Evaluation) -> Role | None:
    """Return which model a gate compares with; None for a plain rule.

    Records of before gates said so name it inside the rule's text only: the baseline by its own name, the prior as
    such.
    """
    if gate.rival is not None:
        return gate.rival.role
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


def list_labels(evaluation: Evaluation, terms: Terms) -> LabelTable:
    """Return the metrics that belong to one label each, a row per label and a column per family."""
    found: dict[str, dict[str, Measure]] = {}
    for name, measure in evaluation.metrics.get("test", {}).items():
        parts = split_label(name)
        if parts is not None:
            found.setdefault(parts[1], {})[parts[0]] = measure
    families = list(dict.fromkeys(family for measures in found.values() for family in measures))
    signs = {family: 1 if terms.find_direction(family) == "max" else -1 for family in families}
    ordered = sorted(found, key=lambda label: min(signs[name] * one.value for name, one in found[label].items()))
    rows = tuple((label, tuple(found[label].get(family) for family in families)) for label in ordered)
    return LabelTable(tuple(terms.name_metric(family) for family in families), rows)


def draw_rivals(evaluation: Evaluation, metric: str, terms: Terms) -> Bars:
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
    return draw_bars(values, terms.name_metric(metric))


def _bar_value(name: Caption, measure: Measure, *, emphasis: bool = False) -> BarValue:
    return BarValue(name, measure.value, (measure.low, measure.high), measure.n, emphasis)


def weigh_cost(evaluation: Evaluation, metric: str, terms: Terms) -> Caption | None:
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
    if terms.find_direction(metric) == "min":
        low, high = -high, -low
    verdict = "earns" if low > 0 else "loses" if high < 0 else "unclear"
    return phrase(
        f"rivals.{verdict}",
        metric=terms.name_metric(metric),
        value=format_score(model.value),
        rival=format_score(baseline.value),
        name=evaluation.baseline_name,
        latency=format_number(evaluation.latency.p50_ms),
        size=format_bytes(_chosen_size(evaluation.runtimes)),
    )


def _chosen_size(runtimes: Sequence[RuntimeCandidate]) -> int | None:
    return next((runtime.size_bytes for runtime in runtimes if runtime.chosen), None)


def draw_slices(slices: Sequence[SliceResult], metric: str, terms: Terms) -> list[tuple[Caption, Bars]]:
    """Return one chart per slice that has this metric, its values from the weakest to the strongest."""
    by_slice: dict[str, list[BarValue]] = {}
    for one in slices:
        if metric in one.metrics:
            value = _bar_value(terms.name("series", one.value), one.metrics[metric])
            by_slice.setdefault(one.slice, []).append(value)
    is_worst_first = terms.find_direction(metric) == "min"
    return [
        (
            terms.name("slice", name),
            draw_bars(sorted(values, key=lambda bar: bar.value, reverse=is_worst_first), terms.name_metric(metric)),
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
