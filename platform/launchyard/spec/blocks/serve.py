"""The block ``serve``: how the endpoint answers."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from launchyard.spec.blocks.block import Block, Unit


class Replicas(Block):
    """How many copies answer requests."""

    min: Annotated[int, Unit("replicas")] = Field(1, ge=1, description="Copies that always run.")
    max: Annotated[int, Unit("replicas")] = Field(1, ge=1, description="Copies under load.")

    @model_validator(mode="after")
    def _is_ordered(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min must not exceed max, got {self.min} and {self.max}")
        return self


Swap = Literal["load-beside", "unload-first"]


class Serve(Block):
    """How the endpoint answers."""

    replicas: Replicas = Field(Replicas(), description="Copies of the model.")
    max_batch_size: Annotated[int, Unit("rows")] = Field(
        32, ge=1, le=4096, description="Most rows in one forward pass."
    )
    max_inputs: Annotated[int, Unit("inputs")] = Field(1000, ge=1, description="Most inputs in one request.")
    max_body_bytes: Annotated[int, Unit("bytes")] = Field(
        4 * 2**20, ge=1024, description="Largest request body, bytes."
    )
    timeout_s: Annotated[float, Unit("seconds")] = Field(
        10.0, gt=0, description="Deadline of one request; of a streamed answer, of each of its events."
    )
    swap: Swap = Field(
        "load-beside",
        description="How a new version takes the old one's place. load-beside: no request waits, and both are in "
        "memory for a moment; unload-first: the old one goes first, and until the new one is loaded the answer is 503.",
    )


class StreamServe(Serve):
    """How an endpoint answers whose kind streams; a kind's spec class puts it in the place of ``Serve``."""

    max_streams: Annotated[int, Unit("streams")] = Field(
        16, ge=1, description="Most inputs that are answered at the same time; more requests are answered 429."
    )
