"""What a launch report is made from: the records of one run, nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from launchyard.data.manifest import DatasetManifest, SourceRecord
from launchyard.evaluation.results import Evaluation, TrainingRecord, TuneRecord
from launchyard.kinds import get_kind
from launchyard.report.terms import Terms
from launchyard.spec.blocks import Product


@dataclass(frozen=True)
class Lineage:
    """Where a model comes from, so that it can be made again."""

    run_id: str
    created: datetime
    """When the model was evaluated, aware UTC."""
    code_version: str
    spec_sha256: str
    base_model: SourceRecord | None
    """The pretrained model; None for a kind that starts from nothing."""


@dataclass(frozen=True)
class ReportInputs:
    """The records of one run; what is None was not part of it."""

    spec: Product
    dataset: DatasetManifest
    training: TrainingRecord | None
    tuning: TuneRecord | None
    evaluation: Evaluation
    lineage: Lineage

    @cached_property
    def terms(self) -> Terms:
        """What people call the terms of the product's kind."""
        return Terms(get_kind(self.spec.kind))
