"""What blocks a release: pure rules on measured values.

Three kinds of gate, strict where a mistake would be and tolerant where rows are few:

* a rule (``accuracy: ">= 0.80"``) holds for the measured value;
* a rival (cheap baseline, champion) may be better by at most the tolerance, on the same rows. The measured difference
  decides, to the four digits that are shown; its interval is shown beside it. Were the interval to decide, a thousand
  rows would hardly ever release a model that is as good as its rival;
* the prior must be beaten beyond doubt: the whole interval of the paired difference lies above 0. A model that has
  learned nothing is better than the prior on half of all test sets, so the difference alone proves nothing.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping

from launchyard.contract.evaluation import Better
from launchyard.evaluation.results import GateResult, Measure, Rival
from launchyard.spec.blocks import RULE

SHOWN_DIGITS = 4
"""Digits of a difference that count: less is rounding."""
PRIOR = Rival(role="prior", name="prior")

COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}


def judge_rule(metric: str, rule: str, measures: Mapping[str, Measure]) -> GateResult:
    """Return whether ``metric`` keeps ``rule``; an undefined metric does not.

    >>> judge_rule("accuracy", ">= 0.8", {"accuracy": Measure(value=0.81, low=0.78, high=0.84, n=900)}).passed
    True

    Raises:
        ValueError: ``rule`` is not an operator and a number.
    """
    parts = RULE.match(rule)
    if parts is None:
        raise ValueError(f"'{rule}' is not a rule. Write an operator and a number, such as '>= 0.80'")
    measure = measures.get(metric)
    passed = measure is not None and COMPARE[parts[1]](round(measure.value, 12), float(parts[2]))
    return GateResult(metric=metric, rule=rule.strip(), value=measure and measure.value, passed=passed)


def judge_rival(
    metric: str, better: Better, value: Measure | None, difference: Measure | None, *, rival: Rival, tolerance: float
) -> GateResult:
    """Return whether a model is at most ``tolerance`` worse than ``rival`` on the same rows.

    Args:
        metric: What is compared.
        better: Whether more or less of it is better.
        value: The model's metric; None when it is undefined, which fails.
        difference: Model minus rival, paired.
        rival: What it is compared with.
        tolerance: In the metric's own unit.
    """
    if value is None or difference is None:
        return GateResult(metric=metric, rule=f"no worse than {rival.name}", value=None, passed=False, rival=rival)
    # Two computations of one model differ in the order of their sums, and so in the order of a few equal scores.
    gain = round(difference.value if better == "max" else -difference.value, SHOWN_DIGITS)
    sign, operand = (">=", "-") if better == "max" else ("<=", "+")
    rule = f"{sign} {rival.name} {value.value - difference.value:.4g}" + (
        f" {operand} {tolerance:g}" if tolerance else ""
    )
    return GateResult(
        metric=metric,
        rule=rule,
        value=value.value,
        passed=gain >= -tolerance,
        difference=difference,
        rival=rival,
    )


def judge_incomparable(
    metric: str, value: Measure | None, *, rival: Rival, problem: str, must_compare: bool
) -> GateResult:
    """Return what becomes of a comparison that cannot be made: refused where it must be, else passed and said.

    >>> champion = Rival(role="champion", name="champion v3")
    >>> judge_incomparable("accuracy", None, rival=champion, problem="no rows", must_compare=True).rule
    'comparable with champion v3 (no rows)'
    """
    rule = f"{'comparable' if must_compare else 'not compared'} with {rival.name} ({problem})"
    passed = not must_compare and value is not None
    return GateResult(
        metric=metric, rule=rule, value=value and value.value, passed=passed, problem=problem, rival=rival
    )


def judge_prior(metric: str, better: Better, value: Measure | None, difference: Measure | None) -> GateResult:
    """Return whether a model beats the class prior beyond doubt; arguments as in :func:`judge_rival`."""
    if value is None or difference is None:
        return GateResult(metric=metric, rule="better than the prior", value=None, passed=False, rival=PRIOR)
    sure = difference.low > 0 if better == "max" else difference.high < 0
    rule = f"{'>' if better == 'max' else '<'} prior {value.value - difference.value:.4g} beyond its interval"
    return GateResult(metric=metric, rule=rule, value=value.value, passed=sure, difference=difference, rival=PRIOR)
