"""The models of a recommender, one block each; ``model.architecture`` tells them apart.

All learn from the same interactions and answer through the same scorer, so a product changes its architecture by one
word. A block has only the keys that its model reads.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from launchyard.spec.blocks import Model, SourceUri, Unit

CHOICE = "Which model: popularity, item-knn, ease, content, lightgcn or sasrec."
Dim = Annotated[int, Unit("numbers")]


class Architected(Model):
    """A model that is told from the others by ``architecture``."""

    architecture: str

    def describe(self) -> str:
        """Return the architecture and what was set of it."""
        given = ", ".join(f"{name} {getattr(self, name)}" for name in self.model_fields_set - {"architecture"})
        return f"{self.architecture} {given}".strip()


class Popularity(Architected):
    """The items that most people took, the same for everyone: a baseline, and the answer for those without history."""

    architecture: Literal["popularity"] = Field(description=CHOICE)
    half_life_days: Annotated[float | None, Unit("days")] = Field(
        None, gt=0, description="An event this old counts half; null: all events count alike."
    )


class ItemKnn(Architected):
    """Items that the same people took (Sarwar et al. 2001): cosine of item columns, sparse, for any catalogue."""

    architecture: Literal["item-knn"] = Field(description=CHOICE)
    neighbours: Annotated[int, Unit("items")] = Field(100, ge=1, le=10_000, description="Similar items kept per item.")
    shrinkage: Annotated[float, Unit("users")] = Field(
        10.0, ge=0, description="Added to each denominator, so that few shared users make no neighbours."
    )


class Ease(Architected):
    """A linear model of all item pairs in closed form (Steck 2019); strong up to some ten thousand items."""

    architecture: Literal["ease"] = Field(description=CHOICE)
    l2: float = Field(500.0, gt=0, le=1e9, description="Regularisation; more of it for fewer users.")


class Content(Architected):
    """Items by their text, so that a new item can be recommended at once; the history's newest items count most."""

    architecture: Literal["content"] = Field(description=CHOICE)
    base: SourceUri | None = Field(
        None, description="Sentence encoder of the text, a path or URI; null: weighted words and characters."
    )
    dim: Dim = Field(64, ge=4, le=4096, description="Size of item and history vectors.")
    half_life: Annotated[float, Unit("events")] = Field(
        5.0, gt=0, description="An event this many events ago counts half of the newest."
    )
    negatives: Annotated[int | None, Unit("items")] = Field(
        None,
        ge=1,
        description="Sampled items that each next item is told from (sampled softmax, for large catalogues); "
        "null: all items (full softmax).",
    )

    @property
    def base_uri(self) -> str | None:
        """Where the sentence encoder is."""
        return self.base


class LightGcn(Architected):
    """Vectors of users and items, averaged over their neighbours in the graph (He et al. 2020)."""

    architecture: Literal["lightgcn"] = Field(description=CHOICE)
    dim: Dim = Field(64, ge=4, le=4096, description="Size of user and item vectors.")
    layers: Annotated[int, Unit("layers")] = Field(
        2, ge=0, le=8, description="Steps through the graph; 0 is matrix factorisation with BPR (Rendle et al. 2009)."
    )
    negatives: Annotated[int, Unit("items")] = Field(
        1, ge=1, le=1000, description="Sampled items that each taken item is to rank above."
    )


class SasRec(Architected):
    """A causal transformer that predicts the next item of each history (Kang and McAuley 2018)."""

    architecture: Literal["sasrec"] = Field(description=CHOICE)
    dim: Dim = Field(64, ge=4, le=4096, description="Size of item vectors and hidden states.")
    layers: Annotated[int, Unit("layers")] = Field(2, ge=1, le=24, description="Attention blocks.")
    heads: Annotated[int, Unit("heads")] = Field(2, ge=1, le=64, description="Attention heads; they divide dim.")
    max_length: Annotated[int, Unit("events")] = Field(
        100, ge=2, le=4096, description="Newest events that the model looks at."
    )
    dropout: float = Field(0.2, ge=0, lt=1, description="Share of hidden numbers dropped in training.")
    negatives: Annotated[int | None, Unit("items")] = Field(
        None,
        ge=1,
        description="Sampled items that each next item is told from (sampled softmax, for large catalogues); "
        "null: all items (full softmax).",
    )

    @model_validator(mode="after")
    def _heads_divide_dim(self) -> Self:
        if self.dim % self.heads:
            raise ValueError(f"heads must divide dim, got {self.heads} heads and dim {self.dim}")
        return self


Architecture = Popularity | ItemKnn | Ease | Content | LightGcn | SasRec
ARCHITECTURES = Annotated[Architecture, Field(discriminator="architecture")]
"""Type of the ``model`` block."""
