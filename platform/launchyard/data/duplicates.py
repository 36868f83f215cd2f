"""Rows whose content is exactly the same, and what a kind makes of them: see :class:`RowPolicy`.

Where they are noise, one of them stays. Rows of one content with different targets contradict each other: nobody knows
which is right, so none of them is learned from or measured on. A content that is both held out by the user and in the
training source stays where it is held out, in the test rows before the validation rows.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from launchyard.contract.rows import RowPolicy, Target
from launchyard.data.identity import ID_COLUMNS, ID_HIGH, ID_LOW, encode_column, id_halves, mix

GIVEN = "launchyard:given"
"""Column of the split that a row's source was given for: its place in ``dataset.SPLITS``, train when none was."""
ORDER = "launchyard:order"


def settle_duplicates(table: pa.Table, target: Target, policy: RowPolicy) -> tuple[pa.Table, Counter[str]]:
    """Return the rows that a policy leaves, in the order of their identities, and those left out per reason.

    Which of equal rows stays depends on what they hold (held out first, then the smallest values), not on their
    order. Where several rows of one content stay, each gets an identity of its own. ``table`` must hold all rows of
    each identity in it.
    """
    table = _sort(table)
    high_N, low_N = id_halves(table)
    is_first_N = _find_starts(high_N, low_N)
    group_N = np.cumsum(is_first_N) - 1
    conflicts_N = np.zeros(table.num_rows, dtype=bool)
    if target.column is not None and table.num_rows:
        codes_N = (
            encode_column(table[target.column])
            .combine_chunks()
            .dictionary_encode()
            .indices.to_numpy(zero_copy_only=False)
        )
        if policy.conflicts == "drop":
            conflicts_N = _find_conflicts(codes_N, np.flatnonzero(is_first_N))[group_N]
        else:
            # Sorted by all that they hold: of one content, rows of one target stand together.
            is_first_N = _find_starts(high_N, low_N, codes_N)
            group_N = np.cumsum(is_first_N) - 1
    given_N = table[GIVEN].to_numpy()
    is_moved_N = ~is_first_N & (given_N != given_N[is_first_N][group_N])
    stays_N = ~conflicts_N if policy.duplicates == "keep" else is_first_N & ~conflicts_N
    dropped = Counter(
        conflicting_label=int(conflicts_N.sum()),
        held_out_duplicate=int((is_moved_N & ~stays_N & ~conflicts_N).sum()),
        exact_duplicate=int((~is_moved_N & ~stays_N & ~conflicts_N).sum()),
    )
    return _tell_apart(table.filter(pa.array(stays_N))), dropped


def _sort(table: pa.Table) -> pa.Table:
    """Return the rows by identity, the held-out before others, then by all that they hold."""
    rest = [name for name in table.column_names if name not in (*ID_COLUMNS, GIVEN)]
    order = [(name, "ascending") for name in ID_COLUMNS] + [(GIVEN, "descending")]
    # Arrow sorts neither lists nor structs.
    nested = {name: f"{ORDER}:{name}" for name in rest if pa.types.is_nested(table.schema.field(name).type)}
    for name, key in nested.items():
        table = table.append_column(key, encode_column(table[name]))
    order += [(nested.get(name, name), "ascending") for name in rest]
    return table.sort_by(order).drop_columns(list(nested.values())).combine_chunks()


def _find_starts(*columns: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Return where rows begin that differ from the one before them in any column."""
    starts_N = np.ones(len(columns[0]), dtype=bool)
    starts_N[1:] = np.any([column[1:] != column[:-1] for column in columns], axis=0)
    return starts_N


def _find_conflicts(codes_N: NDArray[np.int32], starts_G: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Return, for each of the G groups of equal rows that begin at ``starts_G``, whether their targets differ."""
    differs: NDArray[np.bool_] = np.minimum.reduceat(codes_N, starts_G) != np.maximum.reduceat(codes_N, starts_G)
    return differs


def _tell_apart(table: pa.Table) -> pa.Table:
    """Return the rows with identities that differ, also where several of one content have stayed."""
    high_N, low_N = id_halves(table)
    is_first_N = _find_starts(high_N, low_N)
    if is_first_N.all():
        return table
    places_N = np.arange(len(is_first_N))
    copies_N = places_N - np.maximum.accumulate(np.where(is_first_N, places_N, 0))
    # The first keeps the identity of its content; the n-th has the low half scrambled with n.
    apart_N = np.where(copies_N == 0, low_N, mix(low_N ^ mix(copies_N.astype(np.uint64))))
    place = table.column_names.index(ID_LOW)
    return table.set_column(place, ID_LOW, pa.array(apart_N)).sort_by([(ID_HIGH, "ascending"), (ID_LOW, "ascending")])
