"""Fine-tuning of a text classifier, as one data-parallel worker does it.

Array legend: R training rows, V validation rows, B rows of a batch, T tokens, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import cross_entropy

from launchyard.data.manifest import load_manifest, read_split
from launchyard.errors import TrainError
from launchyard.evaluation.metrics.classification import ClassificationScores
from launchyard.kinds.text_classification.checks import (
    check_classifier,
    check_labels,
    check_learning_rate,
    check_tokens,
)
from launchyard.kinds.text_classification.spec import TextClassification, TextTrain
from launchyard.text.base import add_lora, load_classifier, save_classifier
from launchyard.text.preprocess import TextConfig, TextPreprocessor
from launchyard.training.context import TrainContext, TrainJob
from launchyard.training.loop import TrainingLoop
from launchyard.training.record import ModelFacts, count_parameters, describe_training, write_record
from launchyard.training.search import find_better

LOG_FOLDER = "tensorboard"
LENGTH_MULTIPLE = 4
"""Rows are padded to such lengths: a matrix product of a shape that was not met before has to be set up first."""


class TextRows:
    """The rows of one split, tokenised once, held compactly and padded batch by batch."""

    def __init__(self, preprocessor: TextPreprocessor, table: pa.Table, labels: Sequence[str]) -> None:
        """Tokenise the table's texts; the ids are kept as one flat array, 4 bytes a token."""
        ids = preprocessor.encode(table["text"].to_pylist())
        classes = {label: number for number, label in enumerate(labels)}
        self.labels_R = np.array([classes[label] for label in table["label"].to_pylist()], dtype=np.int64)
        self.lengths_R = np.array([len(row) for row in ids], dtype=np.int64)
        self.ids = np.fromiter((token for row in ids for token in row), dtype=np.int32, count=self.lengths_R.sum())
        self._ends_R = np.cumsum(self.lengths_R)
        self._preprocessor = preprocessor

    def pad(self, rows_B: NDArray[np.intp]) -> dict[str, torch.Tensor]:
        """Return the model's arguments for ``rows_B``, padded to about the longest of them."""
        ends_B = self._ends_R[rows_B]
        starts_B = ends_B - self.lengths_R[rows_B]
        ids = [self.ids[start:end] for start, end in zip(starts_B, ends_B, strict=True)]
        input_ids_BT, mask_BT = self._preprocessor.pad(ids, multiple_of=LENGTH_MULTIPLE)
        return {"input_ids": torch.from_numpy(input_ids_BT), "attention_mask": torch.from_numpy(mask_BT)}


@dataclass
class TextTask:
    """Single-label classification for the training loop."""

    model: nn.Module
    train_rows: TextRows
    validation_rows: TextRows
    labels: Sequence[str]
    class_weights_C: NDArray[np.float32]
    label_smoothing: float
    device: str
    metric: str = "f1_macro"
    loss_metric: str = "log_loss"

    def __post_init__(self) -> None:
        """Derive what the loop asks for."""
        self.train_lengths_R = self.train_rows.lengths_R
        self.validation_lengths_V = self.validation_rows.lengths_R
        self.weights_R = self.class_weights_C[self.train_rows.labels_R].astype(np.float64)
        self._class_weights_C = torch.from_numpy(self.class_weights_C).to(self.device)

    def load(self, rows_B: NDArray[np.intp]) -> dict[str, torch.Tensor]:
        """Return training rows as the model's arguments, and their ``labels``."""
        return {**self.train_rows.pad(rows_B), "labels": torch.from_numpy(self.train_rows.labels_R[rows_B])}

    def compute_loss(self, model: nn.Module, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the summed, weighted cross entropy of loaded rows."""
        sent = {name: tensor.to(self.device, non_blocking=True) for name, tensor in batch.items()}
        labels_B = sent.pop("labels")
        logits_BC = model(**sent).logits.float()
        return cross_entropy(
            logits_BC, labels_B, self._class_weights_C, label_smoothing=self.label_smoothing, reduction="sum"
        )

    def answer(self, rows_B: NDArray[np.intp]) -> torch.Tensor:
        """Return the logits of validation rows."""
        sent = {name: tensor.to(self.device) for name, tensor in self.validation_rows.pad(rows_B).items()}
        logits_BC: torch.Tensor = self.model(**sent).logits
        return logits_BC

    def measure(self, answers_VK: NDArray[np.float32]) -> dict[str, float]:
        """Return the kind's metrics over all validation rows."""
        probabilities_VC = torch.from_numpy(answers_VK).double().softmax(dim=1).numpy()
        return ClassificationScores(self.validation_rows.labels_R, probabilities_VC, self.labels).metrics()


def train_text_classifier(context: TrainContext, job: TrainJob) -> None:
    """Fine-tune the job's base model in this worker; rank 0 leaves the candidate in ``job.output_dir``.

    Raises:
        TrainError: something does not fit: base, labels, tokenizer, learning rate, length; or it diverged.
    """
    spec = cast(TextClassification, job.spec)
    warnings = check_learning_rate(spec)
    labels = load_manifest(job.dataset_dir).labels
    check_labels(labels)
    torch.set_num_threads(context.threads)
    torch.manual_seed(spec.train.seed)
    classifier = load_classifier(cast(Path, job.base_dir), spec.model, labels)
    preprocessor = TextPreprocessor(
        classifier.tokenizer.backend_tokenizer,
        TextConfig(
            redact=spec.data.redact,
            max_length=spec.model.max_length,
            truncation=spec.model.truncation,
            pad_id=classifier.tokenizer.pad_token_id,
        ),
    )
    table = read_split(job.dataset_dir, "train")
    texts = table["text"].to_pylist()
    train_rows = TextRows(preprocessor, table, labels)
    validation_rows = TextRows(preprocessor, read_split(job.dataset_dir, "validation"), labels)
    warnings += check_tokens(train_rows.ids, texts, classifier.tokenizer.unk_token_id, spec)
    facts = ModelFacts(
        model_type=classifier.model.config.model_type,
        num_parameters=count_parameters(classifier.model),
        fresh_weights=classifier.fresh_weights,
        warnings=tuple(warnings),
    )
    if spec.train.activation_checkpointing:
        # Transformers 5.23 renamed it; the older name is deprecated there, and the only one before.
        enable = getattr(classifier.model, "activation_checkpointing_enable", None)
        enable = enable or classifier.model.gradient_checkpointing_enable
        # Reentrant checkpoints would lose the gradients of a model whose first layers are frozen.
        enable({"use_reentrant": False})
    model = classifier.model if spec.model.lora is None else add_lora(classifier, spec.model.lora)
    # What is to be divided among workers may be too large for the device of one.
    device = "cpu" if spec.train.sharding == "full" and context.world_size > 1 else context.device
    model.to(device)
    check_classifier(model, preprocessor, texts, len(labels), device)
    task = TextTask(
        model=model,
        train_rows=train_rows,
        validation_rows=validation_rows,
        labels=labels,
        class_weights_C=weigh_classes(spec.train, train_rows.labels_R, labels),
        label_smoothing=spec.train.label_smoothing,
        device=context.device,
    )
    loop = TrainingLoop(context, spec.train, task, better=find_better(spec.kind, task.metric))
    loop.run(job.output_dir / LOG_FOLDER)
    if context.rank == 0:
        record = describe_training(loop, facts)
        merged = task.model if spec.model.lora is None else cast(Any, task.model).merge_and_unload()
        save_classifier(merged, classifier.tokenizer, job.output_dir / "model")
        preprocessor.save(job.output_dir)
        write_record(job.output_dir, record)


def weigh_classes(train: TextTrain, labels_R: NDArray[np.int64], labels: Sequence[str]) -> NDArray[np.float32]:
    """Return the weight of each label in the loss; ``balanced`` weighs the rows of each label alike in sum.

    Raises:
        TrainError: a weight is given for a label that does not exist.
    """
    if train.class_weights is None:
        return np.ones(len(labels), dtype=np.float32)
    if train.class_weights == "balanced":
        counts_C = np.bincount(labels_R, minlength=len(labels))
        return (len(labels_R) / (len(labels) * np.maximum(counts_C, 1))).astype(np.float32)
    unknown = sorted(set(train.class_weights) - set(labels))
    if unknown:
        raise TrainError(f"train.class_weights: no label is called {unknown}. Labels: {', '.join(labels)}.")
    return np.array([train.class_weights.get(label, 1.0) for label in labels], dtype=np.float32)
