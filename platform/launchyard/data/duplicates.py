"""Rows whose content is exactly the same.

One of them stays. Rows of one content with different labels contradict each other: nobody knows which label is
right, so none of them is learned from or measured on. A content that is both held out by the user and in the
training source stays where it is held out, in the test rows before the validation rows.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa

from launchyard.data.identity import ID_COLUMNS, id_halves

GIVEN = "launchyard:given"
"""Column of the split that a row's source was given for: its place in ``dataset.SPLITS``, train when none was."""


def drop_duplicates(table: pa.Table, label_column: str | None) -> tuple[pa.Table, Counter[str]]:
    """Return the distinct rows in the order of their identities, and the rows left out per reason.

    Which of equal rows stays depends on what they hold (held out first, then the smallest values), not on their
    order. ``table`` must hold all rows of each identity in it.
    """
    rest = [name for name in table.column_names if name not in (*ID_COLUMNS, GIVEN)]
    order = [(name, "ascending") for name in ID_COLUMNS] + [(GIVEN, "descending")]
    table = table.sort_by(order + [(name, "ascending") for name in rest]).combine_chunks()
    high_N, low_N = id_halves(table)
    is_first_N = np.ones(table.num_rows, dtype=bool)
    is_first_N[1:] = (high_N[1:] != high_N[:-1]) | (low_N[1:] != low_N[:-1])
    group_N = np.cumsum(is_first_N) - 1
    conflicts_N = _find_conflicts(table, label_column, np.flatnonzero(is_first_N))[group_N]
    given_N = table[GIVEN].to_numpy()
    is_moved_N = ~is_first_N & (given_N != given_N[is_first_N][group_N])
    dropped = Counter(
        conflicting_label=int(conflicts_N.sum()),
        held_out_duplicate=int((is_moved_N & ~conflicts_N).sum()),
        exact_duplicate=int((~is_first_N & ~is_moved_N & ~conflicts_N).sum()),
    )
    return table.filter(pa.array(is_first_N & ~conflicts_N)), dropped


def _find_conflicts(table: pa.Table, label_column: str | None, starts_G: np.ndarray) -> np.ndarray:
    """Return, for each of the G groups of equal rows that begin at ``starts_G``, whether their labels differ."""
    if label_column is None or not len(starts_G):
        return np.zeros(len(starts_G), dtype=bool)
    codes_N = table[label_column].combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
    differs: np.ndarray = np.minimum.reduceat(codes_N, starts_G) != np.maximum.reduceat(codes_N, starts_G)
    return differs
