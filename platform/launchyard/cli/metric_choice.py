"""Which metrics fit on a screen: all of the whole, and of single labels the worst."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from launchyard.contract.evaluation import Better

MOST_OF_LABELS = 10
"""Metrics of single labels, such as ``f1[spam]``, up to which a terminal shows all."""


def choose_metrics(
    values: Mapping[str, float],
    find_direction: Callable[[str], Better | None],
    *,
    gated: Collection[str] = (),
) -> tuple[list[str], str]:
    """Return the metrics to show, in their order, and how to see the others; '' when none is left out.

    A metric that a gate is about is always shown.

    >>> values = {"accuracy": 0.9} | {f"f1[{label}]": label / 40 for label in range(30)}
    >>> names, others = choose_metrics(values, lambda metric: "max")
    >>> names[:3], len(names), others
    (['accuracy', 'f1[0]', 'f1[1]'], 11, 'The 10 worst of 30 metrics of single labels; all: the report, or --json.')
    """
    of_labels = [name for name in values if "[" in name and name not in gated]
    if len(of_labels) <= MOST_OF_LABELS:
        return list(values), ""

    def rate(name: str) -> float:
        return -values[name] if find_direction(name) == "min" else values[name]

    hidden = set(sorted(of_labels, key=rate)[MOST_OF_LABELS:])
    others = f"The {MOST_OF_LABELS} worst of {len(of_labels)} metrics of single labels; all: the report, or --json."
    return [name for name in values if name not in hidden], others
