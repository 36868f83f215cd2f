"""What a kind proposes for a table that nobody has described yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

if TYPE_CHECKING:
    import pyarrow as pa

ColumnType = Literal["text", "number", "truth", "time", "other"]


@dataclass(frozen=True)
class ColumnSketch:
    """What the first rows of a table say about one column."""

    name: str
    type: ColumnType
    """``time``: dates and times, however they are written; ``other``: lists, records and bytes."""
    is_whole: bool
    """Whether it holds whole numbers alone."""
    num_values: int
    """Rows with a value."""
    num_distinct: int
    """Values that differ."""
    null_share: float
    """Share of rows without a value, or with a blank one."""
    mean_words: float
    """Words of a value on average; a letter of a script without spaces counts as one."""
    mean_characters: float
    span: tuple[str, str] | None
    """Least and greatest of numbers, first and last of times, as people write them."""

    @property
    def may_hold_ids(self) -> bool:
        """Whether its values are texts or whole numbers, as ids are."""
        return self.type == "text" or (self.type == "number" and self.is_whole)

    @property
    def distinct_share(self) -> float:
        """Share of the values that differ: 1 where no two are alike."""
        return self.num_distinct / max(1, self.num_values)

    @property
    def rows_per_value(self) -> float:
        """How often a value occurs on average."""
        return self.num_values / max(1, self.num_distinct)


@dataclass(frozen=True)
class TableSketch:
    """The first rows of a table, and what they say of its columns."""

    columns: tuple[ColumnSketch, ...]
    rows: pa.Table
    """What was looked at."""
    is_whole: bool
    """Whether the table has no more rows than these."""

    def find(self, name: str) -> ColumnSketch | None:
        """Return the column called ``name``, or None."""
        return next((column for column in self.columns if column.name == name), None)


@dataclass(frozen=True)
class Choice:
    """One thing that somebody may decide otherwise."""

    key: str
    """Key of the spec, such as ``data.text``."""
    question: str
    value: str
    """What is proposed; the empty text where nothing is."""
    others: tuple[str, ...] = ()
    """What else is possible."""

    @classmethod
    def of(cls, key: str, question: str, chosen: ColumnSketch, columns: Sequence[ColumnSketch]) -> Self:
        """Return the choice of one of some columns."""
        return cls(key, question, chosen.name, tuple(column.name for column in columns if column is not chosen))


@dataclass(frozen=True)
class Proposal:
    """A spec for a table, and why."""

    fit: float
    """How well the kind fits the table: above 0, at most 1; 1 where names and values leave no doubt."""
    blocks: Mapping[str, Any]
    """The spec's blocks but api, product, kind and ``data.source``."""
    reasons: Mapping[str, str]
    """Key, such as ``data.text`` -> the evidence for its value, in a few words."""
    choices: tuple[Choice, ...] = ()
    warnings: tuple[str, ...] = field(default=())
    """What looks wrong in the table, each with what to do."""


class ProposeFunction(Protocol):
    """What ``Kind.propose`` names."""

    def __call__(self, table: TableSketch, decided: Mapping[str, str]) -> Proposal | str:
        """Return what to write for a table, or in a clause what it lacks for this kind.

        Args:
            table: Its first rows.
            decided: Key of a choice -> what somebody decided, one of the choice's values.
        """
        ...
