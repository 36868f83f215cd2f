"""The plain transformers fine-tune that training is measured against, and both sides on the same rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
    set_seed,
)

from launchyard.data.manifest import SplitName, load_manifest, read_split
from launchyard.data.prepare import prepare_dataset
from launchyard.evaluation.results import GradientRecord
from launchyard.kinds.text_classification.train import train_text_classifier
from launchyard.settings import load_settings, set_process_defaults
from launchyard.sources.resolve import fetch
from launchyard.spec.blocks import PretrainedModel
from launchyard.spec.load import load_spec
from launchyard.testing import LocalContext
from launchyard.text.preprocess import TextPreprocessor
from launchyard.training.context import TrainJob

SPEC = Path(__file__).resolve().parent.parent / "examples/review-sentiment/product.yaml"


@dataclass(frozen=True)
class Result:
    """One fine-tune: its speed, its test accuracy and its loss at each step."""

    samples_per_second: float
    accuracy: float
    losses: tuple[float, ...]


def make_job(folder: Path, overrides: Sequence[str]) -> TrainJob:
    """Return the example product's job with real rows and the real base model, fetched and prepared."""
    set_process_defaults()
    settings = load_settings()
    spec = load_spec(SPEC, overrides)
    dataset_dir = folder / "dataset"
    if not dataset_dir.exists():
        prepare_dataset(spec, settings, base_dir=SPEC.parent, output_dir=dataset_dir)
    assert isinstance(spec.model, PretrainedModel)
    base = fetch(spec.model.base, settings, base_dir=SPEC.parent)
    return TrainJob(spec=spec, dataset_dir=dataset_dir, base_dir=base.path, output_dir=folder / "candidate")


def finetune_ours(job: TrainJob, scratch_dir: Path, *, threads: int, device: str = "cpu") -> Result:
    """Train with Launchyard's loop in this process; the test rows are answered on the CPU."""
    scratch_dir.mkdir(parents=True)
    train_text_classifier(LocalContext(scratch_dir, threads=threads, device=device), job)
    record = GradientRecord.model_validate_json((job.output_dir / "training.json").read_text(encoding="utf-8"))
    preprocessor = TextPreprocessor.load(job.output_dir)
    model = AutoModelForSequenceClassification.from_pretrained(job.output_dir / "model")
    ids = preprocessor.encode(read_split(job.dataset_dir, "test")["text"].to_pylist())
    batches = ((preprocessor.pad(ids[at : at + 64])) for at in range(0, len(ids), 64))
    accuracy = measure_accuracy(job, model, (tuple(map(torch.from_numpy, batch)) for batch in batches))
    losses = next(series.y for series in record.curves if series.name == "train_loss")
    return Result(record.samples_per_second, accuracy, losses)


def finetune_plain(
    job: TrainJob,
    output_dir: Path,
    *,
    threads: int,
    order: Sequence[int] | None = None,
    validate: bool = False,
    device: str = "cpu",
) -> Result:
    """Train with a plain ``transformers.Trainer``, dynamic padding and the spec's settings (``auto`` precision: fp32).

    ``validate`` measures the loss of the validation rows after each epoch, inside the time that is taken.
    """
    torch.set_num_threads(threads)
    spec: Any = job.spec
    set_seed(spec.train.seed)
    labels = load_manifest(job.dataset_dir).labels
    tokenizer = AutoTokenizer.from_pretrained(job.base_dir)
    dropout = (
        {}
        if spec.model.dropout is None
        else dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), spec.model.dropout)
    )
    torch.manual_seed(spec.train.seed)
    model = AutoModelForSequenceClassification.from_pretrained(job.base_dir, num_labels=len(labels), **dropout)
    trainer = OrderedTrainer(
        order,
        model=model,
        args=TrainingArguments(
            output_dir=str(output_dir),
            per_device_train_batch_size=spec.train.batch_size,
            num_train_epochs=spec.train.epochs,
            max_steps=spec.train.max_steps or -1,
            learning_rate=spec.train.learning_rate,
            lr_scheduler_type=spec.train.scheduler,
            warmup_steps=spec.train.warmup,
            weight_decay=spec.train.weight_decay,
            max_grad_norm=spec.train.max_grad_norm,
            seed=spec.train.seed,
            bf16=spec.train.precision == "bf16",
            use_cpu=device == "cpu",
            logging_steps=500 if order is None else 1,
            report_to="none",
            save_strategy="no",
            eval_strategy="epoch" if validate else "no",
            per_device_eval_batch_size=2 * spec.train.batch_size,
            disable_tqdm=True,
            dataloader_pin_memory=False,
        ),
        train_dataset=read_rows(job, tokenizer, "train"),
        eval_dataset=read_rows(job, tokenizer, "validation") if validate else None,
        data_collator=DataCollatorWithPadding(tokenizer),
    )
    metrics = trainer.train().metrics
    texts = read_split(job.dataset_dir, "test")["text"].to_pylist()
    accuracy = measure_accuracy(job, model.to("cpu"), iter_padded(tokenizer, texts, spec.model.max_length))
    losses = tuple(entry["loss"] for entry in trainer.state.log_history if "loss" in entry)
    return Result(metrics["train_samples_per_second"], accuracy, losses)


class OrderedTrainer(Trainer):
    """A plain Trainer, which may be told the order of rows."""

    def __init__(self, order: Sequence[int] | None, **options: Any) -> None:
        """Keep ``order``; None is the Trainer's own shuffle."""
        self.order = order
        super().__init__(**options)

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return super()._get_train_sampler(train_dataset) if self.order is None else self.order

    def log(self, logs: dict[str, float], *arguments: Any, **options: Any) -> None:
        """Keep the curve without printing it."""
        self.state.log_history.append(logs)


def read_rows(job: TrainJob, tokenizer: Any, split: SplitName) -> list[dict[str, Any]]:
    """Return the tokenised rows of a split, as a plain script would make them."""
    spec: Any = job.spec
    table = read_split(job.dataset_dir, split)
    labels = load_manifest(job.dataset_dir).labels
    encoded = tokenizer(table["text"].to_pylist(), truncation=True, max_length=spec.model.max_length)
    return [
        {"input_ids": ids, "attention_mask": mask, "labels": labels.index(label)}
        for ids, mask, label in zip(
            encoded["input_ids"], encoded["attention_mask"], table["label"].to_pylist(), strict=True
        )
    ]


def iter_padded(tokenizer: Any, texts: Sequence[str], max_length: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield batches of ids and masks."""
    for at in range(0, len(texts), 64):
        batch = tokenizer(
            texts[at : at + 64], truncation=True, max_length=max_length, padding=True, return_tensors="pt"
        )
        yield batch["input_ids"], batch["attention_mask"]


@torch.inference_mode()
def measure_accuracy(job: TrainJob, model: Any, batches: Iterator[tuple[torch.Tensor, ...]]) -> float:
    """Return the accuracy on the test rows, in fp32."""
    labels = load_manifest(job.dataset_dir).labels
    truth = [labels.index(label) for label in read_split(job.dataset_dir, "test")["label"].to_pylist()]
    model.eval()
    answers = [model(input_ids=ids, attention_mask=mask).logits.argmax(dim=1).numpy() for ids, mask in batches]
    return float(np.mean(np.concatenate(answers) == truth))
