"""What people may say about a reply: the better text."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

from launchyard.contract.feedback import Refusal

MAX_CHARACTERS = 5000


class BetterReply:
    """A text; there are no labels."""

    correction: ClassVar[Any] = str

    @classmethod
    def load(cls, bundle_dir: Path) -> Self:
        return cls()

    def find_refusal(self, *, version: int, label: str | None, correction: Any) -> Refusal | None:
        if label is not None:
            return Refusal("label", "no labels", "label: a reply has none. Send the better reply as 'correction'.")
        if correction is not None and not 0 < len(correction.strip()) <= MAX_CHARACTERS:
            return Refusal(
                "correction",
                "wrong length",
                f"correction: has {len(correction)} characters. Send 1 to {MAX_CHARACTERS}.",
            )
        return None
