"""Ridge regression in closed form (Hoerl and Kennard 1970).

Shapes: B rows, F features.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from acme_kinds.estimate.evaluate import EstimateScores
from acme_kinds.estimate.predict import EstimateModel
from acme_kinds.estimate.spec import Estimate
from launchyard.contract.training import FitContext, FitResult
from launchyard.training.context import TrainJob


def fit_ridge(context: FitContext, job: TrainJob) -> FitResult:
    """Fit the weights and measure them on the validation rows."""
    spec = cast(Estimate, job.spec)
    context.progress(0, 2, "reading the measurements")
    train, validation = (pq.read_table(job.dataset_dir / f"{name}.parquet") for name in ("train", "validation"))
    context.progress(1, 2, f"solving for {len(spec.data.features)} weights")
    model = solve(train, spec)
    model.save(job.output_dir)
    scores = EstimateScores(validation["target"].to_numpy(), model.compute(read_features(validation, spec)))
    return FitResult(
        model_type="ridge",
        num_samples=train.num_rows,
        validation=scores.metrics(),
        num_parameters=len(spec.data.features) + 1,
    )


def solve(train: pa.Table, spec: Estimate) -> EstimateModel:
    """Return the model of some rows; features are scaled first, so that ``alpha`` means the same to all."""
    features_BF, truth_B = read_features(train, spec), train["target"].to_numpy()
    mean_F = features_BF.mean(axis=0)
    scale_F = np.maximum(features_BF.std(axis=0), 1e-12)
    scaled_BF = (features_BF - mean_F) / scale_F
    gram_FF = scaled_BF.T @ scaled_BF + spec.model.alpha * np.eye(scaled_BF.shape[1])
    weights_F = np.linalg.solve(gram_FF, scaled_BF.T @ (truth_B - truth_B.mean())) / scale_F
    return EstimateModel(
        features=spec.data.features,
        subject=spec.subject,
        means=tuple(mean_F.tolist()),
        weights=tuple(weights_F.tolist()),
        offset=float(truth_B.mean()),
    )


def read_features(rows: pa.Table, spec: Estimate) -> NDArray[np.float64]:
    """Return the features of rows, of shape (B, F)."""
    return np.stack([rows[name].to_numpy() for name in spec.data.features], axis=1)
