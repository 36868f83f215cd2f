"""The block ``evaluate``: measures, and the gates that a model must pass."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from launchyard.spec.blocks.block import HEADLINE, Block, Unit

RULE = re.compile(r"^\s*(>=|<=|>|<)\s*(-?\d+(?:\.\d+)?(?:[eE]-?\d+)?)\s*$")


def check_rule(rule: object) -> object:
    """Return a gate's rule unchanged.

    Raises:
        ValueError: it is not an operator and a number, such as ``>= 0.8``.
    """
    if not isinstance(rule, str) or not RULE.match(rule):
        raise ValueError(f"'{rule}' is not a rule. Write an operator and a number, such as '>= 0.80'")
    return rule


GateRule = Annotated[str, BeforeValidator(check_rule)]


class Comparison(Block):
    """A gate that compares two models on the same test rows."""

    metric: str = Field(HEADLINE, description=f"Metric that is compared; {HEADLINE}: the kind's own.")
    tolerance: float = Field(0.0, ge=0, description="How much worse it may be and still pass.")


class ChampionComparison(Comparison):
    """A gate that compares with the serving model, on the test rows that it was not trained on."""

    when_unknown: Literal["skip", "refuse"] = Field(
        "skip",
        description="What to do when too few test rows are new to the serving model, or nobody knows which are.",
    )


class Evaluate(Block):
    """What is measured on the held-out rows and what a model must reach to be released."""

    gates: dict[str, GateRule] = Field({}, description="Test metric -> rule, such as accuracy: '>= 0.80'.")
    beat_prior: bool = Field(
        True, description="Refuse a model that does not beat always giving the same answer: what is commonest."
    )
    beat_baseline: Comparison | None = Field(
        Comparison(tolerance=0.0), description="Refuse a model that a cheap baseline beats; null switches it off."
    )
    beat_champion: ChampionComparison | None = Field(
        ChampionComparison(tolerance=0.005),
        description="Refuse a model that the serving one beats; null switches it off.",
    )
    slices: tuple[str, ...] = Field((), description="Columns whose values are measured one by one.")
    bootstrap: Annotated[int, Unit("resamples")] = Field(
        1000, ge=100, le=100_000, description="Resamples behind each interval."
    )
    confidence: Annotated[float, Unit("fraction")] = Field(0.95, gt=0.5, lt=1, description="Coverage of each interval.")
