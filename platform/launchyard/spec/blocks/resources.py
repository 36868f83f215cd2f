"""The block ``resources``: what each step and replica gets."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from launchyard.spec.blocks.block import Block, Unit


class StepResource(Block):
    """What one step gets."""

    cpus: Annotated[float | None, Unit("cores")] = Field(
        None, gt=0, description="CPU cores that the step's pod asks for."
    )
    memory: Annotated[str | None, Unit("bytes")] = Field(
        None, pattern=r"^\d+(\.\d+)?(Ki|Mi|Gi|Ti)?$", description="Memory limit of the step's pod, such as 4Gi."
    )


class TrialResource(StepResource):
    """What a computation gets that may run on GPUs."""

    cpus: Annotated[float | None, Unit("cores")] = Field(
        None, gt=0, description="CPU cores of each; default: all that are there, shared."
    )
    gpus: Annotated[int, Unit("GPUs")] = Field(0, ge=0, description="GPUs of each.")
    gpu_type: str = Field(
        "nvidia.com/gpu",
        pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-\w.]*[A-Za-z0-9])?$",
        description="Kubernetes resource that the GPUs are asked for as; no effect on a laptop.",
    )


class EvaluateResource(TrialResource):
    """What evaluation gets."""

    cpus: Annotated[float | None, Unit("cores")] = Field(
        None, gt=0, description="CPU cores that the step's pod asks for, and that it computes on."
    )
    gpus: Annotated[int, Unit("GPUs")] = Field(
        0, ge=0, description="GPUs of the step; at least as many as a replica has, for it is timed as it serves."
    )


class Resource(TrialResource):
    """What training gets."""

    workers: Annotated[int, Unit("processes")] = Field(1, ge=1, description="Processes that share the work.")


def check_share(gpus: float) -> float:
    """Return a replica's GPUs unchanged.

    Raises:
        ValueError: more than one, and no whole number.
    """
    if gpus > 1 and gpus != int(gpus):
        raise ValueError(f"must be a whole number, or below 1 for a share of one GPU, got {gpus:g}")
    return gpus


class ReplicaResource(Block):
    """What a replica of the endpoint gets."""

    cpus: Annotated[float | None, Unit("cores")] = Field(
        None, gt=0, description="CPU threads of one forward pass, rounded down; default: an even share of all cores."
    )
    gpus: Annotated[float, Unit("GPUs"), AfterValidator(check_share)] = Field(
        0.0, ge=0, description="GPUs that the model computes on; below 1: a share of one, beside other replicas."
    )


class Resources(Block):
    """What each step and the endpoint get; a step has only the keys that it reads."""

    prepare: StepResource = Field(StepResource(), description="Data preparation.")
    tune: TrialResource = Field(TrialResource(), description="Each trial of the search.")
    train: Resource = Field(Resource(), description="Training: each worker.")
    evaluate: EvaluateResource = Field(EvaluateResource(), description="Evaluation.")
    serve: ReplicaResource = Field(ReplicaResource(), description="Each replica.")
