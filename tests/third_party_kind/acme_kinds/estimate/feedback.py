"""What people may say about an estimate: the number that it came to."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar, Self

from launchyard.contract.feedback import Refusal


class TrueNumber:
    """A number; there are no labels."""

    correction: ClassVar[Any] = float

    @classmethod
    def load(cls, bundle_dir: Path) -> Self:
        return cls()

    def find_refusal(self, *, version: int, label: str | None, correction: Any) -> Refusal | None:
        if label is not None:
            return Refusal("label", "no labels", "label: an estimate has none. Send the true number as 'correction'.")
        if correction is not None and not math.isfinite(correction):
            return Refusal("correction", "not finite", f"correction: is {correction}. Send a finite number.")
        return None
