"""Whom a row is about: the one place that knows, for the endpoint and batch prediction alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launchyard.privacy.pseudonyms import list_pseudonyms, pseudonymise, pseudonymise_as_written

if TYPE_CHECKING:
    from launchyard.contract.rows import Row
    from launchyard.spec.blocks import Product

FORMER_IDS = "former_ids"
"""Key of a row that names its subject by other forms of the id: the pseudonyms of these may be what is known."""


def find_subject(spec: Product, row: Row) -> str | None:
    """Return whom a row is about, as :func:`name_subject` left it; None for nobody in particular."""
    subject: str | None = None if spec.subject is None else row.get(spec.subject)
    return subject


def name_subject(spec: Product, row: Row, key: bytes, *, has_former_ids: bool = False) -> Row:
    """Return the row with a pseudonym in place of the own id of whom it is about, which goes no further than here.

    Args:
        spec: The product, which says whom its rows are about.
        row: A parsed input.
        key: The namespace's key.
        has_former_ids: Whether the rows are of a file, whose ids may stand in the home under any of their former forms.
    """
    subject = find_subject(spec, row)
    if spec.subject is None or subject is None:
        return row
    if has_former_ids:
        pseudonym, *formers = list_pseudonyms(key, spec.product, subject)
        return {**row, spec.subject: pseudonym, FORMER_IDS: tuple(formers)}
    named = {**row, spec.subject: pseudonymise(key, spec.product, subject)}
    if FORMER_IDS in row:
        named[FORMER_IDS] = tuple(pseudonymise_as_written(key, spec.product, form) for form in row[FORMER_IDS])
    return named
