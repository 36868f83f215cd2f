"""Reading the sources of a product: each row becomes an example, is counted, identified and put on disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from launchyard.contract.rows import MapBatches, Recipe
from launchyard.data.duplicates import GIVEN
from launchyard.data.files import FileLoader
from launchyard.data.identity import identify_rows
from launchyard.data.manifest import SPLITS, SourceRecord, SplitName
from launchyard.data.progress import PrepareProgress
from launchyard.data.sizes import DEFAULT_SIZES, BlockSizes
from launchyard.data.spool import Inbox
from launchyard.data.subjects import SubjectNamer, SubjectRecipe
from launchyard.data.values.columns import ROW_NUMBER
from launchyard.settings import Settings
from launchyard.sources.forms.tables import iter_class_tables, iter_tables
from launchyard.sources.resolve import Fetched, fetch
from launchyard.spec.blocks import ClassSources, Product, RowData, SplitSources

REDACTED = "redacted:"
"""Start of the names of example columns that count masked personal data; the pattern's name follows."""


@dataclass
class Intake:
    """What was read."""

    sources: list[SourceRecord] = field(default_factory=list)
    num_read: int = 0
    num_null: int = 0
    """Rows left out because a column that every example needs is null or empty."""
    num_forgotten: int = 0
    """Rows left out because whom they are about is forgotten."""
    column_nulls: Counter[str] = field(default_factory=Counter)
    redactions: Counter[str] = field(default_factory=Counter)
    lost_files: str = ""
    """Which files that rows name are missing or of another type, in words."""


def map_in_process(recipe: Recipe, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Yield the examples of each table, computed in this process."""
    return map(recipe.convert, tables)


@dataclass(frozen=True)
class Reader:
    """Reads the sources of one product."""

    spec: Product
    settings: Settings
    base_dir: Path
    recipe: Recipe
    map_batches: MapBatches
    watch: PrepareProgress
    sizes: BlockSizes = DEFAULT_SIZES

    @property
    def data(self) -> RowData:
        """What the spec says about the rows."""
        return cast(RowData, self.spec.data)

    @property
    def required_columns(self) -> tuple[str, ...]:
        """Columns that every example needs: its content, label, and its group or time."""
        split = self.data.split
        named = (*self.recipe.content_columns, self.recipe.target.column, split.group, split.time)
        return tuple(dict.fromkeys(name for name in named if name is not None))

    @property
    def given_splits(self) -> tuple[SplitName, ...]:
        """Splits that have a source of their own; what has none is split off train."""
        source = self.data.source
        if not isinstance(source, SplitSources):
            return ("train",)
        return tuple(name for name in SPLITS if getattr(source, name) is not None)

    def read(self, inbox: Inbox) -> Intake:
        """Put the examples of all sources into ``inbox`` and return what was read.

        Raises:
            DataError: a value cannot become an example.
            SourceError: a source cannot be fetched or read, or holds no rows.
        """
        intake = Intake()
        recipe, namer = self.recipe, None
        if self.data.subject is not None:
            recipe = SubjectRecipe(recipe, self.data.subject)
            namer = SubjectNamer(self.settings, self.spec, self.data.subject)
        files = FileLoader(self.settings, recipe.file_columns())
        for given, tables in self._open_sources(intake, recipe, files):
            for examples in self.map_batches(recipe, tables):
                complete = self._count(examples, intake)
                if namer is not None:
                    complete = namer.name(complete)
                    intake.num_forgotten = namer.num_forgotten
                places = pa.array(np.full(complete.num_rows, SPLITS.index(given), dtype=np.uint8))
                inbox.add(identify_rows(complete, self.recipe.content_columns).append_column(GIVEN, places))
                if self.watch.on_rows is not None:
                    self.watch.on_rows(intake.num_read)
        intake.lost_files = files.describe_lost()
        return intake

    def _open_sources(
        self, intake: Intake, recipe: Recipe, files: FileLoader
    ) -> Iterator[tuple[SplitName, Iterable[pa.Table]]]:
        """Yield the split that each source is given for (train where none is named) and its rows, numbered."""
        source = self.data.source
        if isinstance(source, ClassSources):
            classes = {label: self._fetch(uri, intake) for label, uri in source.classes.items()}
            yield "train", number_rows(iter_class_tables(classes))
            return
        parts = source if isinstance(source, SplitSources) else SplitSources(train=source, validation=None, test=None)
        given: dict[SplitName, str | None] = {
            "train": parts.train,
            "validation": parts.validation,
            "test": parts.test,
        }
        rows = self.sizes.table_rows
        for name, uri in given.items():
            if uri is not None:
                fetched = self._fetch(uri, intake)
                tables = number_rows(iter_tables(fetched, recipe.source_columns(), batch_rows=rows))
                yield name, files.load(tables, fetched) if files.columns else tables

    def _fetch(self, uri: str, intake: Intake) -> Fetched:
        fetched = fetch(uri, self.settings, base_dir=self.base_dir, on_progress=self.watch.on_download)
        intake.sources.append(fetched.record)
        return fetched

    def _count(self, examples: pa.Table, intake: Intake) -> pa.Table:
        """Return the complete rows without the columns that only count."""
        for name in [name for name in examples.column_names if name.startswith(REDACTED)]:
            intake.redactions[name.removeprefix(REDACTED)] += pc.sum(examples[name]).as_py() or 0
            examples = examples.drop_columns(name)
        is_complete_N = np.ones(examples.num_rows, dtype=bool)
        for name in examples.column_names:
            is_valid_N = pc.is_valid(examples[name]).to_numpy()
            if name == self.recipe.target.column and self.recipe.target.type == "number":
                # Nothing can be learned from an answer that is no number, or infinite.
                is_valid_N = is_valid_N & pc.fill_null(pc.is_finite(examples[name]), False).to_numpy()
            intake.column_nulls[name] += int((~is_valid_N).sum())
            if name in self.required_columns:
                is_complete_N &= is_valid_N
        intake.num_read += examples.num_rows
        intake.num_null += int((~is_complete_N).sum())
        return examples.filter(pa.array(is_complete_N))


def number_rows(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Yield the tables of one source with the number of each row."""
    num_read = 0
    for table in tables:
        numbers = np.arange(num_read + 1, num_read + 1 + table.num_rows)
        num_read += table.num_rows
        yield table.append_column(ROW_NUMBER, pa.array(numbers))
