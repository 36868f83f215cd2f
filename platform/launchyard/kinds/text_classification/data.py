"""How source rows become examples: a cleaned text, a label, and the columns that slices and splits need."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from launchyard.contract.rows import RowPolicy, Target
from launchyard.data.intake import REDACTED
from launchyard.data.values.canonical import format_id
from launchyard.data.values.columns import hide_values, number_row, read_numbers, read_text, read_times, require_values
from launchyard.data.values.redact import clean_text
from launchyard.errors import DataError, SpecError
from launchyard.kinds.text_classification.spec import Bin, LabelRule, TextClassification
from launchyard.spec.blocks import ClassSources, Product
from launchyard.text.language import check_script

LEAK_SHARE = 0.9
"""Share of texts with their own label in them beyond which it is no coincidence of the language."""
SHORTEST_LEAK = 3
"""Shorter labels, such as 0 or no, stand in most texts by chance."""
_FRACTION = re.compile(r"-?[0-9]+\.[0-9]*[1-9]0*")


class TextRecipe:
    """Examples of text classification: columns ``text`` and ``label``, the slices, and the group or time."""

    content_columns: tuple[str, ...] = ("text",)
    target = Target("class", "label")
    policy = RowPolicy(duplicates="drop", conflicts="drop", near_copies="words")

    def __init__(self, spec: Product) -> None:
        """Take what the spec says about columns.

        Raises:
            SpecError: it is of another kind, or a slice, group or time column has the name of an example's column.
        """
        if not isinstance(spec, TextClassification):
            raise SpecError(f"kind: text-classification was asked for, found '{spec.kind}'. Use that kind's recipe.")
        self._data = spec.data
        self._slices = tuple(dict.fromkeys(spec.evaluate.slices))

    def source_columns(self) -> tuple[str, ...]:
        """Return the columns of text, label, slices, group and time."""
        if isinstance(self._data.source, ClassSources):
            return ("text", "label")
        split = self._data.split
        named = (self._data.text, self._data.label.column, *self._slices, split.group, split.time)
        return tuple(dict.fromkeys(name for name in named if name is not None))

    def file_columns(self) -> Mapping[str, tuple[str, ...]]:
        """Return none: no column names files."""
        return {}

    def convert(self, batch: pa.Table) -> pa.Table:
        """Return the examples of one batch; texts are cleaned exactly as serving cleans them.

        Slices are cleaned, too. A group is kept as a digest: who it is does not matter, and it may be a person.

        Raises:
            DataError: a text is too long, or a label or time cannot be read.
        """
        is_lines = isinstance(self._data.source, ClassSources)
        text_column, label_column = ("text", "label") if is_lines else (self._data.text, self._data.label.column)
        texts = read_text(batch, text_column, key="data.text")
        self._check_lengths(texts, batch)
        masked: Counter[str] = Counter()
        columns = {
            "text": self._clean(texts, masked),
            "label": self._clean(read_labels(batch, label_column, self._data.label), masked),
        }
        split = self._data.split
        if split.group is not None:
            columns[split.group] = hide_values(batch, split.group, key="data.split.group")
        if split.time is not None:
            columns[split.time] = pa.array(read_times(batch, split.time, key="data.split.time"), from_pandas=True)
        for name in self._slices:
            if name != split.time:
                columns[name] = self._clean(read_text(batch, name, key="evaluate.slices"), masked)
        return pa.table(columns | self._count_in_first_row(masked, batch.num_rows))

    def inspect(self, sample: pa.Table) -> list[str]:
        """Return a warning when the texts are in another script than the language, or spell out their label."""
        warnings = (check_script(sample["text"], self._data.language), _find_leak(sample))
        return [warning for warning in warnings if warning is not None]

    def _clean(self, values: pa.Array, masked: Counter[str]) -> pa.Array:
        """Return cleaned texts, empty ones as null; replacements are added to ``masked``."""
        cleaned: list[str | None] = []
        for value in values.to_pylist():
            text, counts = clean_text(value or "", self._data.redact)
            masked.update(counts)
            cleaned.append(text if text.strip() else None)
        return pa.array(cleaned, pa.string())

    def _count_in_first_row(self, masked: Counter[str], num_rows: int) -> dict[str, pa.Array]:
        """Return one column of counts per pattern; only their sum means something."""
        return {
            REDACTED + pattern: pa.array([masked[pattern], *[0] * (num_rows - 1)][:num_rows], pa.int64())
            for pattern in self._data.redact
        }

    def _check_lengths(self, texts: pa.Array, batch: pa.Table) -> None:
        lengths = pc.fill_null(pc.utf8_length(texts), 0).to_numpy()
        too_long = np.flatnonzero(lengths > self._data.max_characters)
        if len(too_long):
            raise DataError(
                f"data.text: row {number_row(batch, int(too_long[0]))} has {lengths[too_long[0]]:,} characters, more "
                f"than {self._data.max_characters:,}. Shorten the text, or raise data.max_characters."
            )


def read_labels(batch: pa.Table, column: str, rule: LabelRule) -> pa.Array:
    """Return the label of each row as text without white space around it; numbers become text, nulls stay.

    Raises:
        DataError: values are in no bin or not in the map; the message names them and their rows.
    """
    if rule.bins is not None:
        return _read_bins(batch, column, rule.bins)
    values = pc.utf8_trim_whitespace(read_text(batch, column, key="data.label"))
    if rule.map is None:
        return values
    labels = _map_labels(values, rule.map)
    is_blank = pc.fill_null(pc.equal(values, ""), True).to_numpy(zero_copy_only=False)
    is_mapped = np.array([label is not None for label in labels], dtype=bool)
    known = ", ".join(map(repr, rule.map))
    require_values(is_blank | is_mapped, batch, column, f"data.label.map: knows only {known}")
    return pa.array(labels, pa.string())


def _map_labels(values: pa.Array, labels: dict[str, str]) -> list[str | None]:
    """Return what a map makes of each value: by the key that is written as the value is, or else that means the same.

    A spec's keys are texts, so a truth or number in them may be written in another way than the rows': True and
    ``true``, 1.0 and 1.
    """
    alike = {_read_key(key): label for key, label in reversed(labels.items())}
    found = {value: labels.get(value, alike.get(_read_key(value))) for value in pc.unique(values).to_pylist() if value}
    return [found.get(value) for value in values.to_pylist()]


def _read_key(text: str) -> str:
    plain = format_id(text) or ""
    if plain.lower() in ("true", "false"):
        return plain.lower()
    return plain.rstrip("0") if _FRACTION.fullmatch(plain) else plain


def _read_bins(batch: pa.Table, column: str, bins: dict[str, Bin]) -> pa.Array:
    numbers_N = read_numbers(batch, column, key="data.label.bins")
    labels_N = np.full(len(numbers_N), None, dtype=object)
    for label, (low, high) in bins.items():
        is_above_N = np.full(len(numbers_N), True) if low is None else numbers_N > low
        labels_N[is_above_N & (numbers_N <= (np.inf if high is None else high))] = label
    is_binned_N = np.array([label is not None for label in labels_N], dtype=bool)
    require_values(is_binned_N | np.isnan(numbers_N), batch, column, "data.label.bins: no bin holds the value")
    return pa.array(labels_N, pa.string())


def _find_leak(sample: pa.Table) -> str | None:
    """Return a warning when nearly every text contains its own label as written."""
    pairs = list(zip(sample["text"].to_pylist(), sample["label"].to_pylist(), strict=True))
    num_named = sum(len(label) >= SHORTEST_LEAK and label.casefold() in text.casefold() for text, label in pairs)
    if not pairs or num_named <= LEAK_SHARE * len(pairs):
        return None
    return (
        f"data.text: {num_named / len(pairs):.0%} of the texts contain their own label. "
        "Remove it from the text unless users will write it, too."
    )
