"""The spec of a model that reads texts: how it is loaded, cut to length and adapted."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from launchyard.spec.blocks import Block, PretrainedModel, Unit


class Lora(Block):
    """Low-rank adapters (Hu et al. 2021): train a few added weights instead of all."""

    rank: int = Field(8, ge=1, description="Rank of the added matrices.")
    alpha: float = Field(16, gt=0, description="Scale; the update is multiplied by alpha / rank.")
    dropout: float = Field(0.05, ge=0, lt=1, description="Dropout before the adapters.")
    target_modules: tuple[str, ...] | None = Field(
        None, description="Layers to adapt; default: the family's attention."
    )


class TextModel(PretrainedModel):
    """A transformers model with a sequence-classification head."""

    max_length: Annotated[int, Unit("tokens")] = Field(
        128, ge=4, le=32768, description="Longest input in tokens, special tokens included."
    )
    truncation: Literal["head", "tail", "head+tail"] = Field("head", description="Which part of a longer text is kept.")
    dropout: float | None = Field(None, ge=0, lt=1, description="Dropout; default: the base model's.")
    lora: Lora | None = Field(None, description="Train low-rank adapters instead of all weights.")
