"""A compiled pipeline, read as what each of its steps is given and waits for, whatever groups KFP makes of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CHANNEL = "pipelinechannel--"
"""How KFP names an input of a group, or of a text, that is not one of the step's own."""
PLACEHOLDER = re.compile(rf"{{{{\$\.inputs\.parameters\['({CHANNEL}[^']+)'\]}}}}")
RUN_ID = "{{$.pipeline_job_uuid}}"


@dataclass(frozen=True)
class Step:
    """One task.

    Attributes:
        given: Each input -> ``pipeline.<parameter>``, ``<step>.<output>``, or the value that it always has.
        after: The steps that must have ended before it begins.
        only_if: The condition on which it runs at all; None: it always does.
    """

    given: Mapping[str, Any]
    after: frozenset[str]
    only_if: str | None


@dataclass(frozen=True)
class CompiledPipeline:
    """What KFP is told of a pipeline."""

    name: str
    defaults: Mapping[str, Any]
    steps: Mapping[str, Step]

    def order(self) -> list[str]:
        """Return the steps in the order that their dependencies leave, those free to begin by name."""
        done: list[str] = []
        while left := sorted(name for name in self.steps if name not in done):
            done.append(next(name for name in left if self.steps[name].after <= set(done)))
        return done


def read_pipeline(path: Path) -> CompiledPipeline:
    """Return what a file holds that ``compile_pipeline`` wrote."""
    document = next(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    parameters = document["root"]["inputDefinitions"]["parameters"]
    outer = {name: f"pipeline.{name}" for name in parameters}
    return CompiledPipeline(
        document["pipelineInfo"]["name"],
        {name: parameter.get("defaultValue") for name, parameter in parameters.items()},
        dict(_iter_steps(document["root"]["dag"]["tasks"], document["components"], Step(outer, frozenset(), None))),
    )


def _iter_steps(tasks: Mapping[str, Any], components: Mapping[str, Any], group: Step) -> Iterator[tuple[str, Step]]:
    """Yield the steps of a group, those of the groups inside it too."""
    inside = {name: set(_iter_names(name, tasks, components)) for name in tasks}
    for name, task in tasks.items():
        inputs = task.get("inputs", {})
        given = {
            key: _resolve(value, group.given)
            for values in (inputs.get("parameters", {}), inputs.get("artifacts", {}))
            for key, value in values.items()
        }
        after = group.after.union(*(inside[other] for other in task.get("dependentTasks", ())))
        condition = task.get("triggerPolicy", {}).get("condition", group.only_if)
        step = Step(given, after, condition and _fill_condition(condition, given))
        component = components[task["componentRef"]["name"]]
        if "dag" in component:
            yield from _iter_steps(component["dag"]["tasks"], components, step)
        else:
            own = {key: _fill(value, given) for key, value in given.items() if not key.startswith(CHANNEL)}
            yield name, Step(own, step.after, step.only_if)


def _iter_names(name: str, tasks: Mapping[str, Any], components: Mapping[str, Any]) -> Iterator[str]:
    """Yield the name of a step, or those of all steps in a group."""
    component = components[tasks[name]["componentRef"]["name"]]
    if "dag" not in component:
        yield name
        return
    inner = component["dag"]["tasks"]
    for task in inner:
        yield from _iter_names(task, inner, components)


def _resolve(value: Mapping[str, Any], outer: Mapping[str, Any]) -> Any:
    match value:
        case {"componentInputParameter": name}:
            return outer[name]
        case {"taskOutputParameter": {"producerTask": task, "outputParameterKey": key}}:
            return f"{task}.{key}"
        case {"taskOutputArtifact": {"producerTask": task, "outputArtifactKey": key}}:
            return f"{task}.{key}"
        case {"taskFinalStatus": {"producerTask": task}}:
            return f"{task}.status"
        case {"runtimeValue": {"constant": constant}}:
            return constant
    raise AssertionError(f"an input of an unknown form: {value}")


def _fill(value: Any, given: Mapping[str, Any]) -> Any:
    """Return a constant with what its placeholders stand for."""
    if isinstance(value, str):
        return PLACEHOLDER.sub(lambda found: str(given[found[1]]), value)
    if isinstance(value, list):
        return [_fill(part, given) for part in value]
    return {key: _fill(part, given) for key, part in value.items()} if isinstance(value, dict) else value


def _fill_condition(condition: str, given: Mapping[str, Any]) -> str:
    return re.sub(r"inputs\.parameter_values\['([^']+)'\]", lambda found: str(given[found[1]]), condition)
