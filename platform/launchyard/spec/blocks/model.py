"""The block ``model``: what is trained."""

from __future__ import annotations

from pydantic import Field

from launchyard.sources.uri import show_uri
from launchyard.spec.blocks.block import Block, SourceUri


class Model(Block):
    """What is trained. A kind adds its architecture's keys."""

    @property
    def base_uri(self) -> str | None:
        """Where the pretrained model is that training starts from; None when it starts from nothing."""
        return None

    def describe(self) -> str:
        """Return what is trained, in a few words."""
        raise NotImplementedError


class PretrainedModel(Model):
    """A model that starts from another one."""

    base: SourceUri = Field(description="The pretrained model to start from: a path or URI.")

    @property
    def base_uri(self) -> str | None:
        """Where the pretrained model is."""
        return self.base

    def describe(self) -> str:
        """Return where the pretrained model is."""
        return show_uri(self.base)
