"""The keys of a product.yaml of replies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from launchyard.spec.blocks import Ineffective, Model, Product, RowData, StreamServe


class ReplyData(RowData):
    """Questions and the replies they got."""

    question: str = Field("question", description="Column of the questions.")
    reply: str = Field("reply", description="Column of the replies.")


class ReplyModel(Model):
    """How replies are found."""

    min_similarity: float = Field(
        0.1, ge=0, le=1, description="Below this cosine similarity no question is similar, and there is no reply."
    )

    def describe(self) -> str:
        """Return how replies are found."""
        return "the reply to the most similar question"


class Replies(Product):
    """Replies to questions, from those that were given before."""

    kind: Literal["acme-replies"] = Field(description="What sort of product it is.")
    data: ReplyData = Field(description="Where questions and replies are.")
    model: ReplyModel = Field(ReplyModel(), description="How replies are found.")
    serve: StreamServe = Field(StreamServe(), description="How the endpoint answers.")

    def iter_ineffective(self) -> Iterator[Ineffective]:
        """Yield the keys that nothing reads: there are no labels, and questions are answered one by one."""
        yield from super().iter_ineffective()
        if self.serve.max_batch_size != StreamServe().max_batch_size:
            yield ("serve", "max_batch_size"), "answers are streamed, each by itself"
