"""The verdict in words: may the model ship, why, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from launchyard.evaluation.figures import Caption
from launchyard.evaluation.results import Evaluation, GateResult, GradientRecord, Measure, TrainingRecord
from launchyard.report.formats import format_number, format_percent, format_score, format_seconds
from launchyard.report.inputs import ReportInputs
from launchyard.report.results import Role, find_rival, show_rule
from launchyard.report.terms import Terms
from launchyard.report.texts import as_data, phrase
from launchyard.spec.blocks import RULE, Evaluate, Product, find_gradient_train


@dataclass(frozen=True)
class GateLine:
    """One gate as a line of the verdict."""

    text: Caption
    passed: bool
    remark: Caption | None


@dataclass(frozen=True)
class Step:
    """Something to do next; ``command`` is what to type, if anything."""

    text: Caption
    command: str | None = None


@dataclass(frozen=True)
class Verdict:
    """The top of the report."""

    passed: bool
    title: Caption
    sentences: tuple[Caption, ...]
    gates: tuple[GateLine, ...]
    steps: tuple[Step, ...]


def judge(inputs: ReportInputs) -> Verdict:
    """Return the verdict of the records' gates; it decides nothing by itself."""
    evaluation, spec = inputs.evaluation, inputs.spec
    passed = evaluation.passed
    return Verdict(
        passed=passed,
        title=phrase("verdict.ship" if passed else "verdict.refuse"),
        sentences=(
            _describe_gates(evaluation),
            *_describe_result(inputs),
            phrase("verdict.latency", value=format_number(evaluation.latency.p50_ms)),
        ),
        gates=tuple(_describe_gate(gate, inputs) for gate in evaluation.gates),
        steps=_steps_after_release(spec) if passed else _steps_after_refusal(inputs),
    )


def headline_metric(inputs: ReportInputs) -> str:
    """Return the metric that stands for all others: the kind's, or the first gate's or any that was measured."""
    measured, headline = inputs.evaluation.metrics.get("test", {}), inputs.terms.kind.headline
    wanted = (headline, *inputs.spec.evaluate.gates, *measured)
    return next((name for name in wanted if name in measured), headline)


def _describe_gates(evaluation: Evaluation) -> Caption:
    gates = evaluation.gates
    failed = [gate for gate in gates if not gate.passed]
    if not gates:
        return phrase("verdict.no_gates")
    if not failed:
        return phrase("verdict.all_gates", count=str(len(gates)))
    return phrase("verdict.failed_gates", failed=str(len(failed)), count=str(len(gates)))


def _describe_result(inputs: ReportInputs) -> list[Caption]:
    evaluation, spec, terms = inputs.evaluation, inputs.spec, inputs.terms
    metric = headline_metric(inputs)
    measure = evaluation.metrics.get("test", {}).get(metric)
    if measure is None:
        return []
    confidence = format_percent(spec.evaluate.confidence, decimals=0)
    values = {
        "n": format_number(measure.n),
        "low": terms.show(metric, measure.low),
        "high": terms.show(metric, measure.high),
        "confidence": confidence,
    }
    sentence = terms.tell(metric, measure.value)
    if sentence is not None:
        first = phrase("verdict.share", sentence=sentence, **values)
    else:
        value = terms.show(metric, measure.value)
        first = phrase("verdict.measured", metric=terms.name_metric(metric), value=value, **values)
    return [first, *_describe_rivals(evaluation, metric, terms)]


def _describe_rivals(evaluation: Evaluation, metric: str, terms: Terms) -> Iterator[Caption]:
    show, better = partial(terms.show, metric), terms.find_direction(metric)
    model = evaluation.metrics["test"][metric]
    if prior := evaluation.prior.get(metric):
        yield phrase("verdict.prior", value=show(prior.value))
        if model.low <= prior.value if better == "max" else model.high >= prior.value:
            yield phrase("verdict.not_learned")
    if baseline := evaluation.baseline.get(metric):
        yield phrase("verdict.baseline", value=show(baseline.value), name=evaluation.baseline_name)
    if champion := evaluation.champion.get(metric):
        value, version = show(champion.value), str(evaluation.champion_version)
        if champion.n == model.n:
            yield phrase("verdict.champion", value=value, version=version)
        else:
            yield phrase("verdict.champion_new_rows", value=value, version=version, n=format_number(champion.n))


def _describe_gate(gate: GateResult, inputs: ReportInputs) -> GateLine:
    return GateLine(_put_in_words(gate, inputs), gate.passed, _remark(gate, inputs.evaluation))


def _put_in_words(gate: GateResult, inputs: ReportInputs) -> Caption:
    metric, value = inputs.terms.name_metric(gate.metric), format_score(gate.value)
    rival = find_rival(gate, inputs.evaluation)
    if gate.problem:
        return phrase("gates.not_compared", metric=metric, problem=gate.problem)
    if rival is None or gate.difference is None or gate.value is None:
        return phrase("gates.rule", metric=metric, rule=show_rule(gate.rule), value=value)
    limit = format_score(gate.value - gate.difference.value)
    if rival == "prior":
        return phrase("gates.prior", metric=metric, value=value, rival=limit)
    tolerance = _tolerance(inputs.spec.evaluate, rival)
    return phrase(
        f"gates.{rival}" if tolerance else f"gates.{rival}_equal",
        metric=metric,
        value=value,
        rival=limit,
        tolerance=format_number(tolerance),
        name=inputs.evaluation.baseline_name,
    )


def _tolerance(wanted: Evaluate, rival: Role) -> float:
    comparison = wanted.beat_baseline if rival == "baseline" else wanted.beat_champion
    return comparison.tolerance if comparison else 0.0


def _remark(gate: GateResult, evaluation: Evaluation) -> Caption | None:
    """Chance is named wherever other test rows could have turned the gate."""
    if gate.value is None:
        return phrase("verdict.undefined")
    if gate.difference is not None:
        return _remark_difference(gate.difference)
    measure = evaluation.metrics.get("test", {}).get(gate.metric)
    if measure is None or not is_close(gate, measure):
        return None
    return phrase("verdict.close", low=format_score(measure.low), high=format_score(measure.high))


def _remark_difference(difference: Measure) -> Caption:
    return phrase(
        "verdict.difference",
        value=f"{difference.value:+.3f}",
        low=f"{difference.low:+.3f}",
        high=f"{difference.high:+.3f}",
        n=format_number(difference.n),
    )


def is_close(gate: GateResult, measure: Measure) -> bool:
    """Return whether the gate's limit lies inside the interval of what was measured."""
    rule = RULE.match(gate.rule)
    return rule is not None and measure.low <= float(rule[2]) <= measure.high


def _steps_after_release(spec: Product) -> tuple[Step, ...]:
    name = spec.product
    return (
        Step(phrase("next.serve"), f"launchyard serve {name}"),
        Step(phrase("next.status"), f"launchyard status {name}"),
        Step(phrase("next.rollback"), f"launchyard rollback {name}"),
    )


def _steps_after_refusal(inputs: ReportInputs) -> tuple[Step, ...]:
    failed = [gate for gate in inputs.evaluation.gates if not gate.passed]
    measured = inputs.evaluation.metrics.get("test", {})
    steps = [Step(phrase("next.unchanged")), Step(phrase("next.examples"))]
    if any(gate.metric in measured and is_close(gate, measured[gate.metric]) for gate in failed):
        steps.append(Step(phrase("next.more_test_rows")))
    train = find_gradient_train(inputs.spec)
    if train is not None and _was_still_improving(inputs):
        key = f"--set train.epochs={2 * train.epochs}"
        steps.append(Step(phrase("next.train_longer"), f"launchyard run PATH {key}"))
    rarest = _rarest_label(inputs)
    if rarest is not None:
        label, count = rarest
        steps.append(Step(phrase("next.more_rows", label=label, count=format_number(count))))
    if inputs.tuning is None and inputs.training is not None:
        steps.append(Step(phrase("next.tune")))
    return tuple(steps)


def _was_still_improving(inputs: ReportInputs) -> bool:
    training = inputs.training
    if not isinstance(training, GradientRecord):
        return False
    return not training.stopped_early and training.best_step >= training.num_steps


def _rarest_label(inputs: ReportInputs) -> tuple[str, int] | None:
    """The label with the fewest training rows, when it has less than half of an equal share."""
    counts = inputs.dataset.label_counts.get("train", {})
    if not counts:
        return None
    label = min(counts, key=lambda name: counts[name])
    return (label, counts[label]) if counts[label] * len(counts) * 2 < sum(counts.values()) else None


@dataclass(frozen=True)
class KeyFigure:
    """One of the few figures that stand beside the verdict."""

    label: Caption
    value: Caption
    detail: Caption | None = None


def key_figures(inputs: ReportInputs) -> tuple[KeyFigure, ...]:
    """Return the headline metric, the answer time, the training time and the size on disk."""
    evaluation = inputs.evaluation
    metric = headline_metric(inputs)
    measure = evaluation.metrics.get("test", {}).get(metric)
    figures = []
    if measure is not None:
        detail = phrase(
            "key.interval",
            low=format_score(measure.low),
            high=format_score(measure.high),
            n=format_number(measure.n),
        )
        figures.append(KeyFigure(inputs.terms.name_metric(metric), as_data(format_score(measure.value)), detail))
    latency = evaluation.latency
    figures.append(
        KeyFigure(
            phrase("key.latency"),
            as_data(f"{format_number(latency.p50_ms)} ms"),
            phrase("key.latency_detail", p99=format_number(latency.p99_ms)),
        )
    )
    if inputs.training is not None:
        seconds = format_seconds(inputs.training.seconds)
        figures.append(KeyFigure(phrase("key.training"), seconds, _describe_speed(inputs.training)))
    return tuple(figures)


def _describe_speed(training: TrainingRecord) -> Caption | None:
    if not isinstance(training, GradientRecord):
        return None
    return phrase("key.training_detail", rate=format_number(round(training.samples_per_second, 1)))
