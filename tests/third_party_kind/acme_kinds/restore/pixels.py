"""Pictures as numbers.

Shapes: B pictures, P pixels of one.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def read_pixels(pictures: Sequence[bytes], side: int) -> NDArray[np.float64]:
    """Return the shades of grey, 0 to 1, of shape (B, P); pictures of another size are scaled.

    Raises:
        OSError: one is no picture.
    """
    shades_BP = np.empty((len(pictures), side * side))
    for number, data in enumerate(pictures):
        with Image.open(io.BytesIO(data)) as picture:
            grey = picture.convert("L")
            if grey.size != (side, side):
                grey = grey.resize((side, side))
            shades_BP[number] = np.asarray(grey, dtype=np.float64).ravel() / 255
    return shades_BP


def write_picture(shades_P: NDArray[np.float64]) -> bytes:
    """Return a square picture as PNG."""
    side = round(len(shades_P) ** 0.5)
    file = io.BytesIO()
    Image.fromarray((shades_P.clip(0, 1) * 255).round().astype(np.uint8).reshape(side, side)).save(file, "PNG")
    return file.getvalue()
