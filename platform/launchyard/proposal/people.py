"""Which column of a table says who a row is about."""

from __future__ import annotations

from launchyard.contract.proposals import ColumnSketch, TableSketch
from launchyard.proposal.sketch import split_name

PEOPLE = {
    "user", "customer", "client", "person", "member", "visitor", "account", "author", "patient", "subject",
    "student", "employee", "buyer", "reviewer", "reader", "viewer", "session", "player", "subscriber", "worker",
}  # fmt: skip
"""Words of a column's name that say so."""
TRAITS = {"type", "segment", "group", "age", "country", "city", "gender", "status", "level", "tier", "count", "score"}
"""Words of a column's name that say something about people, but not who they are."""
LEAST_PEOPLE = 10
LEAST_ROWS_EACH = 1.2
"""Rows of each on average; fewer make no difference to a split."""
LONGEST_WORDS = 4.0


def find_people(table: TableSketch) -> list[ColumnSketch]:
    """Return the columns whose name says that they name somebody, those with ids first."""
    found = [column for column in table.columns if _is_person(column)]
    return sorted(found, key=lambda column: "id" not in split_name(column.name))


def describe_people(column: ColumnSketch) -> str:
    """Return the evidence, in a few words."""
    return f"{column.num_distinct:,} of them, {column.rows_per_value:.1f} rows each"


def _is_person(column: ColumnSketch) -> bool:
    words = split_name(column.name)
    return (
        bool(PEOPLE & words)
        and not TRAITS & words
        and column.may_hold_ids
        and column.num_distinct >= LEAST_PEOPLE
        and column.rows_per_value >= LEAST_ROWS_EACH
        and column.mean_words <= LONGEST_WORDS
    )
