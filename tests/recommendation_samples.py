"""A deployed recommender that needs no training: for everything that serves, forgets or exports one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from launchyard.bundle.manifest import write_manifest
from launchyard.data.prepare import prepare_dataset
from launchyard.evaluation.run import EvaluateJob, evaluate_candidate
from launchyard.features.publishing import keep_features
from launchyard.kinds.recommendation.spec import Recommendation
from launchyard.settings import Settings
from serving_samples import deploy_bundle
from tiny_candidate import train_candidate
from tiny_interactions import make_spec, write_sources

PRODUCT = "tiny-films"


def make_linear_spec(**blocks: Any) -> Recommendation:
    """Return a product whose model has a closed form."""
    return make_spec(**{"model": {"architecture": "ease", "l2": 20}, "train": {}} | blocks)


def deploy_recommender(
    settings: Settings, folder: Path, spec: Recommendation, events: list[dict[str, Any]] | None = None
) -> Path:
    """Prepare, fit, measure and release a recommender, its features too; return the data set's folder."""
    sources = write_sources(folder / "sources", events)  # What else the spec names lies there already.
    prepare_dataset(spec, settings, base_dir=sources, output_dir=folder / "dataset")
    candidate = train_candidate(folder, spec, folder / "dataset", lambda _folder: None)
    job = EvaluateJob(spec, folder / "dataset", candidate, folder / "bundle", threads=1, batch_threads=1)
    evaluation = evaluate_candidate(job, lambda *_: None)
    assert evaluation.passed, evaluation.gates
    manifest = write_manifest(
        folder / "bundle", spec, namespace="default", run_id="run-1", code_version="0", base_model=None
    )
    keep_features(settings, spec, folder / "dataset", manifest.digest)
    deploy_bundle(settings, folder / "bundle", manifest)
    return folder / "dataset"
