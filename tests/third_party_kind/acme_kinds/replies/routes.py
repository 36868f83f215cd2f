"""A route that the help desk's own programs speak: one prompt, a completion."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from pydantic import BaseModel
from pydantic_core import to_json

from launchyard.contract.routes import Asking, KindRoute, Reply
from launchyard.spec.blocks import Product


class CompletionBody(BaseModel):
    """What is asked."""

    prompt: str
    stream: bool = False


class Completion(BaseModel):
    """What is answered."""

    id: str
    text: str


async def complete(body: CompletionBody, asking: Asking) -> Reply:
    """Answer at once, or bit by bit."""
    row = await asking.parse(body.prompt)
    if not body.stream:
        output = await asking.answer(row)
        return Reply({"id": asking.sign(row), "text": output["reply"]})

    async def write() -> AsyncGenerator[bytes, None]:
        async for event in asking.stream(row):
            yield b"data: " + to_json({"text": event["text"]}) + b"\n\n"
        yield b"data: [DONE]\n\n"

    return Reply(write(), "text/event-stream")


def list_routes(spec: Product) -> Sequence[KindRoute]:
    """Return the one route."""
    return (KindRoute("/v1/complete", "Complete a prompt.", complete, Completion, request=CompletionBody),)
