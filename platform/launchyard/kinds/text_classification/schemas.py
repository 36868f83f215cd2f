"""What a text classifier accepts and answers."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator

EXAMPLES = ("A warm, funny film.", "It broke after two days, and nobody answers.", "味道很好，下次还会来。")


class TextInput(BaseModel):
    """One text to classify: ``{"text": ...}``, or the text alone."""

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"examples": [{"text": text} for text in EXAMPLES]}
    )

    text: str = Field(min_length=1, description="The text, as a person wrote it.")

    @model_validator(mode="before")
    @classmethod
    def _accept_a_plain_text(cls, value: object) -> object:
        return {"text": value} if isinstance(value, str) else value


class WordAttribution(BaseModel):
    """A word of the text and how much it speaks for the label."""

    word: str
    start: int = Field(description="First character of the word in `text`.")
    end: int = Field(description="Character after the word.")
    attribution: float = Field(description="What the word adds to the label's logit; negative: it speaks against.")


class TextExplanation(BaseModel):
    """Why the model answered so: integrated gradients (Sundararajan et al. 2017), added up per word."""

    text: str = Field(description="The text as the model saw it, personal data masked.")
    target: str = Field(description="The label that is explained.")
    words: list[WordAttribution]
    delta: float = Field(description="Attributions minus the logit's true change: near 0 when they can be trusted.")


class TextOutput(BaseModel):
    """The answer to one text."""

    model_config = ConfigDict(extra="forbid")

    label: str = Field(description="The most probable label.")
    scores: dict[str, float] = Field(description="Calibrated probability of each label; they add up to 1.")
    confidence: float = Field(ge=0, le=1, description="Probability of `label`.")
    abstained: bool = Field(
        description="True: the model is not sure, or the text has nothing to read or is unlike what was trained on."
    )
    explanation: TextExplanation | None = Field(None, description="Only in answers of explain.")
