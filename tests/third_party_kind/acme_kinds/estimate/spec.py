"""The keys of a product.yaml of estimates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, Self

from pydantic import Field, model_validator

from launchyard.spec.blocks import Ineffective, Model, RowData, Train, TrainedProduct


class EstimateData(RowData):
    """Measurements and what they came to."""

    features: tuple[str, ...] = Field(min_length=1, description="Columns of the measurements.")
    target: str = Field("target", description="Column of the number to estimate.")

    @model_validator(mode="after")
    def _is_no_feature(self) -> Self:
        if self.target in self.features:
            raise ValueError(f"target '{self.target}' is one of the features. Remove it there")
        return self


class RidgeModel(Model):
    """A weighted sum."""

    alpha: float = Field(1.0, ge=0, description="How strongly large weights are held back.")

    def describe(self) -> str:
        """Return what is fitted."""
        return f"ridge regression, alpha {self.alpha:g}"


class Estimate(TrainedProduct):
    """A number from measurements."""

    kind: Literal["acme-estimate"] = Field(description="What sort of product it is.")
    data: EstimateData = Field(description="Where the measurements are.")
    model: RidgeModel = Field(RidgeModel(), description="What is fitted.")
    train: Train = Field(Train(), description="How it is fitted.")

    def iter_ineffective(self) -> Iterator[Ineffective]:
        """Yield the seed: nothing is drawn at random."""
        yield from super().iter_ineffective()
        if self.train.seed != Train().seed:
            yield ("train", "seed"), "a closed form draws nothing at random"
