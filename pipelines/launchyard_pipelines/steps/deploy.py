"""The deploy step: the rollout record names the new version; replicas follow it."""

from __future__ import annotations

from contextlib import closing

from launchyard.adapters.mlflow import Registry
from launchyard.rollout.change import release_compared
from launchyard.settings import load_settings
from launchyard_pipelines.run_events import reported_step
from launchyard_pipelines.steps import STARTED_S
from launchyard_pipelines.steps.reference import find_run_id

ACTOR = "pipeline"


def deploy(product: str, version: int, run_id: str) -> None:
    """Make ``version`` the champion with its features, and mirror that into the registry; repeated, nothing changes.

    An MLflow that is away does not fail the step: what serves has changed by then, and the step says what is behind.

    Raises:
        RunError: the champion changed since the version was compared with it.
    """
    settings = load_settings()
    with reported_step("deploy", settings, started_s=STARTED_S.get()) as report:
        found_id = find_run_id(settings, run_id)
        release_compared(settings, product, version, actor=ACTOR, run_id=found_id)
        with closing(Registry(settings)) as registry:
            behind = registry.mirror_aliases(product)
        report.message = f"version {version} is the champion"
        report.data = {"aliases": {"champion": version}, "warnings": [behind] if behind else []}
