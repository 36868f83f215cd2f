"""What would keep a compiled pipeline from running on a cluster, as far as the spec shows it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from launchyard.errors import SpecError
from launchyard.sources.uri import parse_uri, show_uri
from launchyard.spec.blocks import Product
from launchyard.spec.uris import list_uris


def check_spec_uri(uri: str) -> None:
    """Refuse a place of the spec that steps could not read, or that everybody who sees the pipeline could.

    Raises:
        SpecError: it is malformed, or holds a password or token as it is.
    """
    try:
        found = parse_uri(uri).find_literal_secret()
    except ValueError as err:
        raise SpecError(f"--spec-uri: {err}.") from None
    if found is not None:
        raise SpecError(
            f"--spec-uri: holds {found} as it is, and the pipeline shows it. Write ${{NAME}} in its place, and set the "
            "environment variable NAME in the steps."
        )


def iter_notes(spec: Product, *, snapshot: Path, spec_uri: str | None, image: str) -> Iterator[str]:
    """Yield a line for each thing that only this machine has, or that may change unseen.

    Args:
        spec: The product, with its sources as the user wrote them.
        snapshot: Where the spec's snapshot was written.
        spec_uri: Where the user says that the cluster finds it; None when that was left open.
        image: Image of every step.
    """
    if spec_uri is None:
        yield f"{snapshot} exists only on this machine. Upload it where pods can read it, and name that with --spec-uri"
    for uri in dict.fromkeys(list_uris(spec)):
        if parse_uri(uri).is_on_this_machine:
            yield f"{show_uri(uri)} is a path on this machine, which pods cannot read. Use s3://, https://, hf:// or pypi://"
    if "@sha256:" not in image:
        yield f"{image} is not pinned by digest: a rebuilt image would reuse old steps"
