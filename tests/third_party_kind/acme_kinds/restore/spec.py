"""The keys of a product.yaml of restored pictures."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from launchyard.spec.blocks import Model, RowData, Train, TrainedProduct


class PictureData(RowData):
    """Pairs of pictures."""

    noisy: str = Field("noisy", description="Column of the files to restore: paths or URIs.")
    clean: str = Field("clean", description="Column of the files as they should be.")


class MapModel(Model):
    """A linear map of all pixels."""

    side: int = Field(8, ge=2, le=32, description="Width and height of a picture in pixels.")
    alpha: float = Field(0.1, gt=0, description="How strongly large weights are held back.")

    def describe(self) -> str:
        """Return what is fitted."""
        return f"linear map of {self.side} x {self.side} pixels"


class RestoreTrain(Train):
    """How the map is fitted."""

    turned_copies: Literal[0, 1, 3] = Field(
        0, description="Copies of each picture to learn from, turned by quarters: 3 of all four sides."
    )


class Restore(TrainedProduct):
    """Pictures without their noise."""

    kind: Literal["acme-restore"] = Field(description="What sort of product it is.")
    data: PictureData = Field(description="Where the pairs of pictures are.")
    model: MapModel = Field(MapModel(), description="What is fitted.")
    train: RestoreTrain = Field(RestoreTrain(), description="How it is fitted.")
