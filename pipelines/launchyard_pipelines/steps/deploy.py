"""The deploy step: the rollout record names the new version; replicas follow it."""

from __future__ import annotations

from pathlib import Path

from launchyard.bundle import read_spec
from launchyard.bundle_store import BundleStore
from launchyard.feature_publishing import publish_features
from launchyard.records import Records
from launchyard.registry import Registry
from launchyard.release import release
from launchyard.settings import load_settings
from launchyard_pipelines.events import reported_step
from launchyard_pipelines.steps import LOADED_S
from launchyard_pipelines.steps.reference import Artifact, find_run_id

ACTOR = "pipeline"


def deploy(product: str, version: int, run_id: str, dataset: Artifact) -> None:
    """Publish the features that ``version`` reads, make it the champion, and mirror that into the registry.

    Repeated, nothing changes.
    """
    settings = load_settings()
    with reported_step("deploy", settings, started_s=LOADED_S) as report:
        found_id = find_run_id(settings, run_id)
        bundle_uri = Records(settings).get_version(product, version).bundle_uri
        spec = read_spec(BundleStore(settings).find_path(bundle_uri))
        publish_features(settings, spec, Path(dataset.path))
        rollout = release(settings, product, version, actor=ACTOR, run_id=found_id, reason="passed all gates")
        Registry(settings).mirror_aliases(rollout)
        report.message = f"version {version} is the champion"
        report.data = {"aliases": {"champion": version}}
