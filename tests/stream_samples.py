"""A predictor that streams: it says a text word by word, and tests hold it where they want."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict
from pydantic_core import to_json

from launchyard.contract.predictor import Device, Output, StreamEvent
from launchyard.contract.routes import Asking, KindRoute, Reply
from launchyard.contract.rows import Row
from launchyard.errors import RequestError
from launchyard.spec.blocks import Product


class SayInput(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"text": "one two"}]})

    text: str


class SayOutput(BaseModel):
    text: str
    num_words: int


class Word(BaseModel):
    word: str


class SayingPredictor:
    """Says each word of a text; at the word ``fail`` it fails, at ``wait`` it waits until it is cancelled."""

    input_schema = SayInput
    output_schema = SayOutput
    event_schema = Word

    def __init__(self) -> None:
        self.num_running = 0
        self.most_running = 0
        self.ended: list[str] = []
        self.is_closed = False

    @classmethod
    def load(cls, bundle_dir: Path, device: Device) -> Self:
        return cls()

    def parse(self, raw: object) -> Row:
        text = raw.get("text") if isinstance(raw, dict) else raw
        if not isinstance(text, str) or not text:
            raise RequestError(f"text: must be a text, got {type(text).__name__}. Send a text.")
        return {"text": text}

    def describe(self, row: Row) -> dict[str, float | str]:
        return {"num_words": float(len(row["text"].split()))}

    async def stream(self, row: Row) -> AsyncIterator[StreamEvent]:
        self.num_running += 1
        self.most_running = max(self.most_running, self.num_running)
        try:
            for word in row["text"].split():
                await asyncio.sleep(0)
                if word == "fail":
                    raise ValueError("no such word")
                if word == "wait":
                    await asyncio.Event().wait()
                yield {"word": word}
        finally:
            await asyncio.sleep(0)
            self.num_running -= 1
            self.ended.append(row["text"])

    def collect(self, events: Sequence[StreamEvent]) -> Output:
        return {"text": " ".join(event["word"] for event in events), "num_words": len(events)}

    def close(self) -> None:
        self.is_closed = True


class SayBody(BaseModel):
    prompt: str
    stream: bool = False


async def say(body: SayBody, asking: Asking) -> Reply:
    """Answer as another protocol would."""
    row = await asking.parse(body.prompt)
    if not body.stream:
        output = await asking.answer(row)
        return Reply({"id": asking.sign(row), "said": output["text"]})

    async def write() -> AsyncGenerator[bytes, None]:
        async for event in asking.stream(row):
            yield b"data: " + to_json(event) + b"\n\n"
        yield b"data: [DONE]\n\n"

    return Reply(write(), "text/event-stream")


def list_routes(spec: Product) -> Sequence[KindRoute]:
    async def list_models(_body: None, _asking: Asking) -> Reply:
        return Reply({"models": [spec.product]})

    def write_error(status: int, detail: str) -> object:
        return {"error": {"code": status, "message": detail}}

    return (
        KindRoute("/v1/say", "Say it.", say, SayOutput, request=SayBody, event=Word, write_error=write_error),
        KindRoute("/v1/models", "What there is.", list_models, SayOutput),
    )
