"""Which pictures the self-test takes for equal: compressed in two ways they are the same picture still."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from PIL import Image


def compare_pictures(expected: Any, given: Any, tolerance: float) -> str | None:
    """Return in words how far two restored pictures lie apart, where that is more than ``tolerance``."""
    shades = []
    for answer in (expected, given):
        with Image.open(io.BytesIO(base64.b64decode(answer["picture"]))) as picture:
            shades.append(np.asarray(picture.convert("L"), dtype=np.float64) / 255)
    if shades[0].shape != shades[1].shape:
        return f"answer.picture has {shades[1].shape} pixels, expected {shades[0].shape}"
    difference = float(np.abs(shades[0] - shades[1]).mean())
    if difference <= max(tolerance, 1 / 255):
        return None
    return f"answer.picture differs by {difference:.3f} of the range of shades"
