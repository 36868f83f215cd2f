"""What may be said about recommended items."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from launchyard.bundle.feedback import LabelFeedback

Item = Annotated[str, StringConstraints(min_length=1, max_length=512)]


class RightItems(BaseModel):
    """The items that would have been right."""

    model_config = ConfigDict(extra="forbid")

    items: list[Item] = Field(min_length=1, max_length=100, description="Ids of the items, the best first.")


class ItemFeedback(LabelFeedback):
    """Ratings, comments, and as a correction the items that would have been right, new ones too."""

    correction: ClassVar[Any] = RightItems
