"""The prepared rows that a recommender learns from and is chosen on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self, cast

from launchyard.kinds.recommendation.data.histories import (
    Events,
    HeldOut,
    ItemVocabulary,
    read_catalogue,
    read_events,
    read_held_out,
)
from launchyard.kinds.recommendation.spec import Recommendation
from launchyard.training.context import TrainJob


@dataclass(frozen=True)
class PreparedRows:
    """Catalogue, training events and validation rows of a prepared data set, with the spec that reads them."""

    spec: Recommendation
    catalogue: ItemVocabulary
    events: Events
    validation: HeldOut

    @classmethod
    def read(cls, job: TrainJob) -> Self:
        """Return the rows of a training.

        Raises:
            DataError: the prepared data set holds nothing to learn from.
        """
        spec = cast(Recommendation, job.spec)
        catalogue = read_catalogue(job.dataset_dir)
        events = read_events(job.dataset_dir, catalogue)
        validation = read_held_out(job.dataset_dir, "validation", catalogue, spec.data.max_history)
        return cls(spec, catalogue, events, validation)

    @property
    def exclude_seen(self) -> bool:
        """Whether lists leave out what a user took."""
        return self.spec.serve.rules.exclude_seen
