"""Recommenders in closed form: popularity, neighbours of items, EASE."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from launchyard.contract.training import FitContext, FitResult
from launchyard.kinds.recommendation.architectures import Ease, ItemKnn, Popularity
from launchyard.kinds.recommendation.data.histories import HeldOut, ItemVocabulary
from launchyard.kinds.recommendation.predict.ranking import list_best, measure_lists
from launchyard.kinds.recommendation.predict.scorers import (
    ItemWeights,
    Scorer,
    ScorerConfig,
    list_item_weights,
    load_scorer,
    save_scorer,
)
from launchyard.kinds.recommendation.train.closed_form import find_neighbours, score_popularity, solve_ease
from launchyard.kinds.recommendation.train.rows import PreparedRows
from launchyard.training.context import TrainJob

ROWS_AT_ONCE = 256
"""Validation rows that are answered at once."""
STAGES = 3


def fit_recommender(context: FitContext, job: TrainJob) -> FitResult:
    """Compute the job's model and measure it on the validation rows.

    Raises:
        DataError: the prepared data set holds nothing to learn from.
        TrainError: the model does not fit the data or the memory.
    """
    context.progress(0, STAGES, "reading the events")
    rows = PreparedRows.read(job)
    model = cast(Popularity | ItemKnn | Ease, rows.spec.model)
    context.progress(1, STAGES, f"computing {model.architecture} of {len(rows.events.items_E):,} events")
    arrays = _compute_arrays(rows, model)
    save_scorer(job.output_dir / "model", ScorerConfig(model=model), arrays)
    context.progress(2, STAGES, "measuring")
    scorer = load_scorer(job.output_dir / "model", threads=context.threads)
    return FitResult(
        model_type=model.architecture,
        num_parameters=sum(array.size for array in arrays.values()),
        num_samples=len(rows.events.items_E),
        validation=measure_scorer(scorer, rows.validation, rows.catalogue, exclude_seen=rows.exclude_seen),
    )


def _compute_arrays(rows: PreparedRows, model: Popularity | ItemKnn | Ease) -> Mapping[str, NDArray[Any]]:
    if isinstance(model, Popularity):
        return {"popularity_I": score_popularity(model, rows.events, rows.catalogue)}
    solved: ItemWeights = (
        solve_ease(model, rows.events, rows.catalogue)
        if isinstance(model, Ease)
        else find_neighbours(model, rows.events, rows.catalogue)
    )
    return list_item_weights(solved) | {"popularity_I": rows.catalogue.score_popularity()}


def measure_scorer(
    scorer: Scorer, held_out: HeldOut, catalogue: ItemVocabulary, *, exclude_seen: bool
) -> dict[str, float]:
    """Return a scorer's ranking metrics on held-out rows."""
    lists = []
    for start in range(0, len(held_out.truth), ROWS_AT_ONCE):
        part = np.arange(start, min(start + ROWS_AT_ONCE, len(held_out.truth)))
        lists.append(list_best(scorer.score(held_out.get_histories(part)), held_out, part, exclude_seen=exclude_seen))
    return measure_lists(np.concatenate(lists), held_out, catalogue)
