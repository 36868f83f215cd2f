"""The block ``tune``: a search over keys of ``model`` and ``train``."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from launchyard.spec.blocks.block import HEADLINE, Block, Unit


class Range(Block):
    """Numbers to search between."""

    min: float = Field(description="Smallest value.")
    max: float = Field(description="Largest value.")
    log: bool = Field(False, description="Sample orders of magnitude alike.")
    step: float | None = Field(None, gt=0, description="Distance between candidates.")

    @model_validator(mode="after")
    def _is_ordered(self) -> Self:
        if self.min >= self.max:
            raise ValueError(f"min must be below max, got {self.min:g} and {self.max:g}")
        if self.log and (self.min <= 0 or self.step is not None):
            raise ValueError("log needs min above 0 and no step")
        if self.step is not None and self.step > self.max - self.min:
            raise ValueError(f"step {self.step:g} is more than max - min, so there is one candidate. Lower it")
        return self


class Choice(Block):
    """Values to choose from."""

    values: tuple[bool | int | float | str | None, ...] = Field(min_length=2, description="Candidates.")

    @model_validator(mode="after")
    def _is_a_choice(self) -> Self:
        if len({(type(value), value) for value in self.values}) < 2:
            raise ValueError("all values are alike, so every trial would be the same. Give two or more")
        return self


class Tune(Block):
    """A search over keys of ``model`` and ``train``; the best trial becomes the training configuration."""

    metric: str = Field(HEADLINE, description=f"Validation metric to optimise; {HEADLINE}: the kind's own.")
    mode: Literal["auto", "max", "min"] = Field(
        "auto", description="Whether more or less is better; auto: as it is with this metric."
    )
    trials: Annotated[int | None, Unit("trials")] = Field(None, ge=1, description="Budget in trials.")
    minutes: Annotated[float | None, Unit("minutes")] = Field(None, gt=0, description="Budget in minutes.")
    concurrent: Annotated[int, Unit("trials")] = Field(1, ge=1, description="Trials at the same time.")
    grace_epochs: Annotated[int, Unit("epochs")] = Field(1, ge=1, description="Epochs that no trial is stopped before.")
    reduction_factor: int = Field(3, ge=2, description="ASHA keeps one of this many trials at each rung.")
    seed: int = Field(7, ge=0, description="Seed of the search.")
    parameters: dict[str, Range | Choice] = Field(
        min_length=1, description="Spec key such as train.learning_rate -> what to search."
    )

    @model_validator(mode="after")
    def _has_a_budget(self) -> Self:
        if self.trials is None and self.minutes is None:
            raise ValueError("give a budget: trials, minutes, or both")
        for key in self.parameters:
            if not key.startswith(("model.", "train.")):
                raise ValueError(f"'{key}' cannot be tuned. Keys start with 'model.' or 'train.'")
        return self
