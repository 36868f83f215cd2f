"""What every product kind must keep. A new kind adds ``tests/contract_<kind>.py``; nothing here names one."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from compiled_pipeline import RUN_ID, CompiledPipeline, read_pipeline
from launchyard.bundle.self_test import find_difference
from launchyard.contract.predictor import Device, ExplainingPredictor, Predictor
from launchyard.contract.rows import Row
from launchyard.errors import RequestError
from launchyard.evaluation.results import Evaluation
from launchyard.evaluation.run import EvaluateJob, evaluate_candidate
from launchyard.kind import Kind
from launchyard.kinds import iter_kinds
from launchyard.prediction.media import spell_media
from launchyard.settings import Settings
from launchyard.spec.blocks import Product, find_train, find_tune
from launchyard.spec.load import load_spec
from launchyard_pipelines.build import build_pipeline, compile_pipeline
from launchyard_pipelines.plan import PipelineOptions, list_steps
from tiny_candidate import train_candidate

TOLERANCE = 1e-4
"""Largest difference of a probability alone and inside a batch."""


@pytest.fixture(scope="module", params=iter_kinds(), ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


@pytest.fixture(scope="module")
def samples(kind: Kind) -> ModuleType:
    return importlib.import_module(f"contract_{kind.name.replace('-', '_')}")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, samples: ModuleType) -> tuple[Path, Evaluation]:
    """A bundle of the kind, trained for a few steps on tiny data, if it trains at all, and evaluated."""
    folder = tmp_path_factory.mktemp("contract")
    spec, dataset_dir = samples.SPEC, samples.write_dataset(folder / "dataset")
    trained = None if spec.trains_by is None else train_candidate(folder, spec, dataset_dir, samples.write_base)
    base_dir = None if trained else samples.write_base(folder / "base")
    job = EvaluateJob(spec, dataset_dir, trained, folder / "bundle", base_dir=base_dir, threads=1, batch_threads=1)
    return folder / "bundle", evaluate_candidate(job, lambda *_: None)


@pytest.fixture(scope="module")
def predictor(kind: Kind, bundle: tuple[Path, Evaluation]) -> Predictor:
    return kind.load_predictor(bundle[0], Device(1))


@pytest.fixture(scope="module")
def rows(predictor: Predictor, samples: ModuleType) -> list[Row]:
    return [predictor.parse(raw) for raw in samples.INPUTS]


@pytest.mark.parametrize("block", [None, "data", "model", "train", "evaluate", "serve"])
def test_an_unknown_key_is_refused_at_every_level(kind: Kind, samples: ModuleType, block: str | None) -> None:
    document = samples.SPEC.model_dump(mode="json")
    # A kind that does not train has no such block.
    document.get(block, document)["no_such_key"] = 1

    with pytest.raises(ValidationError, match="no_such_key"):
        kind.spec.model_validate(document)


def test_the_example_is_a_valid_spec_of_the_kind(kind: Kind) -> None:
    assert load_spec(kind.folder / "example.yaml").kind == kind.name


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "searched"])
def spec(request: pytest.FixtureRequest, kind: Kind, samples: ModuleType) -> Product:
    """The kind's spec, as it is and with a search; no kind need have a key to search but the seed of its training.

    Of a kind that trains nothing, which searches nothing either, it is the same twice.
    """
    document = samples.SPEC.model_dump(mode="json")
    if request.param and samples.SPEC.trains_by is not None:
        document["tune"] = {"trials": 2, "parameters": {"train.seed": {"values": [1, 2]}}}
    return kind.spec.from_document(document)


@pytest.fixture
def compiled(spec: Product, tmp_path: Path) -> CompiledPipeline:
    options = PipelineOptions(spec_uri="spec.json", spec_sha256="0" * 64, code_version="7", champion="now")
    compile_pipeline(build_pipeline(spec, options, Settings()), tmp_path / "pipeline.yaml")
    return read_pipeline(tmp_path / "pipeline.yaml")


def test_the_steps_of_the_compiled_pipeline_wait_for_each_other_in_the_order_of_the_run(
    spec: Product, compiled: CompiledPipeline
) -> None:
    steps = [*list_steps(spec), "finish"]

    assert compiled.name == f"default-{spec.product}"
    assert compiled.order() == steps
    assert compiled.steps["finish"].after == set(steps[:-1])
    assert {name: step.only_if for name, step in compiled.steps.items() if step.only_if is not None} == {
        "deploy": "pipeline.release == true"
    }


def test_each_step_of_the_compiled_pipeline_is_given_what_the_steps_before_it_made(
    spec: Product, compiled: CompiledPipeline
) -> None:
    data = {"dataset": "prepare.dataset", "fingerprint": "prepare.Output"}
    searched = {"search": "tune.search"} if find_tune(spec) else {}
    trained = {"candidate": "train.candidate"} if spec.trains_by else {}
    expected: dict[str, dict[str, Any]] = {
        "prepare": {"sources": "pipeline.sources"},
        "tune": data,
        "train": data | searched,
        "evaluate": data | trained | {"champion": "pipeline.champion", "run_id": RUN_ID},
        "register": {"bundle": "evaluate.bundle", "dataset": "prepare.dataset"},
        "deploy": {"product": spec.product, "version": "register.Output", "run_id": RUN_ID},
        "finish": {"product": spec.product, "status": "exit-handler-1.status"},
    }

    for name, step in compiled.steps.items():
        assert {key: value for key, value in step.given.items() if key != "spec"} == expected[name], name
        # A step waits for all that it is given something of.
        made = {str(value).partition(".")[0] for value in step.given.values()} & compiled.steps.keys()
        assert made <= step.after, name


def test_each_step_that_reads_the_spec_reads_it_as_the_pipeline_was_started_with_it(
    spec: Product, compiled: CompiledPipeline
) -> None:
    readers = {name for name in ("prepare", "tune", "train", "evaluate") if name in compiled.steps}
    fixed = {"spec_uri": "spec.json", "spec_sha256": "0" * 64, "sources": "", "champion": "now", "release": True}
    editable = compiled.defaults.keys() - fixed.keys()
    train = find_train(spec)

    assert {name for name, step in compiled.steps.items() if "spec" in step.given} == readers
    for name in readers:
        reference = dict(compiled.steps[name].given["spec"])
        assert set(reference.pop("overrides")) == {f"train.{key}=pipeline.{key}" for key in editable}
        assert reference == {"uri": "pipeline.spec_uri", "sha256": "pipeline.spec_sha256", "code_version": "7"}
    assert compiled.defaults == fixed | {key: getattr(train, key) for key in editable}


def test_the_predictor_loads_what_training_wrote_and_answers_within_its_schema(
    predictor: Predictor, rows: list[Row]
) -> None:
    outputs = predictor.predict(rows)

    assert len(outputs) == len(rows)
    for output in outputs:
        json.dumps(spell_media(output))
        TypeAdapter(predictor.output_schema).validate_python(output)


def test_explanations_fit_the_schema_and_keep_the_answer(predictor: Predictor, rows: list[Row]) -> None:
    # A kind that explains nothing has no such method at all.
    assert isinstance(predictor, ExplainingPredictor) == hasattr(predictor, "explain")
    explained_rows = rows[:3] if isinstance(predictor, ExplainingPredictor) else []
    explained = predictor.explain(explained_rows) if isinstance(predictor, ExplainingPredictor) else []

    for output, plain in zip(explained, predictor.predict(explained_rows), strict=True):
        TypeAdapter(predictor.output_schema).validate_python(output)
        assert find_difference(dict(plain), {key: output[key] for key in plain}, TOLERANCE) is None
        assert output != plain


def test_preparation_and_serving_make_the_same_rows(kind: Kind, samples: ModuleType, predictor: Predictor) -> None:
    examples = kind.load_recipe(samples.SPEC).convert(samples.SOURCE).to_pylist()

    for example, raw in zip(examples, samples.SOURCE.to_pylist(), strict=True):
        row = samples.parse_source_row(predictor, raw)
        assert {name: example[name] for name in row} == dict(row)


def test_preparing_row_by_row_makes_the_same_rows(kind: Kind, samples: ModuleType) -> None:
    recipe = kind.load_recipe(samples.SPEC)
    names = list(recipe.content_columns)

    together = recipe.convert(samples.SOURCE).select(names).to_pylist()

    singly = [recipe.convert(samples.SOURCE.slice(number, 1)) for number in range(samples.SOURCE.num_rows)]
    assert [row for table in singly for row in table.select(names).to_pylist()] == together


def test_a_row_gets_the_same_answer_alone_and_inside_a_batch(predictor: Predictor, rows: list[Row]) -> None:
    together = predictor.predict(rows * 3)

    for output, row in zip(together, rows * 3, strict=True):
        (alone,) = predictor.predict([row])
        assert find_difference(dict(alone), dict(output), TOLERANCE) is None


def test_parsing_what_was_parsed_changes_nothing(predictor: Predictor, rows: list[Row]) -> None:
    assert [predictor.parse(dict(row)) for row in rows] == rows


def test_a_bad_input_gets_a_clear_short_error(predictor: Predictor, samples: ModuleType) -> None:
    assert {"empty", "huge", "wrong type"} <= samples.BAD_INPUTS.keys()
    for raw in samples.BAD_INPUTS.values():
        with pytest.raises(RequestError) as caught:
            predictor.parse(raw)
        assert 20 < len(str(caught.value)) < 300


def test_described_rows_have_the_same_features_and_only_numbers_and_short_texts(
    predictor: Predictor, rows: list[Row]
) -> None:
    described = [predictor.describe(row) for row in rows]

    for features in described:
        assert {name: type(value) for name, value in features.items()} == {
            name: type(value) for name, value in described[0].items()
        }
        assert all(isinstance(value, float) or len(value) < 30 for value in features.values())


def test_every_measured_metric_is_declared_with_its_direction(kind: Kind, bundle: tuple[Path, Evaluation]) -> None:
    measured = {name for name in bundle[1].metrics["test"] if not name.startswith("latency_")}

    assert {name for name in measured if kind.find_direction(name) is None} == set()
    assert {name for name in kind.metrics if "[" not in name} <= measured
