"""Whom a row is about: the one place that knows, for the endpoint and batch prediction alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launchyard.privacy.pseudonyms import FORMER_USERS, USER, list_pseudonyms, name_user

if TYPE_CHECKING:
    from launchyard.contract.rows import Row
    from launchyard.kind import Kind
    from launchyard.spec.blocks import Product


def find_subject(_kind: Kind, _spec: Product, row: Row) -> str | None:
    """Return whom a row is about, as :func:`name_subject` left it; None for nobody in particular."""
    subject: str | None = row.get(USER)
    return subject


def name_subject(kind: Kind, spec: Product, row: Row, key: bytes, *, has_former_ids: bool = False) -> Row:
    """Return the row with a pseudonym in place of the own id of whom it is about, which goes no further than here.

    Args:
        kind: The product's kind, which says whom its rows are about.
        spec: The product.
        row: A parsed input.
        key: The namespace's key.
        has_former_ids: Whether the rows are of a file, whose ids may stand in the home under any of their former forms.
    """
    if not has_former_ids:
        return name_user(key, spec.product, row)
    subject = find_subject(kind, spec, row)
    if subject is None:
        return row
    pseudonym, *formers = list_pseudonyms(key, spec.product, subject)
    return {**row, USER: pseudonym, FORMER_USERS: formers}
