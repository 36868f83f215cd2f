"""How a kind's rows come about: the recipe, what identifies a row, and preparation of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from launchyard.data.manifest import DatasetManifest
    from launchyard.data.progress import PrepareProgress
    from launchyard.settings import Settings
    from launchyard.spec.blocks import Product

Row = Mapping[str, Any]
"""One example or one parsed request input, as column -> value."""


@dataclass(frozen=True)
class RowNames:
    """What identifies some rows, whatever split they are in: a row may be several things, such as events."""

    places: NDArray[np.intp]
    """The row that each name belongs to."""
    names: Sequence[str]
    owners: Sequence[str] | None
    """The pseudonym of whom each name is about; None for rows that are about nobody in particular."""
    is_of_owner: bool = True
    """Whether one name is another thing for each owner, as an event is; a text is the same, whoever wrote it."""


@dataclass(frozen=True)
class Target:
    """What a model learns to answer, and the column of an example that holds it.

    Only a class is a label: its values are counted and checked, and splits keep its shares. A number must be finite.
    """

    type: Literal["class", "number", "ranking", "sequence", "several", "none"]
    column: str | None = None
    """None where no single column holds it, as with a ranking, or where there is nothing to learn."""

    def __post_init__(self) -> None:
        """Refuse a class or number of which nobody knows where it stands."""
        if self.type in ("class", "number") and self.column is None:
            raise ValueError(f"a target of type '{self.type}' needs a column. Name it")

    @property
    def label_column(self) -> str | None:
        """Column of the labels; None for a target that is no class."""
        return self.column if self.type == "class" else None


@dataclass(frozen=True)
class RowPolicy:
    """What rows of equal content are to a kind: noise, as with texts, or signal, as with measurements."""

    duplicates: Literal["drop", "keep"]
    """Whether of rows that are wholly equal one stays, or all."""
    conflicts: Literal["drop", "keep"]
    """Whether rows of equal content with different targets contradict each other, so that none stays."""
    near_copies: Literal["words", "none"]
    """By what rows of two splits nearly equal each other: by the words of their content, or never."""


class Recipe(Protocol):
    """How a kind turns source rows into example rows. Picklable: workers run it, batch by batch."""

    content_columns: tuple[str, ...]
    """Columns of an example that make it what it is: equal content is equal, whatever the target."""
    target: Target
    policy: RowPolicy

    def __init__(self, spec: Product) -> None: ...

    def source_columns(self) -> tuple[str, ...]:
        """Return the source columns that :meth:`convert` reads; no other column is loaded."""
        ...

    def file_columns(self) -> Mapping[str, tuple[str, ...]]:
        """Return which source columns name files, by path or URI, and the media types that these may have; none: any.

        :meth:`convert` gets the files' bytes in them, and null for what is missing or of another type.
        """
        ...

    def convert(self, batch: pa.Table) -> pa.Table:
        """Return the examples of one batch, row by row: pure, order kept, nulls kept as nulls.

        The batch holds the source columns and ``data.columns.ROW_NUMBER``. Masked personal data is counted in columns
        named ``data.intake.REDACTED`` and the pattern, which preparation sums up and leaves out.

        Raises:
            DataError: a value cannot become an example; the message names it and its row.
        """
        ...

    def inspect(self, sample: pa.Table) -> list[str]:
        """Return what looks wrong about some training examples, though a model can be trained on them."""
        ...


MapBatches = Callable[[Recipe, "Iterable[pa.Table]"], "Iterator[pa.Table]"]
"""Turns source tables into examples, in order. Where one batch ends and the next begins may change on the way."""


@dataclass(frozen=True)
class PrepareJob:
    """One preparation: what a kind needs that divides its rows itself."""

    spec: Product
    settings: Settings
    base_dir: Path
    """Folder that relative sources start from."""
    output_dir: Path
    """Becomes the data set; an older one is replaced."""
    map_batches: MapBatches
    """What runs the kind's recipe over the source tables: in this process, or in several for many rows."""
    watch: PrepareProgress


class PrepareFunction(Protocol):
    """Preparation of a kind whose rows depend on each other, such as the events of one user."""

    def __call__(self, job: PrepareJob) -> DatasetManifest:
        """Write the prepared data set, whole or not at all, and return its manifest.

        Raises:
            DataError: the rows are not fit to train on.
            SourceError: a source cannot be fetched or read.
        """
        ...
