"""A predictor of images in and a picture out: it turns each picture's bytes after its head around."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from launchyard.contract.media import Media, MediaTypes
from launchyard.contract.predictor import Device, Output
from launchyard.contract.rows import Row
from launchyard.errors import RequestError

PNG_HEAD = b"\x89PNG\r\n\x1a\n"
PNG = PNG_HEAD + bytes(range(256))
JPEG = b"\xff\xd8\xff\xe0" + b"\r\n--no boundary\r\n" * 3
WAV = b"RIFF\x24\x00\x00\x00WAVEfmt "


class PictureInput(BaseModel):
    model_config = ConfigDict(extra="forbid")

    image: Annotated[Media, MediaTypes("image/png", "image/jpeg")]
    shift: int = 0


class PictureOutput(BaseModel):
    picture: Annotated[Media, MediaTypes("image/png")]
    size_bytes: int


class TurningPredictor:
    input_schema = PictureInput
    output_schema = PictureOutput

    @classmethod
    def load(cls, bundle_dir: Path, device: Device) -> Self:
        return cls()

    def parse(self, raw: object) -> Row:
        try:
            return dict(PictureInput.model_validate(raw))
        except ValidationError as err:
            problem = err.errors(include_url=False, include_input=False)[0]
            raise RequestError(f"{problem['loc']}: {problem['msg']}. Send a picture.") from err

    def predict(self, rows: Sequence[Row]) -> list[Output]:
        return [{"picture": Media(turn(row["image"].data), "image/png"), "size_bytes": row["shift"]} for row in rows]

    def describe(self, row: Row) -> dict[str, float | str]:
        return {"size_bytes": float(len(row["image"].data))}


def turn(data: bytes) -> bytes:
    return PNG_HEAD + data[len(PNG_HEAD) :][::-1]
