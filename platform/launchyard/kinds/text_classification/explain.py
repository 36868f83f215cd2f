"""Which words speak for an answer: integrated gradients (Sundararajan et al. 2017) with captum.

Shapes: B interpolation steps, T tokens, H embedding width.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from launchyard.text.preprocess import TextPreprocessor

if TYPE_CHECKING:
    import torch

NUM_STEPS = (32, 128, 512)
"""Points of the integral (Gauss-Legendre), more as long as they do not add up; the paper uses 20 to 300."""
MAX_DELTA = 0.05
"""Share of the logit's change that attributions may miss, as the paper advises."""
MAX_TOKENS = 4096
"""Most tokens in one forward and backward pass."""
MOST_WORDS_OF_TOKEN = 64
"""Words that one token is shared out to; what covers more, such as thousands of unknown characters, is one word."""
WORD = re.compile(
    # Chinese and Japanese put no space between words: each character stands for itself.
    r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]"
    r"|[^\W\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+(?:['’]\w+)*"
    r"|[^\w\s]"
)

Span = tuple[int, int]


class Explainer:
    """Attributes a label's logit to the words of a text.

    The path runs from a text of padding tokens to the text itself; special tokens are on both ends and so get nothing.
    """

    def __init__(self, model: torch.nn.Module, preprocessor: TextPreprocessor, labels: Sequence[str]) -> None:
        """Take a transformers sequence classifier in evaluation mode."""
        from captum.attr import IntegratedGradients  # noqa: PLC0415 - slow to import, and only explanations need it

        self._model = model
        self._preprocessor = preprocessor
        self._labels = tuple(labels)
        self._method = IntegratedGradients(self._logit)

    def explain(self, text: str, label: str) -> dict[str, Any]:
        """Return how much each word of a cleaned ``text`` adds to the logit of ``label``: a ``TextExplanation``.

        Words that truncation cut off are not in it.
        """
        spans = self._preprocessor.find_spans(text)
        attributions, delta = self._attribute(text, spans, self._labels.index(label))
        words = [
            {"word": text[start:end], "start": start, "end": end, "attribution": value}
            for (start, end), value in merge_words(text, spans, attributions)
        ]
        return {"text": text, "target": label, "words": words, "delta": delta}

    def _attribute(self, text: str, spans: Sequence[Span], target: int) -> tuple[list[float], float]:
        """Return the attribution of each token, and their sum minus the true change of the logit."""
        import torch  # noqa: PLC0415 - slow to import, and ONNX serves without it

        ids_1T = torch.tensor(self._preprocessor.encode([text]))
        is_word_1T = torch.tensor([[end > start for start, end in spans]])
        baseline_1T = torch.where(is_word_1T, self._preprocessor.config.pad_id, ids_1T)
        model: Any = self._model
        embed = model.get_input_embeddings()
        with torch.no_grad():
            inputs_1TH, baseline_1TH = embed(ids_1T), embed(baseline_1T)
        for num_steps in NUM_STEPS:
            values_1TH, delta_1 = self._method.attribute(
                inputs_1TH,
                baseline_1TH,
                target=target,
                n_steps=num_steps,
                internal_batch_size=max(1, MAX_TOKENS // len(spans)),
                return_convergence_delta=True,
            )
            values, delta = values_1TH[0].sum(dim=-1).tolist(), float(delta_1[0])
            if abs(delta) <= MAX_DELTA * abs(sum(values) - delta):
                break
        return values, delta

    def _logit(self, embeddings_BTH: torch.Tensor) -> torch.Tensor:
        """Return the logits of rows without padding: decoders take the last position's answer."""
        import torch  # noqa: PLC0415 - slow to import, and ONNX serves without it

        mask_BT = torch.ones(embeddings_BTH.shape[:2], dtype=torch.int64)
        logits_BC: torch.Tensor = self._model(inputs_embeds=embeddings_BTH, attention_mask=mask_BT).logits
        return logits_BC


def merge_words(text: str, spans: Sequence[Span], values: Sequence[float]) -> list[tuple[Span, float]]:
    """Return the words that tokens stand in, with the tokens' values added up.

    A token across several words, as SentencePiece makes them, is shared out by characters.

    >>> merge_words("good films", [(0, 0), (0, 4), (5, 9), (9, 10)], [0.0, 2.0, 1.0, 0.5])
    [((0, 4), 2.0), ((5, 10), 1.5)]
    """
    words = _find_words(text, [span for span in spans if span[1] > span[0]])
    totals: dict[Span, float] = {}
    first = 0
    for span, value in sorted(zip(spans, values, strict=True)):
        while first < len(words) and words[first][1] <= span[0]:
            first += 1
        shares = _overlaps(words, first, span)
        if len(shares) > MOST_WORDS_OF_TOKEN:
            shares = [(span, span[1] - span[0])]
        covered = sum(size for _, size in shares)
        for word, size in shares:
            totals[word] = totals.get(word, 0.0) + value * size / covered
    return sorted(totals.items())


def _find_words(text: str, spans: Sequence[Span]) -> list[Span]:
    """Return the words of ``text`` from the first span to the last: of a long text, truncation left few."""
    if not spans:
        return []
    begin, end = min(spans)[0], max(stop for _, stop in spans)
    words = takewhile(lambda word: word[0] < end, (match.span() for match in WORD.finditer(text)))
    return [word for word in words if word[1] > begin]


def _overlaps(words: Sequence[Span], first: int, span: Span) -> list[tuple[Span, int]]:
    """Return the words from ``first`` on that ``span`` overlaps, with how many characters each."""
    found = []
    for start, end in words[first : first + MOST_WORDS_OF_TOKEN + 1]:
        if start >= span[1]:
            break
        found.append(((start, end), min(end, span[1]) - max(start, span[0])))
    return found
