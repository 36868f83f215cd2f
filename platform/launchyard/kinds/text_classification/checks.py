"""Mistakes that are caught before the first training step.

Array legend: C classes, T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from launchyard.errors import TrainError
from launchyard.kinds.text_classification.rates import describe_rates, find_rates
from launchyard.kinds.text_classification.spec import TextClassification
from launchyard.text.preprocess import TextPreprocessor

UNKNOWN_WARNED = 0.01
"""Share of unknown tokens above which the base model was made for other texts, as another script."""
UNKNOWN_REFUSED = 0.2
"""Shares of unknown tokens: an English vocabulary knows less than 80 % of Chinese text, its own language nearly all."""
TOKENS_PER_CHARACTER_WARNED = 1.2
"""A tokenizer falls back to single bytes on a script that it was not made for: 2 to 3 tokens per Chinese character."""
MASK_TOLERANCE = 1e-3
"""Largest difference of logits, relative to the largest logit, that comes from the order of fp32 sums alone."""


def check_learning_rate(spec: TextClassification) -> list[str]:
    """Return warnings about the learning rate.

    Raises:
        TrainError: it is far outside the optimizer's range for pretrained transformers.
    """
    rates = find_rates(spec.train.optimizer, has_adapters=spec.model.lora is not None)
    rate, usual = spec.train.learning_rate, describe_rates(spec.train.optimizer, rates)
    if rate >= rates.refused:
        raise TrainError(f"train.learning_rate: {rate:g} would destroy the base model: {usual}. Lower it.")
    if not rates.low <= rate <= rates.high:
        return [f"train.learning_rate: {rate:g} is unusual: {usual}."]
    return []


def check_labels(labels: Sequence[str]) -> None:
    """Refuse a data set in which there is nothing to tell apart.

    Raises:
        TrainError: there are fewer than two labels; transformers would silently fit a regression to one.
    """
    if len(labels) < 2:
        raise TrainError(f"data.label: a classifier needs two labels or more, found {list(labels)}. Check the rule.")


def check_tokens(
    ids: NDArray[np.int32], texts: Sequence[str], unknown_id: int | None, spec: TextClassification
) -> list[str]:
    """Return warnings about how well the base model's tokenizer fits the training texts.

    Args:
        ids: All tokens of the training rows, truncated as in training.
        texts: Their texts.
        unknown_id: The token for what the vocabulary lacks; None when the tokenizer falls back to bytes.
        spec: Says the language.

    Raises:
        TrainError: so much is unknown that the model would not see what the texts say.
    """
    where, language = f"model.base: {spec.model.base}", spec.data.language
    unknown = 0.0 if unknown_id is None else float((ids == unknown_id).mean())
    found = f"its tokenizer does not know {unknown:.0%} of the tokens of the training texts (language '{language}')"
    advice = f"Choose a base model that was trained on language '{language}'."
    if unknown > UNKNOWN_REFUSED:
        raise TrainError(f"{where}: {found}. {advice}")
    if unknown > UNKNOWN_WARNED:
        return [f"{where}: {found}. {advice}"]
    per_character = _count_tokens_per_character(ids, texts, spec.model.max_length)
    if per_character > TOKENS_PER_CHARACTER_WARNED:
        return [
            f"{where}: its tokenizer needs {per_character:.1f} tokens per character of the training texts "
            f"(language '{language}'): it was made for another script. {advice}"
        ]
    return []


def _count_tokens_per_character(ids: NDArray[np.int32], texts: Sequence[str], max_length: int) -> float:
    """Return a lower bound: a long text counts as ``max_length`` characters, whose tokens may be cut off."""
    return len(ids) / max(1, sum(min(len(text), max_length) for text in texts))


def check_classifier(
    model: nn.Module, preprocessor: TextPreprocessor, texts: Sequence[str], num_labels: int, device: str
) -> None:
    """Try the model on two rows of unlike length: the shape of its output, and whether padding is masked.

    Raises:
        TrainError: the output is not one finite logit per label, or a row's logits depend on its padding.
    """
    ids = preprocessor.encode([min(texts, key=len), max(texts, key=len)])
    model.eval()
    together_2C = _compute_logits(model, preprocessor, ids, device)
    if together_2C.shape != (2, num_labels) or not torch.isfinite(together_2C).all():
        raise TrainError(
            f"model.base: the dry run gave logits of shape {tuple(together_2C.shape)}, "
            f"expected (2, {num_labels}) finite numbers. Choose another base model."
        )
    alone_2C = torch.cat([_compute_logits(model, preprocessor, [row], device) for row in ids])
    difference = float((together_2C - alone_2C).abs().max() / together_2C.abs().max())
    if difference > MASK_TOLERANCE:
        raise TrainError(
            f"model.base: the same row has other logits alone and padded, by {difference:.1%}: "
            f"padding is not masked. Give the tokenizer a pad_token that no text contains, or choose another base."
        )


@torch.inference_mode()
def _compute_logits(
    model: nn.Module, preprocessor: TextPreprocessor, ids: Sequence[Sequence[int]], device: str
) -> torch.Tensor:
    input_ids_BT, mask_BT = (torch.from_numpy(array).to(device) for array in preprocessor.pad(ids))
    logits: torch.Tensor = model(input_ids=input_ids_BT, attention_mask=mask_BT).logits
    return logits
