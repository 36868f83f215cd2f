"""What people may say about a picture: how good it is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field

from launchyard.contract.feedback import Refusal


class Rating(BaseModel):
    """Stars, and why."""

    model_config = ConfigDict(extra="forbid")

    stars: Annotated[int, Field(ge=1, le=5)]
    why: str = Field("", max_length=500)


class Stars:
    """A rating; there are no labels."""

    correction: ClassVar[Any] = Rating

    @classmethod
    def load(cls, bundle_dir: Path) -> Self:
        return cls()

    def find_refusal(self, *, version: int, label: str | None, correction: Any) -> Refusal | None:
        if label is None:
            return None
        return Refusal("label", "no labels", "label: a picture has none. Send a rating as 'correction'.")
