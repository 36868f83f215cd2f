"""Whom the rows of ``data.subject`` are about: read beside what a kind reads, and a pseudonym before the disk."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import closing
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from launchyard.contract.rows import Recipe
from launchyard.data.values.columns import read_ids
from launchyard.privacy.pseudonyms import list_pseudonyms
from launchyard.records.events import EventLog
from launchyard.records.records import opening_records
from launchyard.settings import Settings
from launchyard.spec.blocks import Product


class SubjectRecipe:
    """A kind's recipe, whose examples say beside all else whom they are about, by the own id. Picklable."""

    def __init__(self, recipe: Recipe, column: str) -> None:
        self._recipe = recipe
        self._column = column
        self.content_columns = recipe.content_columns
        self.target = recipe.target
        self.policy = recipe.policy

    def source_columns(self) -> tuple[str, ...]:
        """Return the columns of the kind, and that of the subject."""
        return tuple(dict.fromkeys((*self._recipe.source_columns(), self._column)))

    def file_columns(self) -> Mapping[str, tuple[str, ...]]:
        """Return those of the kind."""
        return self._recipe.file_columns()

    def convert(self, batch: pa.Table) -> pa.Table:
        """Return the kind's examples with the ids of their subjects, null where there is none.

        They take the place of a column of that name, such as a group: people are told apart by one word.
        """
        examples = self._recipe.convert(batch)
        ids = read_ids(batch, self._column, key="data.subject")
        if self._column in examples.column_names:
            examples = examples.drop_columns(self._column)
        return examples.append_column(self._column, ids)

    def inspect(self, sample: pa.Table) -> list[str]:
        """Return what looks wrong to the kind."""
        return self._recipe.inspect(sample)


class SubjectNamer:
    """Puts pseudonyms in the place of own ids, and leaves out rows of people who are forgotten."""

    def __init__(self, settings: Settings, spec: Product, column: str) -> None:
        with opening_records(settings) as records, closing(EventLog(settings, spec.product)) as log:
            self._list = partial(list_pseudonyms, records.get_signing_key(), spec.product)
            self._forgotten: Collection[str] = log.forgotten().keys()
        self._column = column
        self.num_forgotten = 0
        """Rows that were left out."""

    def name(self, examples: pa.Table) -> pa.Table:
        """Return the rows of all others, each with a pseudonym; a null stays one."""
        ids = examples[self._column].combine_chunks().dictionary_encode()
        known = [self._list(text) for text in ids.dictionary.to_pylist()]
        # Older code may have noted a person under another form of the id.
        is_forgotten = pa.array([not names.isdisjoint(self._forgotten) for names in map(set, known)], pa.bool_())
        leaves = pc.fill_null(is_forgotten.take(ids.indices), False)
        named = pa.array([names[0] for names in known], pa.string()).take(ids.indices)
        place = examples.column_names.index(self._column)
        self.num_forgotten += leaves.true_count
        return examples.set_column(place, self._column, named).filter(pc.invert(leaves))
