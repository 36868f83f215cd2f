"""Records of what was measured; written beside the model and shown wherever a figure is shown."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from launchyard.evaluation.figures import Figure, Series
from launchyard.stored import Stored, rename_key

TRAINING_NAME = "training.json"
TUNE_NAME = "tune.json"


class Measure(Stored):
    """A metric with its bootstrap interval and the rows it stands on."""

    value: float
    low: float
    high: float
    n: int


class Rival(Stored):
    """A model that another one is compared with."""

    role: Literal["champion", "baseline", "prior"]
    name: str = Field(description="In words, such as 'champion v3'.")


class GateResult(Stored):
    """One rule and what it made of the model."""

    metric: str
    rule: str
    value: float | None = Field(description="None when the metric is undefined on these rows; the gate then fails.")
    passed: bool
    difference: Measure | None = Field(
        None, description="Model minus the model it is compared with, on the same resamples of the same rows."
    )
    problem: str = Field("", description="Why two models could not be compared, in words.")
    rival: Rival | None = Field(None, description="What the model is compared with; None for a plain rule.")


class SliceResult(Stored):
    """The metrics of the test rows that share one value."""

    slice: str
    value: str
    metrics: dict[str, Measure]


class Latency(Stored):
    """Time of one single-row prediction in process, in milliseconds, over ``n`` timed calls."""

    p50_ms: float
    p95_ms: float
    p99_ms: float
    n: int
    threads: int


class RuntimeCandidate(Stored):
    """One way of computing the model, what it costs and whether it kept the quality."""

    name: str = Field(description="torch, onnx or onnx-int8.")
    p50_ms: float | None = None
    quality: float | None = Field(None, description="The kind's headline metric on the validation rows.")
    size_bytes: int | None = None
    chosen: bool = False
    reason: str = Field("", description="Why it was chosen or not, in words.")

    @model_validator(mode="before")
    @classmethod
    def _read_former_name(cls, value: object) -> object:
        return rename_key(value, "accuracy", "quality")


class Abstention(Stored):
    """Below ``threshold`` the endpoint says that it is not sure; measured on the test rows."""

    threshold: float
    temperature: float = Field(1.0, description="Logits are divided by it before the softmax.")
    coverage: float = Field(description="Share of the test rows that are answered.")
    quality: float = Field(description="The kind's headline metric on the rows that are answered.")
    n: int

    @model_validator(mode="before")
    @classmethod
    def _read_former_name(cls, value: object) -> object:
        return rename_key(value, "accuracy", "quality")


class TrainingRecord(Stored):
    """How a model came about, whatever it learned by: written by training as ``TRAINING_NAME``."""

    model_type: str = Field(description="Architecture family, such as bert.")
    num_parameters: int | None = Field(description="Numbers that the model holds; None where that says nothing.")
    num_samples: int = Field(description="Rows that were learned from, repeats counted.")
    seconds: float
    device: str
    validation: dict[str, float]
    warnings: tuple[str, ...] = ()


class GradientRecord(TrainingRecord):
    """How a model came about that learned by gradient descent."""

    num_trained_parameters: int
    num_steps: int
    samples_per_second: float
    precision: str
    workers: int
    best_step: int
    stopped_early: bool
    resumed_from_step: int | None = None
    fresh_weights: tuple[str, ...] = Field((), description="Parameters that the base model did not hold.")
    curves: tuple[Series, ...]


class TrialResult(Stored):
    """One trial of a search."""

    number: int
    parameters: dict[str, bool | int | float | str | None]
    metric: float | None
    epochs: float
    status: str = Field(description="completed, stopped or failed.")
    seconds: float


class TuneRecord(Stored):
    """A search: written by tuning as ``TUNE_NAME``."""

    metric: str
    mode: str
    best: dict[str, bool | int | float | str | None]
    best_metric: float
    trials: tuple[TrialResult, ...]


class Evaluation(Stored):
    """Everything evaluate measured, on the exact files that serving loads."""

    metrics: dict[str, dict[str, Measure]] = Field(description="Split (validation, test) -> metric -> measure.")
    baseline_name: str = ""
    baseline: dict[str, Measure] = Field({}, description="The cheap baseline on the test rows.")
    baseline_omitted: str = Field("", description="Why there is no baseline, in words that end a sentence.")
    prior: dict[str, Measure] = Field({}, description="The commonest answer on the test rows.")
    prior_omitted: str = Field("", description="Why there is no prior, in words that end a sentence.")
    champion_version: int | None = None
    champion: dict[str, Measure] = Field({}, description="The champion on the test rows that it was not trained on.")
    slices: tuple[SliceResult, ...] = ()
    latency: Latency
    runtimes: tuple[RuntimeCandidate, ...] = ()
    abstention: Abstention | None = None
    gates: tuple[GateResult, ...]
    figures: tuple[Annotated[Figure, Field(discriminator="type")], ...] = ()
    notes: tuple[str, ...] = Field((), description="What could not be measured, and why; shown beside the figures.")

    @property
    def passed(self) -> bool:
        """Whether every gate passed; a model without gates passes."""
        return all(gate.passed for gate in self.gates)
