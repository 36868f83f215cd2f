"""The end of training: how the runtime is chosen, and that every runtime answers a row the same in any batch."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from launchyard.contract.predictor import Device
from launchyard.contract.training import ExportJob
from launchyard.data.manifest import read_split
from launchyard.errors import BundleError
from launchyard.evaluation.results import RuntimeCandidate
from launchyard.kinds.text_classification.export import choose_runtime, export_text_classifier, read_labels
from launchyard.kinds.text_classification.predict import PredictorConfig, TextPredictor
from launchyard.text.runtimes import GRAPH_NAMES, RuntimeName
from tiny_candidate import make_spec

TOLERANCE = 1e-5
"""Largest difference of a logit alone and inside a batch: float32 sums in another order; int8 sums are exact."""


def make_record(name: str, p50_ms: float | None, accuracy: float | None) -> RuntimeCandidate:
    return RuntimeCandidate(name=name, p50_ms=p50_ms, quality=accuracy, reason="")


def choose(records: list[RuntimeCandidate], wanted: str = "auto", tolerance: float = 0.002) -> str:
    (chosen,) = [record for record in choose_runtime(records, wanted, tolerance) if record.chosen]
    return chosen.name


def test_the_fastest_runtime_within_the_tolerance_is_chosen() -> None:
    torch_record, onnx = make_record("torch", 9.0, 0.85), make_record("onnx", 3.0, 0.85)

    assert choose([torch_record, onnx, make_record("onnx-int8", 1.0, 0.848)]) == "onnx-int8"
    assert choose([torch_record, onnx, make_record("onnx-int8", 1.0, 0.847)]) == "onnx"
    assert choose([torch_record, make_record("onnx", 3.0, 0.80)]) == "torch"


def test_a_runtime_that_could_not_be_made_keeps_its_reason_and_torch_serves() -> None:
    failed = RuntimeCandidate(name="onnx", reason="could not be made: no such operator")

    records = choose_runtime([make_record("torch", 9.0, 0.85), failed], "auto", 0.002)

    assert [(record.name, record.chosen) for record in records] == [("torch", True), ("onnx", False)]
    assert records[1].reason == "could not be made: no such operator"


def test_what_the_spec_asks_for_is_chosen_though_it_is_slower() -> None:
    records = [make_record("torch", 2.0, 0.85), make_record("onnx", 3.0, 0.85)]

    assert choose(records, "onnx") == "onnx"


def test_a_wanted_runtime_that_cannot_be_made_is_an_error_with_its_reason() -> None:
    failed = RuntimeCandidate(name="onnx", reason="could not be made: no such operator")

    with pytest.raises(BundleError, match=r"serve\.runtime: onnx: could not be made: no such operator"):
        choose_runtime([make_record("torch", 9.0, 0.85), failed], "onnx", 0.002)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, tiny_candidate: Path, tiny_dataset: Path) -> dict[str, Path]:
    """The tiny candidate, exported once with each runtime."""
    folder = tmp_path_factory.mktemp("exported")
    for name in ("torch", *GRAPH_NAMES):
        shutil.copytree(tiny_candidate, folder / name)
        spec = make_spec(serve={"runtime": name})
        export_text_classifier(
            ExportJob(
                spec, folder / name, tiny_dataset, read_split(tiny_dataset, "validation"), threads=1, batch_threads=1
            )
        )
    return {name: folder / name for name in ("torch", *GRAPH_NAMES)}


@pytest.mark.parametrize("name", ["torch", "onnx", "onnx-int8"])
def test_a_rows_logits_are_the_same_alone_and_inside_a_batch(
    exported: dict[str, Path], tiny_dataset: Path, name: RuntimeName
) -> None:
    predictor = TextPredictor.load(exported[name], Device(1))
    texts = pq.read_table(tiny_dataset / "test.parquet")["text"].to_pylist()[:40]
    rows = [predictor.parse(text) for text in [*texts, "dull", "z" * 300]]

    together_BC = predictor.compute_logits(rows)

    alone_BC = np.concatenate([predictor.compute_logits([row]) for row in rows])
    assert predictor.config.runtime == name
    assert np.abs(together_BC - alone_BC).max() <= TOLERANCE


def test_the_graph_computes_what_torch_computes(exported: dict[str, Path], tiny_dataset: Path) -> None:
    texts = pq.read_table(tiny_dataset / "test.parquet")["text"].to_pylist()
    by_torch, by_onnx, by_int8 = (
        TextPredictor.load(exported[name], Device(1)).compute_logits([{"text": text} for text in texts])
        for name in ("torch", "onnx", "onnx-int8")
    )

    assert np.abs(by_onnx - by_torch).max() < 1e-4
    assert 0 < np.abs(by_int8 - by_torch).max() < 0.3
    assert (by_int8.argmax(axis=1) == by_torch.argmax(axis=1)).mean() > 0.95


@pytest.mark.parametrize("name", GRAPH_NAMES)
def test_a_graph_does_not_tell_where_the_code_lay_that_exported_it(
    exported: dict[str, Path], name: RuntimeName
) -> None:
    content = (exported[name] / "model" / GRAPH_NAMES[name]).read_bytes()

    assert b".py" not in content
    assert str(Path.cwd()).encode() not in content


@pytest.mark.parametrize("name", ["torch", "onnx", "onnx-int8"])
def test_only_the_served_graph_stays(exported: dict[str, Path], name: RuntimeName) -> None:
    graphs = {path.name for path in (exported[name] / "model").glob("*.onnx")}

    assert graphs == ({GRAPH_NAMES[name]} if name in GRAPH_NAMES else set())
    assert (exported[name] / "model/model.safetensors").is_file()


def test_no_abstention_is_set_when_the_spec_wants_none(
    tiny_candidate: Path, tiny_dataset: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_candidate, tmp_path / "bundle")
    spec = make_spec(serve={"runtime": "torch"}, evaluate={"abstain": None})

    export_text_classifier(
        ExportJob(
            spec, tmp_path / "bundle", tiny_dataset, read_split(tiny_dataset, "validation"), threads=1, batch_threads=1
        )
    )

    predictor = TextPredictor.load(tmp_path / "bundle", Device(1))
    assert predictor.config.min_confidence is None
    assert not predictor.predict([predictor.parse("这部电影")])[0]["abstained"]


def test_an_architecture_that_cannot_be_exported_is_served_by_torch(
    tiny_candidate: Path, tiny_dataset: Path, tmp_path: Path
) -> None:
    """Longformer's windows depend on the length of the text, which torch.export cannot follow."""
    shutil.copytree(tiny_candidate, tmp_path / "bundle")
    write_model(
        tmp_path / "bundle/model",
        "longformer",
        {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
        | {"attention_window": 8, "max_position_embeddings": 130},
    )

    records = export_text_classifier(
        ExportJob(
            make_spec(),
            tmp_path / "bundle",
            tiny_dataset,
            read_split(tiny_dataset, "validation"),
            threads=1,
            batch_threads=1,
        )
    )

    assert [(record.name, record.chosen) for record in records] == [("torch", True), ("onnx", False)]
    assert records[1].reason.startswith("could not be made")
    assert "\x1b" not in records[1].reason
    assert PredictorConfig.load(tmp_path / "bundle").runtime == "torch"


def write_model(model_dir: Path, family: str, sizes: dict[str, int]) -> None:
    """Replace the model in ``model_dir`` by one of another family, with random weights and the same labels."""
    bert = AutoConfig.from_pretrained(model_dir)
    config = AutoConfig.for_model(
        family, vocab_size=bert.vocab_size, pad_token_id=0, id2label=bert.id2label, label2id=bert.label2id, **sizes
    )
    torch.manual_seed(0)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(model_dir)


@pytest.mark.parametrize("family", ["gpt2", "llama", "roberta", "distilbert"])
def test_every_family_exports_to_the_same_logits(
    tiny_candidate: Path, tiny_dataset: Path, tmp_path: Path, family: str
) -> None:
    shutil.copytree(tiny_candidate, tmp_path / "bundle")
    sizes = {
        "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64},
        "llama": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2},
        "roberta": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2},
        "distilbert": {"dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 2},
    }
    write_model(tmp_path / "bundle/model", family, sizes[family])
    spec = make_spec(serve={"runtime": "onnx"})

    records = export_text_classifier(
        ExportJob(
            spec, tmp_path / "bundle", tiny_dataset, read_split(tiny_dataset, "validation"), threads=1, batch_threads=1
        )
    )

    predictor = TextPredictor.load(tmp_path / "bundle", Device(1))
    rows = [predictor.parse(text) for text in ("dull", "a brilliant film with a very weak plot")]
    together_BC = predictor.compute_logits(rows)
    assert records[1].chosen
    assert np.abs(together_BC - np.concatenate([predictor.compute_logits([row]) for row in rows])).max() <= TOLERANCE
    assert abs(predictor.explain(rows)[1]["explanation"]["delta"]) < 0.05


def test_labels_that_are_not_in_the_configuration_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")

    with pytest.raises(BundleError, match="names no labels"):
        read_labels(tmp_path)


def test_thresholds_come_from_the_validation_rows(exported: dict[str, Path], tiny_dataset: Path) -> None:
    predictor = TextPredictor.load(exported["onnx"], Device(1))
    texts = pq.read_table(tiny_dataset / "validation.parquet")["text"].to_pylist()

    outputs = predictor.predict([predictor.parse(text) for text in texts])

    assert PredictorConfig.load(exported["onnx"]).temperature != 1.0
    assert np.mean([not output["abstained"] for output in outputs]) >= 0.95


def test_one_unknown_sign_in_a_text_is_no_reason_to_abstain(exported: dict[str, Path]) -> None:
    predictor = TextPredictor.load(exported["onnx"], Device(1))

    outputs = predictor.predict([predictor.parse("the story is brilliant and the plot very warm 🎬")])

    assert predictor.config.max_unknown_share >= 0.25
    assert not outputs[0]["abstained"]
