"""A kind without training: its pipeline has no train step, and evaluation makes the bundle from the base model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from launchyard.bundle.manifest import find_training, open_bundle, read_spec
from launchyard.contract.predictor import Device
from launchyard.errors import SpecError
from launchyard.kinds import get_kind
from launchyard.records.records import Records
from launchyard.settings import Settings
from launchyard.spec.load import load_spec
from launchyard.spec.summary import summarise
from launchyard_pipelines.build import build_pipeline, compile_pipeline
from launchyard_pipelines.plan import PipelineOptions, list_reusable, list_steps
from launchyard_pipelines.run_events import EventReader
from launchyard_pipelines.run_record import summarise_run
from launchyard_pipelines.snapshot import write_snapshot
from launchyard_pipelines.steps.deploy import deploy
from launchyard_pipelines.steps.evaluate import EvaluateOutputs, evaluate
from launchyard_pipelines.steps.prepare import prepare
from launchyard_pipelines.steps.reference import SpecReference
from launchyard_pipelines.steps.register import register
from untrained_kind import installed, write_product

STEPS = ["prepare", "evaluate", "register", "deploy"]


@dataclass
class Artifact:
    """A KFP artifact that takes whatever is logged."""

    path: str
    logged: dict[str, float] = field(default_factory=dict)

    def log_metric(self, metric: str, value: float) -> None:
        self.logged[metric] = value

    def log_confusion_matrix(self, categories: list[str], matrix: list[list[int]]) -> None:
        pass


@pytest.fixture
def product(tmp_path: Path, tiny_dataset: Path, tiny_candidate: Path) -> Iterator[Path]:
    with installed(tmp_path / "site"):
        yield write_product(tmp_path, tiny_dataset, tiny_candidate)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    (tmp_path / "run").mkdir()
    monkeypatch.setenv("LAUNCHYARD_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LAUNCHYARD_RUN_DIR", str(tmp_path / "run"))
    return Settings(home=tmp_path / "home", run_dir=tmp_path / "run")


def test_the_pipeline_of_a_kind_without_training_has_no_train_step(product: Path, tmp_path: Path) -> None:
    spec = load_spec(product)
    options = PipelineOptions(spec_uri="spec.json", spec_sha256="0" * 64, code_version="0", from_step="evaluate")

    compile_pipeline(build_pipeline(spec, options, Settings()), tmp_path / "pipeline.yaml")

    compiled = next(yaml.safe_load_all((tmp_path / "pipeline.yaml").read_text(encoding="utf-8")))
    assert list_steps(spec) == STEPS
    assert {name.removeprefix("comp-") for name in compiled["components"]} >= {"prepare", "evaluate", "register"}
    assert not {"comp-train", "comp-tune"} & compiled["components"].keys()
    assert list(compiled["root"]["inputDefinitions"]["parameters"]) == [
        *("champion", "release", "sources", "spec_sha256", "spec_uri"),
    ]
    assert list_reusable(spec, "evaluate") == {"prepare"}
    with pytest.raises(SpecError, match=r"'train' is not a step of this product\. Steps: prepare, evaluate"):
        list_reusable(spec, "train")


def test_a_spec_without_training_says_so_and_refuses_what_only_training_reads(product: Path) -> None:
    lines = summarise(load_spec(product), product)

    assert "  train   nothing: the model is served as it is" in lines
    with pytest.raises(SpecError, match=r"train\.epochs=3: is not a key of the spec"):
        load_spec(product, ["train.epochs=3"])
    with pytest.raises(SpecError, match=r"resources\.train: has no effect: nothing is trained"):
        load_spec(product, ["resources.train.workers=2"])


def test_a_model_that_nobody_trained_is_measured_registered_and_deployed(
    product: Path, tmp_path: Path, settings: Settings
) -> None:
    spec = load_spec(product)
    snapshot = write_snapshot(spec, tmp_path, settings)
    reference = SpecReference(str(snapshot.path), snapshot.sha256, (), code_version="1")
    dataset, bundle, report = (Artifact(str(tmp_path / name)) for name in ("dataset", "bundle", "report.html"))

    prepare(reference, dataset)
    evaluate(reference, "run-1", dataset, None, EvaluateOutputs(bundle, Artifact(""), Artifact(""), report))
    version = register(bundle, dataset)
    deploy(spec.product, version, "run-1")

    record = summarise_run("run-1", spec.product, STEPS, EventReader(tmp_path / "run").read_new(), cancelled=False)
    manifest = open_bundle(Path(bundle.path))
    assert (record.status, record.aliases, [step.name for step in record.steps]) == (
        "succeeded",
        {"champion": 1},
        STEPS,
    )
    assert record.metrics["test"]["accuracy"] > 0.6
    assert manifest.base_model is not None
    assert find_training(Path(bundle.path)) is None
    assert read_spec(Path(bundle.path)).trains_by is None
    assert "This kind of product is not trained" in Path(report.path).read_text(encoding="utf-8")
    rollout = Records(settings).find_rollout(spec.product)
    assert rollout is not None
    predictor = get_kind(spec.kind).load_predictor(Path(bundle.path), Device(1))
    assert predictor.predict([predictor.parse({"text": "a funny film"})])[0]["label"] in ("negative", "positive")
