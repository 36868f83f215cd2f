"""The register step: a bundle that passed its gates gets a version number."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from launchyard.adapters.mlflow import Registry
from launchyard.bundle.manifest import EVALUATION_NAME, open_bundle, parse_file, read_spec
from launchyard.evaluation.results import Evaluation
from launchyard.evaluation.training_rows import TrainingRows
from launchyard.features.publishing import keep_features
from launchyard.records.records import Records, opening_records
from launchyard.rollout.rules import check_compared
from launchyard.settings import load_settings
from launchyard_pipelines.run_events import reported_step
from launchyard_pipelines.steps import STARTED_S
from launchyard_pipelines.steps.reference import Artifact


def register(bundle: Artifact, dataset: Artifact) -> int:
    """Store the bundle, and the features that its model reads; return its version.

    The same content again keeps its number.

    Raises:
        RunError: the champion changed since the bundle was compared with it.
    """
    settings = load_settings()
    with reported_step("register", settings, started_s=STARTED_S.get()) as report:
        bundle_dir = Path(bundle.path)
        manifest = open_bundle(bundle_dir)
        evaluation = parse_file(bundle_dir, EVALUATION_NAME, Evaluation)
        with opening_records(settings) as records:
            check_champion_unchanged(evaluation, records, manifest.product)
        spec = read_spec(bundle_dir)
        # Before there is a version, so that none lacks them.
        TrainingRows(settings, spec.product).keep(spec, Path(dataset.path), manifest.digest)
        keep_features(settings, spec, Path(dataset.path), manifest.digest)
        with closing(Registry(settings)) as registry:
            registered = registry.register(bundle_dir)
        report.message = f"version {registered.version}"
        report.data = {
            "version": registered.version,
            "bundle": str(registered.path),
            "report": str(registered.path / "report.html"),
            "evaluation": str(registered.path / EVALUATION_NAME),
        }
        return registered.version


def check_champion_unchanged(evaluation: Evaluation, records: Records, product: str) -> None:
    """Return when the bundle was measured against what serves now; that still holds when it is deployed, or it is not.

    Raises:
        RunError: something else serves by now, so the comparison no longer holds.
    """
    rollout = records.find_rollout(product)
    serving = rollout.champion.version if rollout is not None and rollout.champion is not None else None
    check_compared(product, serving, evaluation.champion_version)
