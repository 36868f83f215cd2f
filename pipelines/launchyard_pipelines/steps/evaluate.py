"""The evaluate step: the files that will be served are measured, judged, recorded and shown."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from launchyard.bundle.manifest import EVALUATION_NAME, GateRecord, find_training, parse_file, write_manifest
from launchyard.bundle.store import BundleStore
from launchyard.data.manifest import load_manifest
from launchyard.errors import BundleError, GateRefused
from launchyard.evaluation.champion import Champion
from launchyard.evaluation.figures import ConfusionMatrixFigure
from launchyard.evaluation.results import TUNE_NAME, Evaluation, TuneRecord
from launchyard.evaluation.run import EvaluateJob, evaluate_candidate
from launchyard.evaluation.training_rows import TrainingRows
from launchyard.records.records import opening_records
from launchyard.report import Lineage, ReportInputs, write_report
from launchyard.settings import Settings, load_settings
from launchyard.spec.blocks import Product
from launchyard.spec.load import spec_sha256
from launchyard.threads import count_serving_threads, describe_missing_gpus, share_threads
from launchyard.training.search import apply_best
from launchyard_pipelines.code_version import compute_code_version
from launchyard_pipelines.run_events import reported_step
from launchyard_pipelines.steps import STARTED_S
from launchyard_pipelines.steps.reference import Artifact, SpecReference, fetch_base, find_run_id


class MetricsArtifact(Artifact, Protocol):
    """KFP's scalar metrics."""

    def log_metric(self, metric: str, value: float) -> None:
        """Record one value."""
        ...


class ConfusionArtifact(Artifact, Protocol):
    """KFP's classification metrics."""

    def log_confusion_matrix(self, categories: list[str], matrix: list[list[int]]) -> None:
        """Record counts of truth (rows) by answer (columns)."""
        ...


@dataclass(frozen=True)
class EvaluateOutputs:
    """What the step leaves for the next steps and for the KFP UI."""

    bundle: Artifact
    metrics: MetricsArtifact
    confusion: ConfusionArtifact
    report: Artifact


def evaluate(
    reference: SpecReference, run_id: str, dataset: Artifact, candidate: Artifact | None, outputs: EvaluateOutputs
) -> None:
    """Measure the candidate, or the base model where nothing is trained; write the bundle and its report.

    Raises:
        BundleError: there is no such GPU.
        GateRefused: a gate did not pass; bundle and report are written all the same.
    """
    settings = load_settings()
    with reported_step("evaluate", settings, started_s=STARTED_S.get()) as report:
        # What was trained, not what was searched: the bundle's spec, its lineage and MLflow's parameters.
        candidate_dir = None if candidate is None else Path(candidate.path)
        spec = reference.load()
        if candidate_dir is not None:
            spec = apply_best(spec, candidate_dir / TUNE_NAME)
        if problem := describe_missing_gpus(spec.resources.evaluate.gpus, count=1, key="resources.evaluate"):
            raise BundleError(problem)
        base = fetch_base(spec, settings, report.download)
        bundle_dir = Path(outputs.bundle.path)
        job = EvaluateJob(
            spec=spec,
            dataset_dir=Path(dataset.path),
            candidate_dir=candidate_dir,
            bundle_dir=bundle_dir,
            threads=count_serving_threads(spec),
            batch_threads=share_threads(spec.resources.evaluate.cpus, count=1),
            champion=find_champion(settings, spec.product),
            gpus=spec.resources.serve.gpus,
            batch_gpus=spec.resources.evaluate.gpus,
            base_dir=None if base is None else base.path,
        )
        evaluation = evaluate_candidate(job, report.progress)
        base_model = None if base is None else base.record
        lineage = Lineage(
            run_id=find_run_id(settings, run_id),
            created=datetime.now(UTC),
            code_version=compute_code_version(),
            spec_sha256=spec_sha256(spec),
            base_model=base_model,
        )
        report_path = write_report(bundle_dir, read_inputs(spec, bundle_dir, lineage))
        manifest = write_manifest(
            bundle_dir,
            spec,
            namespace=settings.namespace,
            run_id=lineage.run_id,
            code_version=lineage.code_version,
            base_model=base_model,
        )
        show_in_kfp(evaluation, report_path, outputs)
        report.data = {
            "bundle": str(bundle_dir),
            "report": str(report_path),
            "evaluation": str(bundle_dir / EVALUATION_NAME),
            "warnings": list(evaluation.notes),
        }
        check_gates(manifest.gate)
        num_gates = len(evaluation.gates)
        report.message = f"all {num_gates} gates passed" if num_gates > 1 else "passed" if num_gates else "no gates"


def find_champion(settings: Settings, product: str) -> Champion | None:
    """Return the version that serves now, with its verified bundle; None before the first release."""
    with opening_records(settings) as records:
        rollout = records.find_rollout(product)
    if rollout is None or rollout.champion is None:
        return None
    bundle_dir, manifest = BundleStore(settings).open(rollout.champion.bundle_uri)
    trained_on = TrainingRows(settings, product).find(manifest.digest)
    return Champion(version=rollout.champion.version, bundle_dir=bundle_dir, trained_on=trained_on)


def read_inputs(spec: Product, bundle_dir: Path, lineage: Lineage) -> ReportInputs:
    """Return what the launch report is made from: the records that a run left in a bundle folder, nothing else.

    Raises:
        DataError: the record of the rows is missing.
        BundleError: the record of the evaluation is missing, or a record does not fit.
    """
    return ReportInputs(
        spec=spec,
        dataset=load_manifest(bundle_dir),
        training=find_training(bundle_dir),
        tuning=parse_file(bundle_dir, TUNE_NAME, TuneRecord) if (bundle_dir / TUNE_NAME).is_file() else None,
        evaluation=parse_file(bundle_dir, EVALUATION_NAME, Evaluation),
        lineage=lineage,
    )


def show_in_kfp(evaluation: Evaluation, report_path: Path, outputs: EvaluateOutputs) -> None:
    """Fill the artifacts that the KFP UI shows: metrics, confusion matrix, report."""
    for name, measure in evaluation.metrics["test"].items():
        outputs.metrics.log_metric(name, measure.value)
    for figure in evaluation.figures:
        if isinstance(figure, ConfusionMatrixFigure):
            outputs.confusion.log_confusion_matrix(list(figure.labels), [list(row) for row in figure.counts])
    shutil.copyfile(report_path, outputs.report.path)


def check_gates(gate: GateRecord) -> None:
    """Return when every gate passed.

    Raises:
        GateRefused: one did not; the message names each.
    """
    if not gate.passed:
        raise GateRefused(f"refused: {gate.failures}. The report says more; nothing was registered or deployed.")
