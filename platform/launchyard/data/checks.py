"""What rows must fulfil before anything is trained on them: pure rules over counts that a stream can keep.

The rules see totals, never rows, so they hold for any size of data; this is why they are not a frame validator's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from launchyard.data.manifest import SPLITS, CheckResult, SplitName
from launchyard.data.values.lookalikes import warn_of_lookalikes
from launchyard.errors import DataError
from launchyard.spec.blocks import Checks

MOST_NAMED = 5
HEAVY_IMBALANCE = 20.0
"""Commonest label over rarest beyond which a model that never answers the rarest still looks good: then it is said."""


@dataclass(frozen=True)
class Totals:
    """What reading and cleaning counted."""

    num_read: int
    num_null: int
    num_duplicates: int
    num_rows: int
    """Distinct rows that are left."""
    label_counts: Mapping[str, int] | None
    """Rows of each label among them; None for a kind without labels."""
    num_answers: int | None = None
    """Different numbers to learn to answer among them, 2 standing for more; None where the target is no number."""
    lost_files: str = ""
    """Which files that rows name are missing or of another type, in words: such a row has a null field."""


def check_rows(checks: Checks, totals: Totals) -> list[CheckResult]:
    """Return the results of all checks that can be made before rows are divided."""
    num_complete = totals.num_read - totals.num_null
    null_field = "an empty or null field" + (f": {totals.lost_files}" if totals.lost_files else "")
    results = [
        _at_most("null_fraction", checks.max_null_fraction, totals.num_null, totals.num_read, null_field),
        _at_most(
            "duplicate_fraction", checks.max_duplicate_fraction, totals.num_duplicates, num_complete, "a twin before it"
        ),
        _at_least("rows", checks.min_rows, totals.num_rows, f"of {totals.num_read:,} rows that were read"),
    ]
    if totals.label_counts is not None:
        results += _check_labels(checks, totals.label_counts)
    if totals.num_answers is not None:
        only = "all rows have one number" if totals.num_answers == 1 else ""
        results.append(_at_least("target_values", 2, totals.num_answers, only))
    return results


def _check_labels(checks: Checks, label_counts: Mapping[str, int]) -> list[CheckResult]:
    rare = sorted((count, label) for label, count in label_counts.items() if count < checks.min_rows_per_class)
    fewest = min(label_counts.values(), default=0)
    only = f"only '{next(iter(label_counts))}'" if len(label_counts) == 1 else ""
    return [
        _at_least("classes", 2, len(label_counts), only),
        _at_least(
            "rows_per_class", checks.min_rows_per_class, fewest, _name_some(f"'{name}' has {n}" for n, name in rare)
        ),
    ]


def check_splits(
    num_rows: Mapping[SplitName, int],
    label_counts: Mapping[SplitName, Mapping[str, int]] | None,
    left_out: Mapping[SplitName, str],
) -> list[CheckResult]:
    """Return whether every split holds rows and the training rows hold every label.

    Args:
        num_rows: Rows of each split.
        label_counts: Rows of each label in each split; None for a kind without labels.
        left_out: What became of other rows that were given for a split, in words, where something did.
    """
    results = [_at_least(f"{name}_rows", 1, rows, left_out.get(name, "")) for name, rows in num_rows.items()]
    if label_counts is not None:
        unseen = [label for label, count in label_counts["train"].items() if count == 0]
        fewest = min(label_counts["train"].values(), default=0)
        results.append(_at_least("train_rows_per_class", 1, fewest, _name_some(f"none of '{x}'" for x in unseen)))
    return results


def check_near_duplicates(num_train: int, num_validation: int) -> CheckResult:
    """Return whether no training row nearly equals a held-out one, and no validation row a test row."""
    num_found = num_train + num_validation
    return CheckResult(
        name="near_duplicates",
        rule="at most 0",
        value=num_found,
        passed=num_found == 0,
        detail=f"{num_train:,} training rows nearly equal a held-out row, {num_validation:,} validation rows a test "
        "row",
    )


def require_checks(results: Iterable[CheckResult], advice: Mapping[str, str]) -> None:
    """Return when all checks passed.

    Args:
        results: What was checked.
        advice: What to do when a check fails, by its name; in the words of who made the check.

    Raises:
        DataError: some did not; the message lists every one of them.
    """
    failed = [result for result in results if not result.passed]
    if failed:
        lines = [f"data.checks: {r.name}: must be {r.rule}, found {_format(r)}. {advice[r.name]}" for r in failed]
        raise DataError("\n".join(lines))


def warn_of_labels(label_counts: Mapping[SplitName, Mapping[str, int]]) -> list[str]:
    """Return what is odd about the labels of prepared rows, though a model can be trained on them."""
    train = label_counts["train"]
    warnings = warn_of_lookalikes({label: sum(label_counts[split][label] for split in SPLITS) for label in train})
    most, fewest = max(train, key=lambda x: train[x]), min(train, key=lambda x: train[x])
    if train[most] > HEAVY_IMBALANCE * max(1, train[fewest]):
        warnings.append(
            f"data.label: heavy imbalance: {train[most]:,} training rows of '{most}', {train[fewest]:,} of '{fewest}'. "
            "Look at metrics in which each label counts alike, and let rare labels weigh more in training."
        )
    for split in ("validation", "test"):
        if missing := [label for label, count in label_counts[split].items() if count == 0]:
            named = _name_some(f"'{label}'" for label in missing)
            warnings.append(f"data.split: no {split} row of {named}: nothing is measured on these. Add rows.")
    return warnings


ROWS_ADVICE = {
    "null_fraction": "Fill or remove these rows, or raise data.checks.max_null_fraction.",
    "duplicate_fraction": "Remove the repeats at the source, or raise data.checks.max_duplicate_fraction.",
    "rows": "Add rows, or lower data.checks.min_rows.",
    "target_values": "Add rows with other numbers, or check which column is the target.",
    "classes": "Add rows of another label, or check data.label.",
    "rows_per_class": "Add rows of these labels, merge them, or lower data.checks.min_rows_per_class.",
    "train_rows_per_class": "Add rows of these labels to the training source, or enlarge data.split.train.",
    "near_duplicates": "Remove them at the source, or set data.checks.near_duplicates to drop.",
    **{f"{split}_rows": "Change data.split or add rows." for split in SPLITS},
}
"""What to do when a check of rows fails."""


def _format(result: CheckResult) -> str:
    return f"{result.value:g}" + (f" ({result.detail})" if result.detail else "")


def _at_least(name: str, bound: int, value: int, detail: str) -> CheckResult:
    return CheckResult(name=name, rule=f"at least {bound:,}", value=value, passed=value >= bound, detail=detail)


def _at_most(name: str, bound: float, part: int, whole: int, what: str) -> CheckResult:
    share = part / whole if whole else 0.0
    detail = f"{part:,} of {whole:,} rows have {what}"
    return CheckResult(name=name, rule=f"at most {bound:g}", value=share, passed=share <= bound, detail=detail)


def _name_some(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - MOST_NAMED} more" if len(listed) > MOST_NAMED else ""
    return ", ".join(listed[:MOST_NAMED]) + more
