"""What a text classifier must be better than: always the same answer, and a linear model on word counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

NAME = "TF-IDF + logistic regression"
NAME_WITHOUT_WORDS = "always the commonest label, as no training text has a word"
"""What the baseline is where there is nothing to count, such as in texts of emoticons."""
MAX_ROWS = 50_000
"""Training rows that the baseline sees: it has seconds, not minutes."""
MAX_FEATURES = 200_000
"""Commonest terms that are kept: rarer ones add seconds and hardly change the answers."""
NO_SPACES = frozenset({"zh", "yue", "ja", "th", "lo", "km", "my"})
"""Languages that put no space between words: character n-grams take the place of words."""


def answer_prior(train_labels: Sequence[str], labels: Sequence[str], num_rows: int) -> NDArray[np.float64]:
    """Return the labels' frequencies in the training rows, once per row: shape (rows, labels)."""
    counts = Counter(train_labels)
    frequency_C = np.array([counts[label] for label in labels], dtype=np.float64) / len(train_labels)
    return np.tile(frequency_C, (num_rows, 1))


def name_baseline(train_texts: Sequence[str], *, language: str) -> str:
    """Return what :func:`answer_baseline` answers with, in words."""
    has_words = _has_words([train_texts[index] for index in _draw_rows(len(train_texts))], language)
    return NAME if has_words else NAME_WITHOUT_WORDS


def answer_baseline(
    train_texts: Sequence[str], train_labels: Sequence[str], texts: Sequence[str], *, language: str
) -> tuple[NDArray[np.float64], list[str]]:
    """Return the probabilities of ``texts`` and the labels that their columns stand for.

    Vocabulary, weights and coefficients come from training rows alone. Without any word in them there is nothing to
    count, and the answer is the prior.
    """
    drawn = _draw_rows(len(train_texts))
    known, its_labels = [train_texts[index] for index in drawn], [train_labels[index] for index in drawn]
    if not _has_words(known, language):
        labels = sorted(set(its_labels))
        return answer_prior(its_labels, labels, len(texts)), labels
    model = make_pipeline(
        _make_vectorizer(language), LogisticRegression(C=10.0, max_iter=1000, class_weight="balanced")
    )
    model.fit(known, its_labels)
    probabilities: NDArray[np.float64] = model.predict_proba(list(texts))
    return probabilities, [str(label) for label in model.classes_]


def _draw_rows(num_rows: int) -> NDArray[np.int64]:
    return np.random.default_rng(0).permutation(num_rows)[:MAX_ROWS]


def _has_words(texts: Sequence[str], language: str) -> bool:
    list_words = _make_vectorizer(language).build_analyzer()
    return any(list_words(text) for text in texts)


def _make_vectorizer(language: str) -> TfidfVectorizer:
    if language in NO_SPACES:
        return TfidfVectorizer(analyzer="char", ngram_range=(1, 3), sublinear_tf=True, max_features=MAX_FEATURES)
    # Words of one letter and punctuation such as "!" carry sentiment: the default pattern would drop them.
    return TfidfVectorizer(token_pattern=r"\w+|[!?]+", ngram_range=(1, 2), sublinear_tf=True, max_features=MAX_FEATURES)
