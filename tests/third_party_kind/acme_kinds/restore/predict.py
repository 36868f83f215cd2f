"""The map as serving loads it: a picture in, a picture out."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from acme_kinds.restore.pixels import read_pixels, write_picture
from launchyard.contract.media import Media, MediaTypes
from launchyard.contract.predictor import Device, Output, Schema
from launchyard.contract.rows import Row
from launchyard.errors import BundleError, RequestError

MAP_NAME = "model/map.npz"


class PictureInput(BaseModel):
    """One picture."""

    model_config = ConfigDict(extra="forbid")

    image: Annotated[Media, MediaTypes("image/png")] = Field(description="A picture; it is taken as shades of grey.")


class PictureOutput(BaseModel):
    """The picture without its noise."""

    picture: Annotated[Media, MediaTypes("image/png")]
    change: float = Field(description="How far the shade of a pixel was moved on average, 0 to 1.")


class PicturePredictor:
    """Pictures in, pictures out, one at a time. It explains nothing."""

    input_schema: Schema = PictureInput
    output_schema: Schema = PictureOutput

    def __init__(self, weights_PP: NDArray[np.float64], offset_P: NDArray[np.float64]) -> None:
        self._weights_PP, self._offset_P = weights_PP, offset_P
        self._side = round(len(offset_P) ** 0.5)

    @classmethod
    def load(cls, bundle_dir: Path, device: Device) -> Self:
        path = bundle_dir / MAP_NAME
        try:
            with np.load(path) as arrays:
                return cls(arrays["weights_PP"], arrays["offset_P"])
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as err:
            raise BundleError(f"{path}: cannot be read: {err}. Train the model again.") from err

    def parse(self, raw: object) -> Row:
        try:
            image = PictureInput.model_validate(raw).image
            read_pixels([image.data], self._side)
        except ValidationError as err:
            problem = err.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, problem["loc"])) or "input"
            raise RequestError(f"{where}: {problem['msg']}. Send a PNG as 'image'.") from err
        except OSError as err:
            raise RequestError(f"image: cannot be opened: {str(err)[:100]}. Send a whole PNG.") from err
        return {"image": image}

    def predict(self, rows: Sequence[Row]) -> list[Output]:
        if not rows:
            return []
        noisy_BP = read_pixels([row["image"].data for row in rows], self._side)
        # One by one: a product of matrices rounds a row otherwise than that of one row.
        clean_BP = np.stack([noisy_P @ self._weights_PP for noisy_P in noisy_BP]) + self._offset_P
        return [
            {"picture": Media(write_picture(clean_P), "image/png"), "change": float(np.abs(clean_P - noisy_P).mean())}
            for clean_P, noisy_P in zip(clean_BP.clip(0, 1), noisy_BP, strict=True)
        ]

    def describe(self, row: Row) -> dict[str, float | str]:
        shades_P = read_pixels([row["image"].data], self._side)[0]
        return {"brightness": float(shades_P.mean()), "contrast": float(shades_P.std())}
