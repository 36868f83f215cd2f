"""The linear map, in closed form.

Shapes: B pictures, P pixels of one.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import pyarrow.parquet as pq

from acme_kinds.restore.evaluate import PictureScores
from acme_kinds.restore.pixels import read_pixels
from acme_kinds.restore.predict import MAP_NAME
from acme_kinds.restore.spec import Restore
from launchyard.contract.training import FitContext, FitResult
from launchyard.errors import TrainError
from launchyard.training.context import TrainJob


def fit_map(context: FitContext, job: TrainJob) -> FitResult:
    """Fit the map and measure it on the validation rows."""
    spec = cast(Restore, job.spec)
    side = spec.model.side
    pixels = {}
    for step, split in enumerate(("train", "validation")):
        context.progress(step, 3, f"reading the pictures of {split}")
        rows = pq.read_table(job.dataset_dir / f"{split}.parquet", columns=["image", "clean"])
        try:
            pixels[split] = [read_pixels(rows[name].to_pylist(), side) for name in ("image", "clean")]
        except OSError as err:
            raise TrainError(f"data.noisy: a picture cannot be opened: {err}. Leave it out.") from err
    noisy_BP, clean_BP = (_turn(part, side, spec.train.turned_copies) for part in pixels["train"])
    context.progress(2, 3, f"solving for {side**2} x {side**2} weights")
    mean_P, clean_mean_P = noisy_BP.mean(axis=0), clean_BP.mean(axis=0)
    centred_BP = noisy_BP - mean_P
    gram_PP = centred_BP.T @ centred_BP + spec.model.alpha * np.eye(side**2)
    weights_PP = np.linalg.solve(gram_PP, centred_BP.T @ (clean_BP - clean_mean_P))
    (job.output_dir / "model").mkdir(parents=True, exist_ok=True)
    offset_P = clean_mean_P - mean_P @ weights_PP
    np.savez(job.output_dir / MAP_NAME, weights_PP=weights_PP, offset_P=offset_P)
    noisy_BP, clean_BP = pixels["validation"]
    scores = PictureScores(clean_BP, (noisy_BP @ weights_PP + offset_P).clip(0, 1))
    return FitResult(
        model_type="linear-map",
        num_samples=len(pixels["train"][0]),
        validation=scores.metrics(),
        num_parameters=weights_PP.size + offset_P.size,
    )


def _turn(shades_BP: np.ndarray, side: int, copies: int) -> np.ndarray:
    squares = shades_BP.reshape(-1, side, side)
    turns = {0: [0], 1: [0, 2], 3: [0, 1, 2, 3]}[copies]
    return np.concatenate([np.rot90(squares, turn, axes=(1, 2)) for turn in turns]).reshape(-1, side * side)
