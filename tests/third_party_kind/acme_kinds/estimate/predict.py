"""A fitted ridge regression as serving loads it.

Shapes: B rows, F features.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, create_model
from pydantic.config import JsonDict

from launchyard.contract.predictor import Device, Output, Schema
from launchyard.contract.rows import Row
from launchyard.errors import BundleError, RequestError
from launchyard.files.atomic import write_text
from launchyard.stored import Stored

MODEL_NAME = "model/ridge.json"


class EstimateModel(Stored):
    """The weights, and what they belong to."""

    features: tuple[str, ...]
    subject: str | None
    means: tuple[float, ...]
    weights: tuple[float, ...]
    offset: float = Field(description="The estimate where every feature has its mean.")

    def save(self, folder: Path) -> None:
        """Write the model below ``folder``."""
        (folder / MODEL_NAME).parent.mkdir(parents=True, exist_ok=True)
        write_text(folder / MODEL_NAME, self.model_dump_json(indent=2))

    def weigh(self, features_BF: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what each feature adds to each estimate, of shape (B, F)."""
        added_BF: NDArray[np.float64] = (features_BF - np.array(self.means)) * np.array(self.weights)
        return added_BF

    def compute(self, features_BF: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the estimates, of shape (B,)."""
        estimates_B: NDArray[np.float64] = self.weigh(features_BF).sum(axis=1) + self.offset
        return estimates_B


class EstimateOutput(BaseModel):
    """A number."""

    estimate: float
    contributions: dict[str, float] | None = Field(None, description="What each feature adds to the usual number.")


class EstimatePredictor:
    """Measurements in, numbers out; what may be sent is what the model was fitted on."""

    output_schema: Schema = EstimateOutput

    def __init__(self, model: EstimateModel) -> None:
        self.model = model
        fields: dict[str, Any] = dict.fromkeys(model.features, (FiniteFloat, ...))
        if model.subject is not None:
            fields[model.subject] = (str | None, None)
        example: JsonDict = {name: round(mean, 2) for name, mean in zip(model.features, model.means, strict=True)}
        config = ConfigDict(extra="forbid", json_schema_extra={"examples": [example]})
        self.input_schema: Schema = create_model("Measurements", __config__=config, **fields)

    @classmethod
    def load(cls, bundle_dir: Path, device: Device) -> Self:
        path = bundle_dir / MODEL_NAME
        try:
            return cls(EstimateModel.model_validate_json(path.read_text(encoding="utf-8")))
        except (OSError, ValidationError) as err:
            raise BundleError(f"{path}: cannot be read: {err}. Train the model again.") from err

    def parse(self, raw: object) -> Row:
        try:
            row: Row = self.input_schema.model_validate(raw).model_dump(exclude_none=True)
        except ValidationError as err:
            problem = err.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, problem["loc"])) or "input"
            names = ", ".join(self.model.features)
            raise RequestError(f"{where}: {problem['msg']}. Send an object with the numbers {names}."[:290]) from err
        return row

    def predict(self, rows: Sequence[Row]) -> list[Output]:
        return [{"estimate": float(value)} for value in self.model.compute(self._stack(rows))]

    def explain(self, rows: Sequence[Row]) -> list[Output]:
        names, added_BF = self.model.features, self.model.weigh(self._stack(rows))
        return [
            {**output, "contributions": dict(zip(names, added_F.tolist(), strict=True))}
            for output, added_F in zip(self.predict(rows), added_BF, strict=True)
        ]

    def describe(self, row: Row) -> dict[str, float | str]:
        return {name: float(row[name]) for name in self.model.features}

    def _stack(self, rows: Sequence[Row]) -> NDArray[np.float64]:
        return np.array([[row[name] for name in self.model.features] for row in rows]).reshape(len(rows), -1)
