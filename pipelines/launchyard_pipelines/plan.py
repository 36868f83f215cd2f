"""What is to be run: the steps of a product's pipeline and the choices of one run. Loads no KFP."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from launchyard.errors import SpecError
from launchyard.spec.blocks import Product, find_tune

STEP_ORDER = ("prepare", "tune", "train", "evaluate", "register", "deploy")
PLAN_NAME = "plan.json"
# Both change records that others change, too: that it was done once does not say that it still stands.
NEVER_REUSED = {"register", "deploy"}


@dataclass(frozen=True)
class PipelineOptions:
    """What a compiled pipeline carries beside the spec."""

    spec_uri: str
    spec_sha256: str
    code_version: str
    """Part of what a step is reused by: new code, new result."""
    sources: str = ""
    """State of sources that can change, as far as whoever starts the run can see it.

    Like ``champion`` it decides nothing in a step: it is there to differ when a finished step is out of date."""
    champion: str = ""
    """State of the champion (its bundle's digest), as far as whoever starts the run can see it."""
    image: str | None = None
    """Image of every step; None: the steps run in the environment that started them."""
    from_step: str | None = None
    """This step and all later ones are executed even when nothing changed."""


class RunPlan(BaseModel):
    """What a run's child process is asked to execute."""

    spec_path: Path
    options: PipelineOptions
    release: bool
    cache_dir: Path


def list_steps(spec: Product) -> list[str]:
    """Return the names of the steps that a spec's pipeline has, in order."""
    left_out = set()
    if find_tune(spec) is None:
        left_out.add("tune")
    if spec.trains_by is None:
        left_out.add("train")
    return [name for name in STEP_ORDER if name not in left_out]


def list_reusable(spec: Product, from_step: str | None) -> set[str]:
    """Return the steps that an earlier run's result may stand in for.

    Raises:
        SpecError: ``from_step`` is not a step of this product.
    """
    steps = list_steps(spec)
    if from_step is not None and from_step not in steps:
        raise SpecError(f"--from: '{from_step}' is not a step of this product. Steps: {', '.join(steps)}.")
    first_forced = len(steps) if from_step is None else steps.index(from_step)
    return set(steps[:first_forced]) - NEVER_REUSED
