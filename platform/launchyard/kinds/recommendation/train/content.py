"""What items are about, as vectors of fixed features: by a sentence encoder, or by their words and characters.

Shapes: I items, F features, B texts of a batch, T tokens, X terms.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
from transformers import AutoModel, AutoTokenizer

from launchyard.errors import TrainError
from launchyard.kinds.recommendation.data.histories import ITEMS_NAME

MAX_TOKENS = 128
"""A title and a description; what is longer is cut."""
ENCODED_AT_ONCE = 64
"""Items of like length in one forward pass."""
HASHED_TERMS = 2**18
"""Columns of hashed words: a vocabulary would have to be kept in the bundle and be grown for new items."""
NUM_FEATURES = 256
"""Numbers that the words and characters of an item are reduced to."""


def read_texts(dataset_dir: Path) -> list[str]:
    """Return title, text and categories of each item as one text; '' where nothing is known.

    Raises:
        TrainError: no item has any.
    """
    table = pq.read_table(dataset_dir / ITEMS_NAME, columns=["title", "text", "categories"])
    rows = zip(*(table[name].to_pylist() for name in table.column_names), strict=True)
    texts = [
        " ".join(dict.fromkeys(part for part in (title, text, *(categories or ())) if part))
        for title, text, categories in rows
    ]
    if not any(texts):
        raise TrainError(
            "model.architecture: content reads what items are about, and no item has a title, text or category. Name "
            "their columns under data.items, or take sasrec, ease or popularity."
        )
    return texts


def embed_texts(texts: Sequence[str], base_dir: Path | None, device: str) -> NDArray[np.float32]:
    """Return standardised features of each text, of shape (I, F); zeros for an empty text."""
    features_IF = hash_texts(texts) if base_dir is None else encode_texts(texts, base_dir, device)
    known_I = np.array([bool(text) for text in texts])
    # Around 0, so that the encoder's common direction does not make all items alike.
    features_IF -= features_IF[known_I].mean(axis=0)
    lengths_I1 = np.linalg.norm(features_IF, axis=1, keepdims=True)
    unit_IF = np.divide(features_IF, lengths_I1, out=np.zeros_like(features_IF), where=lengths_I1 > 1e-9)
    unit_IF[~known_I] = 0.0
    scaled_IF: NDArray[np.float32] = (unit_IF * np.sqrt(unit_IF.shape[1])).astype(np.float32)
    return scaled_IF


def hash_texts(texts: Sequence[str]) -> NDArray[np.float32]:
    """Return the latent semantics of words and character triples: TF-IDF, reduced (Deerwester et al. 1990)."""
    words = HashingVectorizer(n_features=HASHED_TERMS, norm=None, alternate_sign=False)
    triples = HashingVectorizer(
        n_features=HASHED_TERMS, norm=None, alternate_sign=False, analyzer="char_wb", ngram_range=(3, 3)
    )
    weighted = [TfidfTransformer(sublinear_tf=True).fit_transform(found.transform(texts)) for found in (words, triples)]
    terms_IX = weighted[0] + weighted[1]
    used_IX = terms_IX[:, np.unique(terms_IX.indices)].astype(np.float64)
    rank = min(NUM_FEATURES, min(used_IX.shape) - 1)
    reduced_IF = TruncatedSVD(rank, random_state=0).fit_transform(used_IX) if rank else used_IX.toarray()
    features_IF: NDArray[np.float32] = reduced_IF.astype(np.float32)
    return features_IF


@torch.inference_mode()
def encode_texts(texts: Sequence[str], base_dir: Path, device: str) -> NDArray[np.float32]:
    """Return the mean of a transformers encoder's last hidden states over each text's tokens.

    Raises:
        TrainError: the folder holds no such encoder.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(base_dir, trust_remote_code=False, local_files_only=True)
        encoder = AutoModel.from_pretrained(
            base_dir, trust_remote_code=False, local_files_only=True, use_safetensors=True, dtype=torch.float32
        )
    except (OSError, ValueError) as err:
        raise TrainError(f"model.base: {base_dir}: no sentence encoder: {err}. Name a transformers folder.") from err
    encoder.to(device).eval()
    # Texts of like length together: padding costs as much as words.
    order_I = sorted(range(len(texts)), key=lambda item: len(texts[item]))
    parts = [
        _encode_batch(tokenizer, encoder, [texts[item] for item in order_I[start : start + ENCODED_AT_ONCE]])
        for start in range(0, len(order_I), ENCODED_AT_ONCE)
    ]
    features_IF = np.empty((len(texts), parts[0].shape[1]), dtype=np.float32)
    features_IF[order_I] = np.concatenate(parts)
    return features_IF


def _encode_batch(tokenizer: object, encoder: torch.nn.Module, texts: list[str]) -> NDArray[np.float32]:
    device = next(encoder.parameters()).device
    inputs = tokenizer(texts, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt").to(device)  # type: ignore[operator]
    hidden_BTD = encoder(**inputs).last_hidden_state
    mask_BT1 = inputs["attention_mask"][..., None].to(hidden_BTD.dtype)
    means: NDArray[np.float32] = ((hidden_BTD * mask_BT1).sum(dim=1) / mask_BT1.sum(dim=1)).cpu().numpy()
    return means
