"""The reply to the most similar question, word by word."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from launchyard.contract.predictor import Device, Output, Schema, StreamEvent
from launchyard.contract.rows import Row
from launchyard.data.values.redact import clean_text
from launchyard.errors import BundleError, RequestError

INDEX_NAME = "model/replies.json"
MAX_CHARACTERS = 2000
_WORD = re.compile(r"\w+")


class Question(BaseModel):
    """One question."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"question": "How do I begin?"}]})

    question: str = Field(max_length=MAX_CHARACTERS, description="What somebody wants to know.")


class Reply(BaseModel):
    """What a help desk would say."""

    reply: str = Field(description="Empty where no question is similar.")
    similarity: float = Field(ge=0, le=1, description="Cosine similarity to the question that got this reply.")


class Piece(BaseModel):
    """The first event holds the similarity, each other a piece of the reply."""

    text: str
    similarity: float | None = None


class ReplyPredictor:
    """Questions in, replies out, streamed."""

    input_schema: Schema = Question
    output_schema: Schema = Reply
    event_schema: Schema = Piece

    def __init__(self, index: Mapping[str, Any]) -> None:
        self._replies: list[str] = index["replies"]
        self._rarity: dict[str, float] = index["rarity"]
        self._min_similarity: float = index["min_similarity"]
        self._redact = tuple(index["redact"])
        self._subject: str | None = index["subject"]
        self._vectors = [self._embed(question) for question in index["questions"]]
        if self._subject is not None:
            # Who asks has no influence on the reply; feedback is forgotten by it.
            asker: Any = {self._subject: (str | None, None)}
            self.input_schema = create_model("Question", __base__=Question, **asker)

    @classmethod
    def load(cls, bundle_dir: Path, device: Device) -> Self:
        path = bundle_dir / INDEX_NAME
        try:
            return cls(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError) as err:
            raise BundleError(f"{path}: cannot be read: {err!r}. Make the bundle again.") from err

    def parse(self, raw: object) -> Row:
        try:
            asked = self.input_schema.model_validate({"question": raw} if isinstance(raw, str) else raw)
        except ValidationError as err:
            problem = err.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, problem["loc"])) or "input"
            raise RequestError(
                f"{where}: {problem['msg']}. Send a text, or an object with the key 'question'."
            ) from err
        question = clean_text(asked.question, self._redact)[0].strip()
        if not question:
            raise RequestError("question: is empty. Send at least one character that is not white space.")
        asker = None if self._subject is None else getattr(asked, self._subject)
        return {"question": question} if asker is None else {"question": question, str(self._subject): asker}

    def find(self, question: str) -> tuple[str, float]:
        """Return the reply to the most similar question, and how similar that is."""
        asked = self._embed(question)
        similarities = [sum(value * vector.get(word, 0.0) for word, value in asked.items()) for vector in self._vectors]
        best = max(range(len(similarities)), key=similarities.__getitem__)
        similarity = min(1.0, similarities[best])
        return (self._replies[best], similarity) if similarity >= self._min_similarity else ("", similarity)

    async def stream(self, row: Row) -> AsyncIterator[StreamEvent]:
        reply, similarity = self.find(row["question"])
        yield {"text": "", "similarity": similarity}
        for piece in re.findall(r"\S+\s*", reply):
            await asyncio.sleep(0)
            yield {"text": piece, "similarity": None}

    def collect(self, events: Sequence[StreamEvent]) -> Output:
        return {"reply": "".join(event["text"] for event in events), "similarity": events[0]["similarity"]}

    def describe(self, row: Row) -> dict[str, float | str]:
        words = split_words(row["question"])
        unknown = sum(word not in self._rarity for word in words)
        return {"num_words": float(len(words)), "unknown_share": unknown / max(1, len(words))}

    def _embed(self, text: str) -> dict[str, float]:
        counts = Counter(word for word in split_words(text) if word in self._rarity)
        weights = {word: count * self._rarity[word] for word, count in counts.items()}
        length = math.sqrt(sum(value * value for value in weights.values()))
        return {word: value / length for word, value in weights.items()}


def split_words(text: str) -> list[str]:
    """Return the words of a text, in lower case; a name with underscores is several."""
    return _WORD.findall(text.casefold().replace("_", " "))
