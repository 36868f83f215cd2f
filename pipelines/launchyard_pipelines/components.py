"""The pipeline's components: one import and one call each, so that KFP carries no logic of its own.

KFP copies each function's source into the compiled pipeline, so annotations must be real objects and
every name that a body uses is imported inside it.

KFP reuses a finished step when all its inputs are equal. Hence inputs that a body does not read: ``sources`` (state of
the rows' origins), ``fingerprint`` (of the rows) and ``champion`` (state of what serves) differ when a step is out of
date though its spec is the same.
"""

from typing import Any

from kfp import dsl

IMAGE = "python:3.11"
"""Replaced by the settings' image when compiled for a cluster; a laptop runs steps in its own environment."""


# No step installs KFP: launchyard_pipelines, which all of them import, does not run without it.
@dsl.component(base_image=IMAGE, install_kfp_package=False)
def prepare(spec: dict[str, Any], sources: str, dataset: dsl.Output[dsl.Dataset]) -> str:
    """Fetch, check, clean and split the rows; returns the data fingerprint."""
    from launchyard_pipelines.steps import prepare as step
    from launchyard_pipelines.steps.reference import SpecReference

    return step.prepare(SpecReference(**spec), dataset)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def tune(
    spec: dict[str, Any],
    fingerprint: str,
    dataset: dsl.Input[dsl.Dataset],
    search: dsl.Output[dsl.Artifact],
) -> None:
    """Search for the best training configuration."""
    from launchyard_pipelines.steps import tune as step
    from launchyard_pipelines.steps.reference import SpecReference

    step.tune(SpecReference(**spec), fingerprint, dataset, search)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def train(
    spec: dict[str, Any],
    fingerprint: str,
    dataset: dsl.Input[dsl.Dataset],
    candidate: dsl.Output[dsl.Model],
    # KFP's way to write an input that may be absent: without a search there is none.
    search: dsl.Input[dsl.Artifact] = None,
) -> None:
    """Train the model on the training rows and choose by the validation rows."""
    from launchyard_pipelines.steps import train as step
    from launchyard_pipelines.steps.reference import SpecReference

    step.train(SpecReference(**spec), fingerprint, dataset, search, candidate)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def evaluate(
    spec: dict[str, Any],
    fingerprint: str,
    champion: str,
    run_id: str,
    dataset: dsl.Input[dsl.Dataset],
    bundle: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    confusion: dsl.Output[dsl.ClassificationMetrics],
    report: dsl.Output[dsl.HTML],
    candidate: dsl.Input[dsl.Model] = None,
) -> None:
    """Measure the files that will be served, write the bundle and its report; fails when a gate refuses."""
    from launchyard_pipelines.steps import evaluate as step
    from launchyard_pipelines.steps.reference import SpecReference

    outputs = step.EvaluateOutputs(bundle, metrics, confusion, report)
    step.evaluate(SpecReference(**spec), run_id, dataset, candidate, outputs)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def register(bundle: dsl.Input[dsl.Model], dataset: dsl.Input[dsl.Dataset]) -> int:
    """Keep the bundle and its features under a version number; returns the version."""
    from launchyard_pipelines.steps import register as step

    return step.register(bundle, dataset)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def deploy(product: str, version: int, run_id: str) -> None:
    """Make the version the champion: replicas follow the rollout record."""
    from launchyard_pipelines.steps import deploy as step

    step.deploy(product, version, run_id)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def finish(product: str, status: dsl.PipelineTaskFinalStatus) -> None:
    """Tell how the run ended and remove what it left behind; runs after a failure too."""
    from launchyard_pipelines.steps import finish as step

    step.finish(product, status.state, status.error_message)
