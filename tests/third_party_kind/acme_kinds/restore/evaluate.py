"""How restored pictures are measured.

Shapes: B pictures, P pixels of one, R resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from acme_kinds.restore.pixels import read_pixels, write_picture
from acme_kinds.restore.spec import Restore
from launchyard.contract.evaluation import Evaluator
from launchyard.contract.media import Media
from launchyard.contract.predictor import Output
from launchyard.evaluation.figures import Caption, Figure, MediaFigure, Medium
from launchyard.spec.blocks import Product

NUM_SHOWN = 4
NUM_EXAMPLES = 4
SILENCE = 1e-6
"""Mean square error that counts as none: 60 dB."""


@dataclass(frozen=True)
class PictureScores:
    """Restored pictures beside clean ones."""

    clean_BP: NDArray[np.float64]
    given_BP: NDArray[np.float64]

    @property
    def num_rows(self) -> int:
        """Number of pictures."""
        return len(self.clean_BP)

    def metrics(self) -> dict[str, float]:
        """Return every metric."""
        return {name: float(values[0]) for name, values in self.resample(np.ones((1, self.num_rows))).items()}

    def resample(self, weights_RB: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Return every metric of each resample."""
        totals_R = weights_RB.sum(axis=1)
        errors_BP = self.given_BP - self.clean_BP
        return {
            "psnr": weights_RB @ self.measure_psnr() / totals_R,
            "pixel_error": weights_RB @ np.abs(errors_BP).mean(axis=1) / totals_R,
        }

    def measure_psnr(self) -> NDArray[np.float64]:
        """Return the ratio of each picture, in dB, of shape (B,)."""
        squares_B = ((self.given_BP - self.clean_BP) ** 2).mean(axis=1)
        ratios_B: NDArray[np.float64] = -10 * np.log10(np.maximum(squares_B, SILENCE))
        return ratios_B


class PictureEvaluator(Evaluator):
    """Compared with the usual picture, and with the noisy one left as it is."""

    prior_metric = "psnr"
    baseline_name = "the picture as it came"

    def __init__(self, spec: Product, dataset_dir: Path) -> None:
        self.side = cast(Restore, spec).model.side
        self.named = spec.evaluate.slices

    def score(self, rows: pa.Table, outputs: Sequence[Output]) -> PictureScores:
        given = [output["picture"].data for output in outputs]
        return PictureScores(self._read(rows["clean"].to_pylist()), self._read(given))

    def answer_prior(self, train: pa.Table, rows: pa.Table) -> list[Output]:
        usual_P = self._read(train["clean"].to_pylist()).mean(axis=0)
        return [{"picture": Media(write_picture(usual_P), "image/png"), "change": 0.0}] * rows.num_rows

    def answer_baseline(self, train: pa.Table, rows: pa.Table) -> list[Output]:
        return [{"picture": Media(data, "image/png"), "change": 0.0} for data in rows["image"].to_pylist()]

    def slices(self, rows: pa.Table) -> dict[str, list[str]]:
        return {name: [str(value) for value in rows[name].to_pylist()] for name in self.named}

    def figures(self, bundle_dir: Path, rows: pa.Table, outputs: Sequence[Output]) -> list[Figure]:
        worst = np.argsort(self.score(rows, outputs).measure_psnr(), kind="stable")[:NUM_SHOWN].tolist()
        media = []
        for place in worst:
            pictures = (rows["image"][place].as_py(), outputs[place]["picture"].data, rows["clean"][place].as_py())
            captions = (
                Caption(en="noisy", zh="有噪声"),
                Caption(en="restored", zh="修复后"),
                Caption(en="clean", zh="原图"),
            )
            for picture, caption in zip(pictures, captions, strict=True):
                media.append(Medium(content=picture, alt=caption, caption=caption))
        return [
            MediaFigure(
                name="worst_pictures",
                title=Caption(en="Worst pictures", zh="最差的图片"),
                help=Caption(en="Where most noise was left.", zh="残留噪声最多的图片。"),
                media=tuple(media),
            )
        ]

    def choose_examples(self, rows: pa.Table, outputs: Sequence[Output]) -> list[int]:
        return list(range(min(NUM_EXAMPLES, rows.num_rows)))

    def _read(self, pictures: Sequence[bytes]) -> NDArray[np.float64]:
        return read_pixels(pictures, self.side)
