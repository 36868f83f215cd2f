"""Fine-tuning of text classifiers: families, options, and the mistakes that are caught before the first step."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification
from transformers.models.bert.modeling_bert import BertSelfAttention

import text_worker
from launchyard.data.manifest import MANIFEST_NAME, DatasetManifest, SplitName, read_split
from launchyard.data.prepare import prepare_dataset
from launchyard.errors import TrainError
from launchyard.evaluation.results import GradientRecord
from launchyard.kinds.text_classification.checks import check_classifier, check_learning_rate
from launchyard.kinds.text_classification.spec import TextClassification, TextTrain
from launchyard.kinds.text_classification.train import train_text_classifier, weigh_classes
from launchyard.settings import Settings
from launchyard.testing import LocalContext
from launchyard.text.base import load_classifier
from launchyard.text.preprocess import TextConfig, TextPreprocessor
from launchyard.training.context import TrainJob
from text_bases import FAMILIES, write_bert, write_gpt2, write_roberta
from text_worker import train_worker
from tiny_candidate import write_dataset

CHINESE = ("好看", "难看", "电影", "很", "不", "故事", "感人", "无聊", "演员", "精彩", "糟糕")


def make_spec(**values: Any) -> TextClassification:
    """Return a spec; ``model__dropout=0`` sets one key."""
    spec: dict[str, dict[str, Any]] = {
        "data": {"source": "rows.csv"},
        "model": {"base": "base", "max_length": 32},
        "train": {"epochs": 1, "batch_size": 16, "learning_rate": 3e-3, "precision": "fp32"},
    }
    for name, value in values.items():
        block, _, key = name.partition("__")
        spec[block][key] = value
    header = {"api": "launchyard/v1", "product": "tiny", "kind": "text-classification"}
    return TextClassification.model_validate(header | spec)


@pytest.fixture(scope="module")
def dataset_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("dataset") / "rows")


@pytest.fixture(scope="module")
def base_dir(tmp_path_factory: pytest.TempPathFactory, dataset_dir: Path) -> Path:
    return write_bert(tmp_path_factory.mktemp("base"), read_texts(dataset_dir))


def read_texts(dataset_dir: Path) -> list[str]:
    texts: list[str] = pq.read_table(dataset_dir / "train.parquet")["text"].to_pylist()
    return texts


def write_rows(folder: Path, rows: list[tuple[str, str]]) -> Path:
    """Write the same rows as training, validation and test rows."""
    folder.mkdir()
    table = pa.table({"text": [text for text, _ in rows], "label": [label for _, label in rows]})
    splits: tuple[SplitName, ...] = ("train", "validation", "test")
    for split in splits:
        pq.write_table(table, folder / f"{split}.parquet")
    manifest = DatasetManifest(
        product="tiny",
        kind="text-classification",
        fingerprint="0" * 64,
        split_hash="0" * 64,
        num_rows={split: len(rows) for split in splits},
        labels=tuple(sorted({label for _, label in rows})),
        label_counts={split: dict(Counter(label for _, label in rows)) for split in splits},
        sources=(),
        checks=(),
        profile=(),
    )
    (folder / MANIFEST_NAME).write_text(manifest.model_dump_json(), encoding="utf-8")
    return folder


def train(folder: Path, spec: TextClassification, dataset_dir: Path, base_dir: Path) -> GradientRecord:
    """Train in this process and return the record."""
    scratch = folder / "scratch"
    scratch.mkdir()
    job = TrainJob(spec=spec, dataset_dir=dataset_dir, base_dir=base_dir, output_dir=folder / "candidate")
    train_text_classifier(LocalContext(scratch), job)
    return GradientRecord.model_validate_json((job.output_dir / "training.json").read_text(encoding="utf-8"))


@torch.inference_mode()
def compute_logits(candidate: Path, texts: list[str]) -> torch.Tensor:
    """Return logits as serving would compute them: from the candidate's files alone."""
    model = AutoModelForSequenceClassification.from_pretrained(candidate / "model", local_files_only=True)
    preprocessor = TextPreprocessor.load(candidate)
    input_ids_BT, mask_BT = preprocessor.pad(preprocessor.encode(texts))
    logits: torch.Tensor = model(
        input_ids=torch.from_numpy(input_ids_BT), attention_mask=torch.from_numpy(mask_BT)
    ).logits
    return logits


def test_a_tiny_bert_learns_and_its_files_give_the_recorded_score(
    tmp_path: Path, dataset_dir: Path, base_dir: Path
) -> None:
    record = train(tmp_path, make_spec(train__epochs=4), dataset_dir, base_dir)

    rows = pq.read_table(dataset_dir / "validation.parquet")
    predicted = compute_logits(tmp_path / "candidate", rows["text"].to_pylist()).argmax(dim=1)
    config = json.loads((tmp_path / "candidate/model/config.json").read_text(encoding="utf-8"))
    names = [config["id2label"][str(number)] for number in predicted.tolist()]
    accuracy = float(np.mean([name == label for name, label in zip(names, rows["label"].to_pylist(), strict=True)]))
    assert accuracy == pytest.approx(record.validation["accuracy"])
    assert accuracy > 0.7
    assert record.best_step in record.curves[-1].x


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_each_family_gives_the_same_logits_alone_and_in_a_padded_batch(
    tmp_path: Path, dataset_dir: Path, family: str
) -> None:
    base_dir = FAMILIES[family](tmp_path / "base")
    record = train(tmp_path, make_spec(train__max_steps=3), dataset_dir, base_dir)
    texts = ["dull", "a warm and funny film with a lovely cast", "awful story, awful acting and boring"]

    together = compute_logits(tmp_path / "candidate", texts)
    alone = torch.cat([compute_logits(tmp_path / "candidate", [text]) for text in texts])

    assert torch.allclose(together, alone, atol=1e-5)
    assert record.model_type == family
    assert record.fresh_weights
    assert all(("classifier" in name or "score" in name) for name in record.fresh_weights)


def test_a_decoder_without_a_padding_token_gets_one(tmp_path: Path, dataset_dir: Path) -> None:
    train(tmp_path, make_spec(train__max_steps=1), dataset_dir, write_gpt2(tmp_path / "base"))

    config = json.loads((tmp_path / "candidate/model/config.json").read_text(encoding="utf-8"))
    preprocess = json.loads((tmp_path / "candidate/preprocess.json").read_text(encoding="utf-8"))
    assert config["pad_token_id"] == preprocess["pad_id"] == 0


def test_labels_are_mapped_in_the_models_own_config(tmp_path: Path, dataset_dir: Path, base_dir: Path) -> None:
    train(tmp_path, make_spec(train__max_steps=1), dataset_dir, base_dir)

    config = json.loads((tmp_path / "candidate/model/config.json").read_text(encoding="utf-8"))
    assert config["id2label"] == {"0": "negative", "1": "positive"}
    assert config["label2id"] == {"negative": 0, "positive": 1}


def test_nothing_in_a_candidate_says_on_which_machine_it_was_made(
    tmp_path: Path, dataset_dir: Path, base_dir: Path
) -> None:
    train(tmp_path, make_spec(train__max_steps=1), dataset_dir, base_dir)

    files = [path for path in (tmp_path / "candidate").rglob("*") if path.suffix in (".json", ".safetensors")]
    assert {path.name for path in files} == {
        "config.json",
        "model.safetensors",
        "preprocess.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "training.json",
    }
    for path in files:
        assert str(base_dir).encode() not in path.read_bytes()


def test_numeric_labels_are_classes_and_not_a_regression(tmp_path: Path, base_dir: Path) -> None:
    rows = [("a warm film", "0"), ("a dull film", "1"), ("a boring plot", "10")] * 4

    train(tmp_path, make_spec(), write_rows(tmp_path / "rows", rows), base_dir)

    config = json.loads((tmp_path / "candidate/model/config.json").read_text(encoding="utf-8"))
    assert config["problem_type"] == "single_label_classification"
    assert config["id2label"] == {"0": "0", "1": "1", "2": "10"}


def test_a_rating_is_never_scaled_on_its_way_from_the_source_to_the_model(tmp_path: Path, base_dir: Path) -> None:
    draw = np.random.default_rng(0)
    rows = [
        {"text": " ".join(draw.choice(["warm", "dull", "film", "plot", "story", "acting"], 9)), "stars": number % 5 + 1}
        for number in range(100)
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    spec = make_spec(
        data__source="rows.jsonl", data__label={"column": "stars"}, data__checks={"near_duplicates": "allow"}
    )

    manifest = prepare_dataset(
        spec, Settings(home=tmp_path / "home"), base_dir=tmp_path, output_dir=tmp_path / "dataset"
    )
    train(tmp_path, spec, tmp_path / "dataset", base_dir)

    config = json.loads((tmp_path / "candidate/model/config.json").read_text(encoding="utf-8"))
    assert set(read_split(tmp_path / "dataset", "train")["label"].to_pylist()) == {"1", "2", "3", "4", "5"}
    assert manifest.labels == ("1", "2", "3", "4", "5")
    assert config["id2label"] == {"0": "1", "1": "2", "2": "3", "3": "4", "4": "5"}


def test_one_label_is_refused_where_transformers_would_fit_a_regression(tmp_path: Path, base_dir: Path) -> None:
    dataset_dir = write_rows(tmp_path / "rows", [("a warm film", "good")] * 4)

    with pytest.raises(TrainError, match=r"needs two labels or more, found \['good'\]"):
        train(tmp_path, make_spec(), dataset_dir, base_dir)


def test_chinese_is_learned_from_a_tokenizer_that_knows_it(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    rows = []
    for number in range(200):
        words = generator.choice(["电影", "很", "故事", "演员"], 6).tolist()
        words.insert(
            int(generator.integers(6)), ["精彩", "感人"][number % 2] if number % 4 < 2 else ["无聊", "糟糕"][number % 2]
        )
        rows.append(("".join(words), "好" if number % 4 < 2 else "差"))
    base_dir = write_bert(tmp_path / "base", [text for text, _ in rows])

    record = train(
        tmp_path, make_spec(data__language="zh", train__epochs=6), write_rows(tmp_path / "rows", rows), base_dir
    )

    assert record.warnings == (
        "train.learning_rate: 0.003 is unusual: adamw on a pretrained transformer takes 1e-06 to 0.0005.",
    )
    assert record.validation["accuracy"] > 0.9


def test_an_english_vocabulary_on_chinese_text_is_refused(tmp_path: Path, base_dir: Path) -> None:
    rows = [("".join(CHINESE[:6]), "好"), ("".join(CHINESE[5:]), "差")] * 8

    with pytest.raises(TrainError, match=r"does not know \d+% of the tokens .*'zh'.* Choose a base model"):
        train(tmp_path, make_spec(data__language="zh"), write_rows(tmp_path / "rows", rows), base_dir)


def test_a_byte_tokenizer_of_another_script_is_warned_about(tmp_path: Path) -> None:
    rows = [("".join(CHINESE[:6]), "好"), ("".join(CHINESE[5:]), "差")] * 8

    record = train(
        tmp_path,
        make_spec(data__language="zh", train__max_steps=1),
        write_rows(tmp_path / "rows", rows),
        write_gpt2(tmp_path / "base"),
    )

    assert "made for another script" in record.warnings[-1]


@pytest.mark.parametrize(
    ("optimizer", "rate", "lora", "outcome"),
    [
        ("adamw", 2e-5, None, "quiet"),
        ("adamw", 1e-3, None, "warned"),
        ("adamw", 1e-9, None, "warned"),
        ("adamw", 1e-2, None, "refused"),
        ("adamw", 1e-3, {}, "quiet"),
        ("sgd", 1e-2, None, "quiet"),
        ("sgd", 5.0, None, "refused"),
        ("rmsprop", 1e-5, None, "quiet"),
        ("adam", 0.5, {}, "refused"),
    ],
)
def test_learning_rates_outside_the_optimizers_range_are_caught(
    optimizer: str, rate: float, lora: dict[str, Any] | None, outcome: str
) -> None:
    spec = make_spec(train__optimizer=optimizer, train__learning_rate=rate, model__lora=lora)

    if outcome == "refused":
        with pytest.raises(TrainError, match=r"would destroy the base model.*Lower it"):
            check_learning_rate(spec)
    else:
        assert bool(check_learning_rate(spec)) == (outcome == "warned")


def test_more_tokens_than_positions_are_refused(tmp_path: Path, dataset_dir: Path, base_dir: Path) -> None:
    with pytest.raises(TrainError, match=r"65 tokens are more than the 64 positions .* Set model.max_length"):
        train(tmp_path, make_spec(model__max_length=65), dataset_dir, base_dir)


def test_the_positions_that_roberta_reserves_do_not_count(tmp_path: Path) -> None:
    base_dir = write_roberta(tmp_path)

    load_classifier(base_dir, make_spec(model__max_length=64).model, ["a", "b"])
    with pytest.raises(TrainError, match="more than the 64 positions"):
        load_classifier(base_dir, make_spec(model__max_length=65).model, ["a", "b"])


def test_a_path_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no model", encoding="utf-8")

    for path, problem in (
        (tmp_path, "config.json is missing"),
        (tmp_path / "absent", "no model here"),
        (tmp_path / "notes.txt", "no model here"),
    ):
        with pytest.raises(TrainError, match=f"{problem}.*Give a transformers folder"):
            load_classifier(path, make_spec().model, ["a", "b"])


def test_an_unknown_architecture_is_refused(tmp_path: Path) -> None:
    write_bert(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "perceptron9000"}', encoding="utf-8")

    with pytest.raises(TrainError, match="perceptron9000"):
        load_classifier(tmp_path, make_spec().model, ["a", "b"])


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    write_bert(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save({}, tmp_path / "pytorch_model.bin")

    with pytest.raises(TrainError, match=r"pytorch_model\.bin.*can run code.*Convert it to safetensors"):
        load_classifier(tmp_path, make_spec().model, ["a", "b"])


def test_weights_that_do_not_belong_to_the_config_are_refused(tmp_path: Path) -> None:
    write_bert(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 4}), encoding="utf-8")

    with pytest.raises(TrainError, match="weights of a 'bert' are missing"):
        load_classifier(tmp_path, make_spec().model, ["a", "b"])


def test_a_model_that_ignores_its_padding_mask_is_caught(base_dir: Path) -> None:
    classifier = load_classifier(base_dir, make_spec().model, ["a", "b"])
    preprocessor = TextPreprocessor(classifier.tokenizer.backend_tokenizer, TextConfig(max_length=32, pad_id=0))

    class Unmasked(torch.nn.Module):
        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
            return classifier.model(input_ids, torch.ones_like(attention_mask))

    texts = ["dull", "a warm and funny film with a lovely cast"]
    check_classifier(classifier.model, preprocessor, texts, 2, "cpu")
    with pytest.raises(TrainError, match="padding is not masked"):
        check_classifier(Unmasked(), preprocessor, texts, 2, "cpu")


def test_an_output_of_another_shape_than_the_labels_is_caught(base_dir: Path) -> None:
    classifier = load_classifier(base_dir, make_spec().model, ["a", "b"])
    preprocessor = TextPreprocessor(classifier.tokenizer.backend_tokenizer, TextConfig(max_length=32, pad_id=0))

    with pytest.raises(TrainError, match=r"logits of shape \(2, 2\), expected \(2, 3\)"):
        check_classifier(classifier.model, preprocessor, ["dull", "warm film"], 3, "cpu")


def test_balanced_class_weights_make_labels_count_alike() -> None:
    labels_R = np.array([0] * 6 + [1] * 2)

    weights_C = weigh_classes(TextTrain(class_weights="balanced"), labels_R, ["a", "b"])

    assert weights_C.tolist() == pytest.approx([8 / 12, 2.0])
    assert weights_C[labels_R].sum() == pytest.approx(8)


def test_a_class_weight_of_an_unknown_label_is_refused() -> None:
    with pytest.raises(TrainError, match=r"no label is called \['spam'\]. Labels: a, b"):
        weigh_classes(TextTrain(class_weights={"spam": 2.0}), np.array([0, 1]), ["a", "b"])


def test_class_weights_shift_what_is_predicted(tmp_path: Path, dataset_dir: Path, base_dir: Path) -> None:
    texts = read_texts(dataset_dir)[:64]
    shares = []
    for name, weights in (("few", {"positive": 0.05}), ("many", {"positive": 20.0})):
        (tmp_path / name).mkdir()
        train(tmp_path / name, make_spec(train__class_weights=weights), dataset_dir, base_dir)
        shares.append(float(compute_logits(tmp_path / name / "candidate", texts).argmax(dim=1).float().mean()))

    assert shares[0] < 0.2
    assert shares[1] > 0.8


def test_lora_trains_few_weights_and_is_merged_into_the_saved_model(
    tmp_path: Path, dataset_dir: Path, base_dir: Path
) -> None:
    record = train(
        tmp_path,
        make_spec(model__lora={"rank": 4, "dropout": 0.0}, train__epochs=3, train__learning_rate=2e-2),
        dataset_dir,
        base_dir,
    )

    saved = load_file(tmp_path / "candidate/model/model.safetensors")
    base = load_file(base_dir / "model.safetensors")
    assert not [name for name in saved if "lora" in name]
    changed = {name for name in base if not torch.equal(saved[f"bert.{name}"], base[name])}
    assert changed == {
        f"encoder.layer.{layer}.attention.self.{part}.weight" for layer in (0, 1) for part in ("query", "value")
    }
    # Two matrices of rank 4 for query and value of both layers, and the head.
    assert record.num_trained_parameters == 2 * 2 * 2 * 4 * 32 + 32 * 2 + 2
    rows = pq.read_table(dataset_dir / "validation.parquet")
    classes = ["negative", "positive"]
    predicted = compute_logits(tmp_path / "candidate", rows["text"].to_pylist()).argmax(dim=1).tolist()
    right = [classes[number] == label for number, label in zip(predicted, rows["label"].to_pylist(), strict=True)]
    assert np.mean(right) == pytest.approx(record.validation["accuracy"])


def test_lora_targets_that_do_not_exist_are_refused(tmp_path: Path, dataset_dir: Path, base_dir: Path) -> None:
    with pytest.raises(TrainError, match=r"model.lora: no layers to adapt.*Set model.lora.target_modules"):
        train(tmp_path, make_spec(model__lora={"target_modules": ["nothing"]}), dataset_dir, base_dir)


def test_dropout_reaches_the_model_and_is_refused_where_there_is_none(tmp_path: Path, base_dir: Path) -> None:
    classifier = load_classifier(base_dir, make_spec(model__dropout=0.33).model, ["a", "b"])

    rates = {module.p for module in classifier.model.modules() if isinstance(module, torch.nn.Dropout)}
    assert rates == {0.33}


@pytest.mark.parametrize("lora", [None, {"rank": 4, "dropout": 0.1}])
def test_activations_that_are_computed_anew_give_the_same_weights(
    tmp_path: Path, dataset_dir: Path, base_dir: Path, lora: dict[str, Any] | None
) -> None:
    calls = []
    for checkpointing in (False, True):
        folder = tmp_path / str(checkpointing)
        folder.mkdir()
        watched: list[int] = []
        forward = BertSelfAttention.forward

        def count(self: Any, *args: Any, _watched: list[int] = watched, _forward: Any = forward, **kwargs: Any) -> Any:
            _watched.append(self.training)
            return _forward(self, *args, **kwargs)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(BertSelfAttention, "forward", count)
            spec = make_spec(
                train__max_steps=4, train__activation_checkpointing=checkpointing, model__dropout=0.2, model__lora=lora
            )
            train(folder, spec, dataset_dir, base_dir)
        calls.append(sum(watched))

    kept, anew = (load_file(tmp_path / f"{name}/candidate/model/model.safetensors") for name in (False, True))
    assert calls[1] == 2 * calls[0]
    assert all(torch.equal(kept[name], anew[name]) for name in kept)


def test_two_workers_with_divided_weights_finetune_as_one(tmp_path: Path, dataset_dir: Path, base_dir: Path) -> None:
    spec = make_spec(
        train__max_steps=12,
        train__evaluations_per_epoch=2,
        train__sharding="full",
        train__activation_checkpointing=True,
        train__optimizer="sgd",
        train__learning_rate=0.05,
        model__dropout=0.0,
        model__lora={"rank": 4, "dropout": 0.0},
    )
    (tmp_path / "spec.json").write_text(spec.model_dump_json(), encoding="utf-8")
    shutil.copytree(dataset_dir, tmp_path / "rows")
    shutil.copytree(base_dir, tmp_path / "base")
    train_worker(tmp_path, 0, 1)

    workers = [subprocess.Popen([sys.executable, text_worker.__file__, str(tmp_path), str(rank)]) for rank in range(2)]
    codes = [worker.wait(timeout=120) for worker in workers]

    assert codes == [0, 0]
    one, two = (load_file(tmp_path / f"candidate-{count}/model/model.safetensors") for count in (1, 2))
    base = load_file(tmp_path / "base/model.safetensors")
    assert {name: tensor.shape for name, tensor in one.items()} == {name: tensor.shape for name, tensor in two.items()}
    assert max(float((one[name] - two[name]).abs().max()) for name in one) < 1e-4
    assert any(not torch.equal(two[f"bert.{name}"], base[name]) for name in base)
    records = [
        GradientRecord.model_validate_json((tmp_path / f"candidate-{count}/training.json").read_bytes())
        for count in (1, 2)
    ]
    assert records[1].workers == 2
    assert records[1].num_trained_parameters == records[0].num_trained_parameters
    assert records[1].validation == pytest.approx(records[0].validation, abs=1e-3)


def test_label_smoothing_keeps_the_model_less_sure(tmp_path: Path, dataset_dir: Path, base_dir: Path) -> None:
    texts = read_texts(dataset_dir)[:64]
    confidence = []
    for name, smoothing in (("sharp", 0.0), ("smooth", 0.5)):
        (tmp_path / name).mkdir()
        train(
            tmp_path / name,
            make_spec(train__epochs=5, train__label_smoothing=smoothing, train__early_stopping=None),
            dataset_dir,
            base_dir,
        )
        logits = compute_logits(tmp_path / name / "candidate", texts)
        confidence.append(float(logits.softmax(dim=1).max(dim=1).values.mean()))

    assert confidence[1] < confidence[0] - 0.05
