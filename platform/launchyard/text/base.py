"""From a base model to a classifier: what may be loaded, what fits, what is new in it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel
from transformers.utils import logging as transformers_logging

from launchyard.errors import TrainError
from launchyard.text.spec import Lora, TextModel

DROPOUT_KEYS = (
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "classifier_dropout",
    "hidden_dropout",
    "attention_dropout",
    "dropout",
    "seq_classif_dropout",
    "activation_dropout",
    "embd_pdrop",
    "resid_pdrop",
    "attn_pdrop",
    "embedding_dropout",
)
"""Names under which the families' configurations keep their dropout."""


@dataclass(frozen=True)
class Classifier:
    """A base model with a head for the product's labels, and its tokenizer."""

    model: PreTrainedModel
    tokenizer: Any
    fresh_weights: tuple[str, ...]
    """Parameters that the base does not hold, and that start at random values."""


def load_classifier(base: Path, settings: TextModel, labels: Sequence[str]) -> Classifier:
    """Return the base model at ``base`` with a fresh head for ``labels``.

    ``base`` is a transformers folder with safetensors, or a GGUF file. Nothing in it is executed.

    Raises:
        TrainError: ``base`` holds no model, only pickled weights, an architecture without classification
            head, or fewer weights or positions than the architecture needs.
    """
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    source = _locate(base)
    tokenizer = _load_tokenizer(base, source)
    config = _load_config(base, source)
    _set_dropout(config, settings.dropout)
    config.num_labels = len(labels)
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: number for number, label in enumerate(labels)}
    # Without this, transformers guesses the loss from the dtype and number of labels.
    config.problem_type = "single_label_classification"
    config.pad_token_id = tokenizer.pad_token_id
    config.use_cache = False
    model, missing = _load_weights(base, source, config)
    _check_positions(model, settings.max_length, base)
    return Classifier(model, tokenizer, missing)


def add_lora(classifier: Classifier, settings: Lora) -> nn.Module:
    """Return the classifier with low-rank adapters: they and the fresh weights are all that is trained.

    Raises:
        TrainError: the family's attention layers are unknown, or ``target_modules`` names none of its layers.
    """
    from peft import LoraConfig, get_peft_model  # noqa: PLC0415 - slow to import, and few products need it

    fresh_modules = sorted({name.rpartition(".")[0] for name in classifier.fresh_weights})
    targets = None if settings.target_modules is None else list(settings.target_modules)
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=targets,
        modules_to_save=fresh_modules,
    )
    try:
        return get_peft_model(classifier.model, config)
    except ValueError as err:
        raise TrainError(f"model.lora: no layers to adapt: {err}. Set model.lora.target_modules.") from err


def save_classifier(model: PreTrainedModel, tokenizer: Any, folder: Path) -> None:
    """Write model and tokenizer as a transformers folder, in fp32 and without traces of where the base lay."""
    model.to(device="cpu", dtype=torch.float32).save_pretrained(folder)
    tokenizer.init_kwargs.pop("name_or_path", None)
    tokenizer.save_pretrained(folder)


def _locate(base: Path) -> dict[str, Any]:
    """Return the arguments by which ``from_pretrained`` finds the model at ``base``."""
    if base.is_file() and base.suffix == ".gguf":
        return {"pretrained_model_name_or_path": str(base.parent), "gguf_file": base.name}
    advice = "Give a transformers folder with config.json and *.safetensors, or a .gguf file."
    if not base.is_dir():
        raise TrainError(f"model.base: {base}: no model here. {advice}")
    found = sorted(base.glob("*.gguf"))
    if len(found) == 1 and not (base / "config.json").is_file():
        return {"pretrained_model_name_or_path": str(base), "gguf_file": found[0].name}
    if not (base / "config.json").is_file():
        raise TrainError(f"model.base: {base}: no model here: config.json is missing. {advice}")
    if not any(base.glob("*.safetensors")):
        pickled = sorted(path.name for pattern in ("*.bin", "*.pt", "*.ckpt") for path in base.glob(pattern))
        what = f"its weights are pickled ({', '.join(pickled)}), and a pickle can run code" if pickled else "no weights"
        raise TrainError(f"model.base: {base}: {what}. Convert it to safetensors. {advice}")
    return {"pretrained_model_name_or_path": str(base)}


def _load_tokenizer(base: Path, source: dict[str, Any]) -> Any:
    try:
        tokenizer = AutoTokenizer.from_pretrained(**source, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError, KeyError, json.JSONDecodeError) as err:
        raise TrainError(f"model.base: {base}: its tokenizer cannot be loaded: {err}. Add tokenizer.json.") from err
    if not tokenizer.is_fast:
        raise TrainError(f"model.base: {base}: its tokenizer has no tokenizer.json. Convert it to the fast format.")
    if tokenizer.pad_token_id is None:
        # Decoders are trained without padding. The end token serves: it never stands inside a text, since
        # special tokens in texts are encoded as ordinary text, and padded positions are masked.
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    if tokenizer.pad_token_id is None:
        raise TrainError(f"model.base: {base}: its tokenizer has no token to pad with. Add a pad_token to it.")
    return tokenizer


def _load_config(base: Path, source: dict[str, Any]) -> Any:
    try:
        return AutoConfig.from_pretrained(**source, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError, KeyError, json.JSONDecodeError) as err:
        raise TrainError(f"model.base: {base}: config.json names no known architecture: {err}.") from err


def _set_dropout(config: Any, dropout: float | None) -> None:
    if dropout is None:
        return
    names = [name for name in DROPOUT_KEYS if hasattr(config, name)]
    if not names:
        raise TrainError(f"model.dropout: '{config.model_type}' has no dropout to set. Remove the key.")
    for name in names:
        setattr(config, name, dropout)


def _load_weights(base: Path, source: dict[str, Any], config: Any) -> tuple[PreTrainedModel, tuple[str, ...]]:
    """Return the model and the names of the parameters that the base did not hold."""
    try:
        model, info = AutoModelForSequenceClassification.from_pretrained(
            **source,
            config=config,
            dtype=torch.float32,
            trust_remote_code=False,
            local_files_only=True,
            use_safetensors=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError) as err:
        raise TrainError(f"model.base: {base}: '{config.model_type}' cannot be made a text classifier: {err}.") from err
    fresh = sorted({*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])})
    prefix = f"{model.base_model_prefix}."
    lost = [name for name in fresh if name.startswith(prefix) and ".pooler." not in name]
    if lost:
        raise TrainError(
            f"model.base: {base}: {len(lost)} weights of a '{config.model_type}' are missing or of another shape, "
            f"such as {lost[0]}. config.json and the weights do not belong together: fetch the model again."
        )
    return (_rebuild(model) if "gguf_file" in source else model), tuple(fresh)


def _rebuild(model: PreTrainedModel) -> PreTrainedModel:
    """Return the same model without the mark that its weights came quantized, which would forbid to save it."""
    weights, config = model.state_dict(), model.config
    del config.quantization_config
    rebuilt = type(model)(config)
    rebuilt.load_state_dict(weights)
    return rebuilt


def _check_positions(model: PreTrainedModel, max_length: int, base: Path) -> None:
    """Refuse rows longer than the model can number."""
    positions = getattr(model.config, "max_position_embeddings", None)
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding) and module.padding_idx is not None:
            # The RoBERTa family counts positions from padding_idx + 1.
            positions = module.num_embeddings - module.padding_idx - 1
    if positions is not None and max_length > positions:
        raise TrainError(
            f"model.max_length: {max_length} tokens are more than the {positions} positions of {base}. "
            f"Set model.max_length to at most {positions}."
        )
