"""The pipeline: the only place that knows the order of the steps.

prepare -> [tune] -> [train] -> evaluate -> register -> deploy        exit handler: finish

Without a train step, for a spec that trains nothing, evaluate makes the bundle from the base model and the rows.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from kfp import compiler, dsl

from launchyard.kinds import get_kind
from launchyard.settings import Settings
from launchyard.spec.blocks import Product, StepResource, Train, TrialResource, find_train, find_tune
from launchyard_pipelines import components
from launchyard_pipelines.plan import PipelineOptions, list_reusable
from launchyard_pipelines.reuse import are_sources_fixed

RUN_ID = dsl.PIPELINE_JOB_ID_PLACEHOLDER
EDITABLE_TYPES: tuple[type, ...] = (bool, int, float, str)


def list_editable(spec: Product) -> list[inspect.Parameter]:
    """Return one typed pipeline parameter per plain value under ``train``, with the spec's value as default."""
    train = find_train(spec)
    if train is None:
        return []
    # The kind's own keys first, in the order in which its spec has them, then those that every training has.
    names = sorted(type(train).model_fields, key=lambda name: name in Train.model_fields)
    return [
        inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=value, annotation=type_)
        for name in names
        if (type_ := _find_plain_type(train, name)) and (value := getattr(train, name)) is not None
    ]


def _find_plain_type(train: Train, name: str) -> type | None:
    """Return the one plain type of a ``train`` field, None when it is a block or may be several things."""
    annotation = type(train).model_fields[name].annotation
    if get_origin(annotation) is Literal and all(isinstance(value, str) for value in get_args(annotation)):
        # KFP knows no choices; a step checks the word as it checks any override.
        return str
    return annotation if isinstance(annotation, type) and annotation in EDITABLE_TYPES else None


def describe_parameters(spec: Product, editable: list[inspect.Parameter]) -> str:
    """Return the pipeline's docstring; KFP shows its ``Args`` beside the fields of a new run."""
    fields = type(find_train(spec) or Train()).model_fields
    lines = [
        f"{type(spec).__doc__}",
        "",
        "Args:",
        "    spec_uri: Where the product spec is.",
        "    spec_sha256: Digest of the spec; a run stops when the file is another.",
        "    sources: State of sources that may change; another value prepares anew.",
        "    champion: State of the champion; another value evaluates anew.",
        "    release: Whether a model that passes all gates goes to serving.",
        *(f"    {parameter.name}: {fields[parameter.name].description}" for parameter in editable),
    ]
    return "\n".join(lines)


def build_pipeline(spec: Product, options: PipelineOptions, settings: Settings) -> Any:
    """Return the KFP pipeline of a product; ``train``'s plain values are its parameters."""
    editable = list_editable(spec)
    positional = inspect.Parameter.POSITIONAL_OR_KEYWORD
    fixed = [
        inspect.Parameter("spec_uri", positional, default=options.spec_uri, annotation=str),
        inspect.Parameter("spec_sha256", positional, default=options.spec_sha256, annotation=str),
        inspect.Parameter("sources", positional, default=options.sources, annotation=str),
        inspect.Parameter("champion", positional, default=options.champion, annotation=str),
        inspect.Parameter("release", positional, default=True, annotation=bool),
    ]

    def flow(*channels: Any) -> None:
        inputs = dict(zip([parameter.name for parameter in (*fixed, *editable)], channels, strict=True))
        _connect_steps(spec, options, settings, inputs, [parameter.name for parameter in editable])

    # KFP reads the parameters from the signature, and only the spec tells which there are.
    flow.__signature__ = inspect.Signature([*fixed, *editable])  # type: ignore[attr-defined]
    flow.__doc__ = describe_parameters(spec, editable)
    return dsl.pipeline(name=f"{settings.namespace}-{spec.product}", description=f"{spec.kind}: {spec.product}")(flow)


def _connect_steps(
    spec: Product, options: PipelineOptions, settings: Settings, inputs: dict[str, Any], editable: list[str]
) -> None:
    """Create the tasks and connect outputs to inputs."""
    reference = {
        "uri": inputs["spec_uri"],
        "sha256": inputs["spec_sha256"],
        # They repeat the spec unless somebody has edited them in the KFP UI.
        "overrides": [f"train.{name}={inputs[name]}" for name in editable],
        "code_version": options.code_version,
    }
    add = _TaskFactory(spec, options, settings)
    # Before the handler, which takes a task that depends on no other.
    exit_task = add("finish", product=spec.product)
    with dsl.ExitHandler(exit_task, name="run"):
        prepared = add("prepare", sources=inputs["sources"], spec=reference)
        data = {"dataset": prepared.outputs["dataset"], "fingerprint": prepared.outputs["Output"]}
        searched, trained = {}, {}
        if find_tune(spec) is not None:
            searched["search"] = add("tune", spec=reference, **data).outputs["search"]
        if spec.trains_by is not None:
            trained["candidate"] = add("train", spec=reference, **data, **searched).outputs["candidate"]
        evaluated = add(
            "evaluate",
            **trained,
            champion=inputs["champion"],
            run_id=RUN_ID,
            spec=reference,
            **data,
        )
        registered = add("register", bundle=evaluated.outputs["bundle"], dataset=prepared.outputs["dataset"])
        with dsl.If(inputs["release"] == True, name="release"):  # noqa: E712 - KFP builds the condition from ==
            add("deploy", product=spec.product, version=registered.outputs["Output"], run_id=RUN_ID)


class _TaskFactory:
    """Creates tasks with what is the same for all: caching, environment, resources."""

    def __init__(self, spec: Product, options: PipelineOptions, settings: Settings) -> None:
        self._reusable = list_reusable(spec, options.from_step)
        # Without their state known, sources that can change are read anew, and so are the endpoint's events.
        if not options.sources and not (are_sources_fixed(spec) and get_kind(spec.kind).serving_state is None):
            self._reusable -= {"prepare"}
        self._requests = _list_requests(spec)
        self._namespace = settings.namespace
        self._image = options.image

    def __call__(self, name: str, **inputs: Any) -> dsl.PipelineTask:
        component: Callable[..., dsl.PipelineTask] = getattr(components, name)
        task = component(**inputs)
        # Said of each task: KFP would reuse all that it is not told of.
        task.set_caching_options(name in self._reusable)
        task.set_env_variable("LAUNCHYARD_NAMESPACE", self._namespace)
        if self._image is not None:
            task.set_container_image(self._image)
        if name in self._requests:
            _request_resources(task, *self._requests[name])
        return task


def _list_requests(spec: Product) -> dict[str, tuple[StepResource, int]]:
    """Return step -> what one process of it gets, and how many run in its pod at once."""
    resources, tune = spec.resources, find_tune(spec)
    return {
        "prepare": (resources.prepare, 1),
        "tune": (resources.tune, tune.concurrent if tune else 1),
        "train": (resources.train, resources.train.workers),
        "evaluate": (resources.evaluate, 1),
    }


def _request_resources(task: dsl.PipelineTask, resource: StepResource, num_processes: int) -> None:
    """Ask the cluster for what a step needs; local execution ignores it."""
    if resource.cpus is not None:
        task.set_cpu_request(str(resource.cpus * num_processes))
    if resource.memory is not None:
        task.set_memory_limit(resource.memory)
    if isinstance(resource, TrialResource) and resource.gpus:
        task.set_accelerator_type(resource.gpu_type)
        task.set_accelerator_limit(resource.gpus * num_processes)


def compile_pipeline(pipeline: Any, path: Path) -> None:
    """Write the pipeline as KFP YAML."""
    path.parent.mkdir(parents=True, exist_ok=True)
    compiler.Compiler().compile(pipeline, str(path))
