"""How much of the rows preparation holds in memory at once; the data set is the same whatever that is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BlockSizes:
    """The parts in which rows pass through preparation."""

    table_rows: int = 20_000
    """Rows that are read from a source at once."""
    block_bytes: int = 2**22
    """Rows that are in memory at once, as far as one bucket is not larger."""
    bands_bytes: int = 2**22
    """The part of all bands, which near copies are found by, that is in memory at once."""
    num_pairs: int = 4_096
    """Pairs of perhaps near copies whose texts are compared at once."""


DEFAULT_SIZES = BlockSizes()
