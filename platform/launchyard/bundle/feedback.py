"""Feedback by label: what most kinds take, and what others add corrections to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from launchyard.bundle.manifest import parse_file
from launchyard.contract.feedback import Refusal
from launchyard.data.manifest import MANIFEST_NAME, DatasetManifest
from launchyard.errors import BundleError


class LabelFeedback:
    """A label of the version that answered; any, where it has none. No corrections."""

    correction: ClassVar[Any] = None

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = tuple(labels)

    @classmethod
    def load(cls, bundle_dir: Path) -> Self:
        """Return the rules of a bundle's labels; of one that is gone, rules by which any label will do."""
        try:
            return cls(parse_file(bundle_dir, MANIFEST_NAME, DatasetManifest).labels)
        except BundleError:
            return cls(())

    def find_refusal(self, *, version: int, label: str | None, correction: Any) -> Refusal | None:
        """Return why a label is not taken, or None."""
        if not self.labels or label is None or label in self.labels:
            return None
        return Refusal(
            "label",
            "unknown label",
            f"label: '{label}' is none of the labels of version {version}, which answered. "
            f"Use one of: {', '.join(self.labels)}.",
        )
