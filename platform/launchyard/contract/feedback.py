"""What a person may say about an answer: a kind says what a correction holds, and which labels there are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self


@dataclass(frozen=True)
class Refusal:
    """Why feedback is not taken."""

    field: str
    """The field that is wrong, such as ``label``."""
    problem: str
    """What is wrong with it, in two or three words."""
    detail: str
    """The whole message: what is wrong, what was found, what to do."""


class FeedbackRules(Protocol):
    """What may be said about the answers of one version."""

    correction: ClassVar[Any]
    """Type of what was right where a label cannot say it: a number, a better text, or a pydantic model of a span or a
    ranking. A correction is checked against it strictly and kept as JSON. None: there are no corrections."""

    @classmethod
    def load(cls, bundle_dir: Path) -> Self:
        """Return the rules of the version whose bundle this is; of a bundle that is gone, rules that let it pass.

        Takes milliseconds: the model is not loaded for it.
        """
        ...

    def find_refusal(self, *, version: int, label: str | None, correction: Any) -> Refusal | None:
        """Return why feedback on an answer of ``version`` is not taken, or None.

        Args:
            version: The version that answered.
            label: The label that was right; None where none is given.
            correction: Of the right form, as JSON; None where none is given.
        """
        ...
