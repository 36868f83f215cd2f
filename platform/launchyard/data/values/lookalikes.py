"""Labels that a person would take for one another: they differ in case, white space or characters that nobody sees."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping

from launchyard.data.values.canonical import format_id
from launchyard.data.values.redact import quote_value

MOST_NAMED = 5
HIDDEN = ("Cc", "Cf")
"""Categories of characters without a glyph: controls and formats, such as a zero-width space."""


def warn_of_lookalikes(counts: Mapping[str, int]) -> list[str]:
    """Return a warning for labels that look alike, with the rows of each; characters that nobody sees are shown."""
    groups: dict[str, list[str]] = {}
    for label in sorted(counts):
        groups.setdefault(fold_label(label), []).append(label)
    alike = [group for group in groups.values() if len(group) > 1]
    if not alike:
        return []
    pairs = [" and ".join(f"{quote_value(label)} ({counts[label]:,} rows)" for label in group) for group in alike]
    more = f"; and {len(alike) - MOST_NAMED:,} more" if len(alike) > MOST_NAMED else ""
    return [
        f"data.label: labels that look alike: {'; '.join(pairs[:MOST_NAMED])}{more}. If they mean the same, write them "
        "as one, or merge them with data.label.map."
    ]


def fold_label(label: str) -> str:
    r"""Return what is left of a label without differences that are hard to see.

    >>> fold_label("Very  Good\u200b") == fold_label("very good"), fold_label("1.0")
    (True, '1')
    """
    folded = unicodedata.normalize("NFKC", label).casefold()
    shown = "".join(letter for letter in folded if letter.isspace() or unicodedata.category(letter) not in HIDDEN)
    return format_id(" ".join(shown.split())) or ""
