"""Text classification: one label per text, by fine-tuning a transformers encoder or decoder."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from launchyard.kinds.text_classification.rates import describe_rates, find_rates
from launchyard.spec.blocks import (
    Block,
    ClassSources,
    Evaluate,
    Ineffective,
    RowData,
    ScalableTrain,
    Serve,
    TrainedProduct,
    Unit,
    is_set,
)
from launchyard.text.spec import TextModel

Bin = tuple[float | None, float | None]


def _sort_bins(bins: dict[str, Bin]) -> list[tuple[str, Bin]]:
    return sorted(bins.items(), key=lambda item: -math.inf if item[1][0] is None else item[1][0])


class LabelRule(Block):
    """How a column becomes a label: as it is, by ``map``, or by ``bins`` of a number."""

    column: str = Field("label", description="Column that holds the label.")
    map: dict[str, str] | None = Field(None, description="Value -> label; rows of other values are an error.")
    bins: dict[str, Bin] | None = Field(
        None, description="Label -> (low, high], null is unbounded; a value in no bin is an error."
    )

    @model_validator(mode="after")
    def _has_one_form(self) -> Self:
        if self.map is not None and self.bins is not None:
            raise ValueError("map and bins exclude each other. Remove one of them")
        for label, (low, high) in (self.bins or {}).items():
            if low is not None and high is not None and low >= high:
                raise ValueError(f"bin '{label}' is empty: low {low:g} is not below high {high:g}")
        for (left, (_, left_high)), (right, (right_low, _)) in pairwise(_sort_bins(self.bins or {})):
            if left_high is None or right_low is None or left_high > right_low:
                raise ValueError(f"bins '{left}' and '{right}' overlap. Let one end where the other begins")
        return self


class TextData(RowData):
    """Rows of a text and a label."""

    text: str = Field("text", description="Column that holds the text.")
    label: LabelRule = Field(LabelRule(), description="How the label is read.")
    language: str = Field("en", pattern=r"^[a-z]{2,3}$", description="ISO 639 code of the texts, such as en or zh.")
    max_characters: Annotated[int, Unit("characters")] = Field(
        100_000, ge=1, description="Longest text that is accepted; a longer one is an error."
    )

    def find_labels(self) -> tuple[str, ...]:
        """Return the labels, as far as they are known before any row is read; none when the rows say."""
        if isinstance(self.source, ClassSources):
            return tuple(self.source.classes)
        return tuple(self.label.bins or dict.fromkeys((self.label.map or {}).values()))

    @model_validator(mode="after")
    def _reads_what_it_names(self) -> Self:
        if isinstance(self.source, ClassSources) and (self.text, self.label) != ("text", LabelRule()):
            raise ValueError("text and label name columns, and the files of source.classes have none. Remove them")
        return self


class TextTrain(ScalableTrain):
    """Optimisation and what is specific to single-label classification."""

    label_smoothing: float = Field(0.0, ge=0, lt=1, description="Share of each target spread over all labels.")
    class_weights: Literal["balanced"] | dict[str, Annotated[float, Field(gt=0)]] | None = Field(
        None, description="Weight of each label in the loss; balanced: inverse to its frequency."
    )


class Abstain(Block):
    """When the endpoint says that it is not sure; the threshold is chosen on the validation rows."""

    coverage: float = Field(0.95, gt=0, le=1, description="Share of the validation rows that must be answered.")
    accuracy: float | None = Field(
        None, gt=0, le=1, description="Answer only where this accuracy is kept; takes the place of coverage."
    )


class TextEvaluate(Evaluate):
    """What is measured, and when an answer is marked as not sure."""

    abstain: Abstain | None = Field(
        Abstain(), description="When answers are marked as not sure; null: only where a text has nothing to read."
    )


class TextServe(Serve):
    """How the endpoint answers, and what computes its answers."""

    runtime: Literal["auto", "torch", "onnx", "onnx-int8"] = Field(
        "auto",
        description="What computes; auto: the fastest on the CPU within runtime_tolerance, and torch on a GPU.",
    )
    runtime_tolerance: float = Field(0.002, ge=0, description="How much validation accuracy a faster runtime may cost.")


OWN_COLUMNS = ("text", "label", "row_id")
"""Columns that every example has, whatever the source calls them."""


class TextClassification(TrainedProduct):
    """A text classification product."""

    kind: Literal["text-classification"] = Field(description="What sort of product it is.")
    data: TextData = Field(description="Where the rows come from and what they must fulfil.")
    model: TextModel = Field(description="What is trained.")
    train: TextTrain = Field(TextTrain(), description="Optimisation.")
    evaluate: TextEvaluate = Field(TextEvaluate(), description="Measures and gates.")
    serve: TextServe = Field(TextServe(), description="How the endpoint answers.")

    def iter_conflicts(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """Yield each column of a slice, group or time that cannot be read, and a rate that would destroy the base."""
        yield from super().iter_conflicts()
        rates = find_rates(self.train.optimizer, has_adapters=self.model.lora is not None)
        if self.train.learning_rate >= rates.refused:
            usual = describe_rates(self.train.optimizer, rates)
            text = f"{self.train.learning_rate:g} would destroy the base model: {usual}. Lower it"
            yield ("train", "learning_rate"), text
        split = self.data.split
        slices = [(("evaluate", "slices"), name) for name in self.evaluate.slices]
        rules = [(("data", "split", "group"), split.group), (("data", "split", "time"), split.time)]
        for path, name in (*slices, *rules):
            if name is not None and isinstance(self.data.source, ClassSources):
                yield path, f"'{name}' is a column, and the files of source.classes have none. Remove it"
            elif name in OWN_COLUMNS:
                columns = ", ".join(OWN_COLUMNS)
                yield path, f"'{name}' is a column that every example has, as {columns} are. Rename it in the source"

    def iter_ineffective(self) -> Iterator[Ineffective]:
        """Yield each key that was changed from its default although nothing reads it in this spec."""
        yield from super().iter_ineffective()
        abstain, serve = self.evaluate.abstain, self.serve
        if abstain is not None and abstain.accuracy is not None and is_set(abstain, "coverage"):
            yield ("evaluate", "abstain", "coverage"), "evaluate.abstain.accuracy takes its place"
        if serve.runtime != "auto" and is_set(serve, "runtime_tolerance"):
            yield ("serve", "runtime_tolerance"), f"the runtime is set to {serve.runtime}"
        if serve.runtime.startswith("onnx"):
            for name in ("serve", "evaluate"):
                if is_set(getattr(self.resources, name), "gpus"):
                    yield ("resources", name, "gpus"), f"{serve.runtime} computes on the CPU; on a GPU only torch does"

    def name_labels(self) -> dict[str, str]:
        """Return the labels that weights and metrics name."""
        weights = self.train.class_weights
        named = weights if isinstance(weights, dict) else {}
        return {f"train.class_weights.{label}": label for label in named} | super().name_labels()

    @model_validator(mode="after")
    def _names_known_labels(self) -> Self:
        labels = self.data.find_labels()
        unknown = [
            f"{key}: no label is called '{label}'"
            for key, label in self.name_labels().items()
            if labels and label not in labels
        ]
        if unknown:
            raise ValueError(f"{'; '.join(unknown)}. Labels: {', '.join(labels)}")
        return self
