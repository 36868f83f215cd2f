"""The block ``data``: where the rows are, how they are divided and what they must fulfil."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from launchyard.spec.blocks.block import Block, Ineffective, SourceUri, Unit, is_set


class SplitSources(Block):
    """One source per split; what is not given is split off ``train``."""

    train: SourceUri = Field(description="Rows to learn from.")
    validation: SourceUri | None = Field(None, description="Rows to choose settings on; default: split off train.")
    test: SourceUri | None = Field(None, description="Rows to report on; default: split off train.")


class ClassSources(Block):
    """One text file per class, one row a line."""

    classes: dict[str, SourceUri] = Field(min_length=1, description="Label -> source of its lines.")


Fraction = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
SplitSize = Annotated[Fraction | Count, Unit("rows or fraction")]


class Split(Block):
    """How rows are divided; counts (integers) or fractions of all rows (numbers below 1)."""

    train: SplitSize = Field(0.8, description="Training rows: a count, or a fraction of all rows.")
    validation: SplitSize = Field(0.1, description="Validation rows: a count or a fraction.")
    test: SplitSize = Field(0.1, description="Test rows: a count or a fraction.")
    seed: int = Field(7, ge=0, description="Seed of the shuffle; the same seed gives the same split anywhere.")
    stratify: bool = Field(True, description="Keep each label's share equal in all splits.")
    group: str | None = Field(None, description="Column whose equal values stay in one split.")
    time: str | None = Field(None, description="Column to order by: oldest rows train, newest rows test.")

    @model_validator(mode="after")
    def _is_divisible(self) -> Self:
        sizes = (self.train, self.validation, self.test)
        if len({type(size) for size in sizes}) > 1:
            found = ", ".join(f"{size:g}" for size in sizes)
            raise ValueError(f"train, validation and test must all be counts or all be fractions, got {found}")
        if sizes[0] < 1 and sum(sizes) > 1 + 1e-9:
            raise ValueError(f"the fractions add up to {sum(sizes):g}, more than 1. Lower one of them")
        if self.group and self.time:
            raise ValueError("group and time exclude each other. Remove one of them")
        return self


class Checks(Block):
    """What the rows must fulfil before anything is trained on them."""

    min_rows: Annotated[int, Unit("rows")] = Field(10, ge=1, description="Fewest rows after cleaning, over all splits.")
    min_rows_per_class: Annotated[int, Unit("rows")] = Field(
        3, ge=1, description="Fewest rows of each label, over all splits."
    )
    max_null_fraction: Annotated[float, Unit("fraction")] = Field(
        0.1, ge=0, le=1, description="Largest share of rows with a null or empty field."
    )
    max_duplicate_fraction: Annotated[float, Unit("fraction")] = Field(
        0.5, ge=0, le=1, description="Largest share of exact duplicates."
    )
    near_duplicates: Literal["drop", "fail", "allow"] = Field(
        "drop",
        description="What to do with a training row that nearly equals a held-out row, and with a validation row that "
        "nearly equals a test row.",
    )


Redaction = Literal["email", "phone", "card", "ip"]
"""A pattern of personal data that is replaced by its name in brackets, such as ``[email]``."""


class Data(Block):
    """Where the rows come from. A kind adds what its columns mean."""

    def describe_split(self) -> str:
        """Return in a few words how the rows are divided."""
        raise NotImplementedError

    def iter_ineffective(self) -> Iterator[Ineffective]:
        """Yield each key that was changed from its default although nothing reads it."""
        yield from ()


class RowData(Data):
    """Rows that stand for themselves: each is checked, cleaned and given to a split alone."""

    source: SourceUri | SplitSources | ClassSources = Field(
        description="Where the rows are: a path or URI, one for each split, or a text file for each class."
    )
    split: Split = Field(Split(), description="How rows are divided into train, validation and test.")
    checks: Checks = Field(Checks(), description="What the rows must fulfil.")
    redact: tuple[Redaction, ...] = Field((), description="Personal data to mask, in training and serving alike.")
    subject: str | None = Field(
        None,
        description="Column of the id of whom a row is about: kept as a pseudonym, so that launchyard forget finds the "
        "rows of a person, and the next training leaves them out.",
    )

    def describe_split(self) -> str:
        """Return the sizes of the splits."""
        sizes = (self.split.train, self.split.validation, self.split.test)
        shown = " / ".join(f"{size:,}" if size >= 1 else f"{size:.0%}" for size in sizes)
        return f"train / validation / test: {shown}"

    def iter_ineffective(self) -> Iterator[Ineffective]:
        """Yield sizes of splits that have sources of their own, and strata and seed where nothing is drawn."""
        split = self.split
        given = []
        if isinstance(self.source, SplitSources) and split.train < 1:
            given = [name for name in ("validation", "test") if getattr(self.source, name) is not None]
        for name in given:
            if is_set(split, name):
                yield ("data", "split", name), f"data.source.{name} gives these rows"
        if given and is_set(split, "train"):
            yield ("data", "split", "train"), "all rows that are not split off are for training"
        rule = "group" if split.group else "time" if split.time else None
        undrawn = "every split has a source of its own" if len(given) == 2 else None
        by_rule = None if rule is None else f"data.split.{rule} divides the rows"
        if is_set(split, "stratify") and (reason := by_rule or undrawn):
            yield ("data", "split", "stratify"), reason
        if is_set(split, "seed") and (reason := by_rule if rule == "time" else undrawn):
            yield ("data", "split", "seed"), reason
