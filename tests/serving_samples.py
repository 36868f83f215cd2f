"""Tiny released models, for everything that tests serving; random weights, the real file formats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from launchyard.bundle.manifest import BundleManifest, write_manifest
from launchyard.bundle.self_test import EXAMPLES_NAME, Example, Examples
from launchyard.bundle.store import BundleStore
from launchyard.contract.predictor import Device
from launchyard.files.atomic import write_text
from launchyard.kinds.text_classification.predict import PredictorConfig, TextPredictor
from launchyard.kinds.text_classification.spec import TextClassification
from launchyard.records.records import Records
from launchyard.rollout.change import release
from launchyard.settings import Settings
from launchyard.text.preprocess import TextConfig, TextPreprocessor
from report_samples import make_dataset, make_evaluation

PRODUCT = "review-sentiment"
LABELS = ("negative", "positive")
WORDS = "a an the film movie is was not very good bad warm funny dull slow great awful story acting plot and but of"
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


def make_spec(product: str = PRODUCT, **serve: Any) -> TextClassification:
    return TextClassification.model_validate(
        {
            "api": "launchyard/v1",
            "product": product,
            "kind": "text-classification",
            "data": {"source": "rows.csv", "max_characters": 2000},
            "model": {"base": "model", "max_length": 32},
            "serve": serve,
        }
    )


def write_bundle(folder: Path, spec: TextClassification, *, seed: int = 0) -> BundleManifest:
    """Write a complete released bundle of a two-layer BERT with random weights."""
    tokenizer = _make_tokenizer()
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        id2label=dict(enumerate(LABELS)),
        label2id={label: index for index, label in enumerate(LABELS)},
    )
    model_dir = folder / "model"
    model = BertForSequenceClassification(config)
    # Random heads answer 50:50 whatever the text; far enough from that, versions can be told apart by their answers.
    model.classifier.weight.data.mul_(50)
    model.save_pretrained(model_dir)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(model_dir)
    TextPreprocessor(tokenizer, TextConfig(max_length=spec.model.max_length, pad_id=0)).save(folder)
    PredictorConfig(runtime="torch", labels=LABELS, max_characters=spec.data.max_characters).save(folder)
    _write_records(folder, spec)
    return write_manifest(
        folder, spec, namespace="default", run_id=f"run-{seed}", code_version="0.1.0", base_model=None
    )


def deploy_bundle(settings: Settings, folder: Path, manifest: BundleManifest) -> int:
    """Register the bundle and make it the champion; return its version."""
    records = Records(settings)
    version = records.add_version(manifest, BundleStore(settings).add(folder)).version
    records.close()
    release(settings, manifest.product, version, actor="test")
    return version


def _make_tokenizer() -> Tokenizer:
    vocabulary = {word: index for index, word in enumerate([*SPECIAL, *WORDS.split()])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


def _write_records(folder: Path, spec: TextClassification) -> None:
    dataset = make_dataset(LABELS).model_copy(update={"product": spec.product})
    write_text(folder / "dataset.json", dataset.model_dump_json())
    evaluation = make_evaluation(LABELS)
    passed = tuple(gate.model_copy(update={"passed": True}) for gate in evaluation.gates)
    write_text(folder / "evaluation.json", evaluation.model_copy(update={"gates": passed}).model_dump_json())
    predictor = TextPredictor.load(folder, Device(1))
    inputs = ["a warm film", "the plot was dull"]
    outputs = predictor.predict([predictor.parse(text) for text in inputs])
    examples = [
        Example(input=text, expected=dict(out), tolerance=0.02) for text, out in zip(inputs, outputs, strict=True)
    ]
    write_text(folder / EXAMPLES_NAME, Examples(tuple(examples)).model_dump_json())
