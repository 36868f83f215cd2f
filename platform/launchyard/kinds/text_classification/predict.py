"""A trained text classifier as serving loads it.

Shapes: B rows, T tokens, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, lru_cache
from itertools import islice
from pathlib import Path
from typing import Literal, Self, cast
from unicodedata import category
from unicodedata import name as unicode_name

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from launchyard.contract.predictor import Device, Output
from launchyard.contract.rows import Row
from launchyard.errors import BundleError, RequestError
from launchyard.evaluation.metrics.calibration import softmax
from launchyard.files.atomic import write_text
from launchyard.kinds.text_classification.explain import Explainer
from launchyard.kinds.text_classification.schemas import TextInput, TextOutput
from launchyard.stored import Stored
from launchyard.text.preprocess import TextPreprocessor
from launchyard.text.runtimes import Runtime, RuntimeName, load_runtime, load_torch_model

CONFIG_NAME = "model/predictor.json"
MAX_TOKENS = 1024
"""Most tokens, padding included, in one forward pass: what it computes then stays in a core's cache.

Measured on MiniLM with ONNX Runtime: 1,000 rows took 4.2 s of CPU, and 5.5 s with 8,192 tokens.
"""
MIN_FILL = 0.75
"""Rows share a forward pass when the shortest has at least this share of the longest's tokens..."""
FREE_PADDING = 8
"""... or is at most this many tokens shorter: below that, a pass of its own costs more than padding."""
GLYPHS = "LNPS"
"""First letters of the Unicode categories whose characters can be seen: letters, numbers, punctuation, symbols."""
SCRIPT_SAMPLE = 200
"""Letters that a text's script is read from."""


class PredictorConfig(Stored):
    """What the predictor needs beside weights and preprocessing; written as ``model/predictor.json``."""

    schema_version: Literal[1] = 1
    runtime: RuntimeName
    labels: tuple[str, ...] = Field(min_length=2, description="Label of each logit.")
    max_characters: int = Field(gt=0, description="Longest text that is accepted.")
    temperature: float = Field(1.0, gt=0, description="Logits are divided by it before the softmax.")
    min_confidence: float | None = Field(None, description="Below it an answer is marked as not sure.")
    max_unknown_share: float = Field(
        1.0, ge=0, le=1, description="Above this share of unknown tokens an answer is marked as not sure."
    )

    def save(self, bundle_dir: Path) -> None:
        """Write ``model/predictor.json``."""
        write_text(bundle_dir / CONFIG_NAME, self.model_dump_json(indent=2) + "\n")

    @classmethod
    def load(cls, bundle_dir: Path) -> PredictorConfig:
        """Return the configuration in ``bundle_dir``.

        Raises:
            BundleError: it is missing, damaged or written by a newer version.
        """
        path = bundle_dir / CONFIG_NAME
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except (OSError, ValidationError) as err:
            raise BundleError(f"{path}: cannot be read: {err}. Evaluate the model again.") from err


class TextPredictor:
    """Texts in, labels with probabilities out."""

    input_schema = TextInput
    output_schema = TextOutput

    def __init__(
        self, preprocessor: TextPreprocessor, config: PredictorConfig, runtime: Runtime, *, model_dir: Path
    ) -> None:
        """Take the loaded parts; ``model_dir`` holds the weights that explanations need."""
        self.preprocessor = preprocessor
        self.config = config
        self._runtime = runtime
        self._model_dir = model_dir
        self._unknown_id = find_unknown_id(preprocessor)

    @classmethod
    def load(cls, bundle_dir: Path, device: Device) -> Self:
        """Return the predictor of a bundle folder; of its runtimes, torch alone computes on a GPU.

        Raises:
            BundleError: a file is missing, damaged or written by a newer version, or the GPU is not there.
        """
        config = PredictorConfig.load(bundle_dir)
        model_dir = bundle_dir / "model"
        runtime = load_runtime(config.runtime, model_dir, device)
        return cls(TextPreprocessor.load(bundle_dir), config, runtime, model_dir=model_dir)

    def parse(self, raw: object) -> Row:
        """Return the row of one raw request input, cleaned as training rows were.

        Raises:
            RequestError: the text is empty, too long, or no text.
        """
        try:
            text = TextInput.model_validate(raw).text
        except ValidationError as err:
            problem = err.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in problem["loc"]) or "input"
            raise RequestError(f"{where}: {problem['msg']}. Send a text, or an object with the key 'text'.") from err
        if len(text) > self.config.max_characters:
            raise RequestError(
                f"text: has {len(text)} characters, at most {self.config.max_characters} are accepted. Send less of it."
            )
        cleaned = self.preprocessor.clean(text)
        if not cleaned.strip():
            raise RequestError("text: is empty. Send at least one character that is not white space.")
        return {"text": cleaned}

    def compute_logits(self, rows: Sequence[Row]) -> NDArray[np.float64]:
        """Return the raw logits, of shape (B, C), before calibration."""
        return self._logits(self._encode(rows))

    def predict(self, rows: Sequence[Row]) -> list[Output]:
        """Return one output per row, in order; a row's output does not depend on its batch."""
        if not rows:
            return []
        ids = self._encode(rows)
        probabilities_BC = softmax(self._logits(ids) / self.config.temperature)
        return [
            self._answer(probability_C, tokens, row["text"])
            for probability_C, tokens, row in zip(probabilities_BC, ids, rows, strict=True)
        ]

    def explain(self, rows: Sequence[Row]) -> list[Output]:
        """Return each row's output together with what every word adds to the label's logit.

        The first call loads torch and the trained weights, whatever the runtime.
        """
        return [
            {**output, "explanation": self._explainer.explain(row["text"], output["label"])}
            for row, output in zip(rows, self.predict(rows), strict=True)
        ]

    def describe(self, row: Row) -> dict[str, float | str]:
        """Return what drift is measured on: numbers about the text, never its words."""
        text = cast(str, row["text"])
        tokens = self._encode([row])[0]
        return {
            "num_characters": float(len(text)),
            "num_words": float(len(text.split())),
            "num_tokens": float(len(tokens)),
            "digit_share": _share(text, str.isdigit),
            "uppercase_share": _share(text, str.isupper),
            "non_ascii_share": _share(text, lambda character: not character.isascii()),
            "unknown_share": share_unknown(tokens, self._unknown_id),
            "script": find_script(text),
        }

    @cached_property
    def _explainer(self) -> Explainer:
        return Explainer(load_torch_model(self._model_dir), self.preprocessor, self.config.labels)

    def _encode(self, rows: Sequence[Row]) -> list[list[int]]:
        return self.preprocessor.encode([row["text"] for row in rows])

    def _logits(self, ids: Sequence[Sequence[int]]) -> NDArray[np.float64]:
        logits_BC = np.empty((len(ids), len(self.config.labels)))
        for group in iter_groups([len(tokens) for tokens in ids]):
            logits_BC[group] = self._runtime.compute(*self.preprocessor.pad([ids[index] for index in group]))
        return logits_BC

    def _answer(self, probability_C: NDArray[np.float64], tokens: Sequence[int], text: str) -> Output:
        best = int(probability_C.argmax())
        confidence = float(probability_C[best])
        return {
            "label": self.config.labels[best],
            "scores": dict(zip(self.config.labels, probability_C.tolist(), strict=True)),
            "confidence": confidence,
            "abstained": self._is_unsure(confidence, tokens, text),
        }

    def _is_unsure(self, confidence: float, tokens: Sequence[int], text: str) -> bool:
        if not (self.preprocessor.has_content(tokens) and has_glyph(text)):
            # The model saw nothing: its answer is the same whatever was sent.
            return True
        if self.config.min_confidence is None:
            return False
        unknown = share_unknown(tokens, self._unknown_id)
        return confidence < self.config.min_confidence or unknown > self.config.max_unknown_share


def share_unknown(tokens: Sequence[int], unknown_id: int | None) -> float:
    """Return the share of ``tokens`` that the tokenizer has no entry for."""
    return 0.0 if unknown_id is None else tokens.count(unknown_id) / len(tokens)


def iter_groups(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Yield the positions of rows that share a forward pass: of like length, and not too many tokens.

    >>> list(iter_groups([100, 20, 90, 24]))
    [[0, 2], [3, 1]]
    """
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    start = 0
    while start < len(order):
        longest = lengths[order[start]]
        shortest = min(longest * MIN_FILL, longest - FREE_PADDING)
        room = max(1, MAX_TOKENS // longest)
        group = [index for index in islice(order, start, start + room) if lengths[index] >= shortest]
        yield group
        start += len(group)


@lru_cache(maxsize=4096)
def _letter_script(letter: str) -> str:
    return unicode_name(letter, "other").split(maxsplit=1)[0].split("-")[0].lower()


def find_script(text: str) -> str:
    """Return the commonest script of the first letters of ``text``, such as latin or cjk; none without letters.

    >>> find_script("A film"), find_script("好看的电影"), find_script("123")
    ('latin', 'cjk', 'none')
    """
    scripts = [_letter_script(letter) for letter in islice(filter(str.isalpha, text), SCRIPT_SAMPLE)]
    return max(sorted(set(scripts)), key=scripts.count, default="none")


def has_glyph(text: str) -> bool:
    r"""Return whether a text has a character that can be seen by itself: a letter, digit, sign or symbol.

    >>> has_glyph("\u200b!"), has_glyph("\u200b\ufe0f\0 ")
    (True, False)
    """
    return any(category(character)[0] in GLYPHS for character in text)


def _share(text: str, has_property: Callable[[str], bool]) -> float:
    return sum(map(has_property, text)) / max(len(text), 1)


def find_unknown_id(preprocessor: TextPreprocessor) -> int | None:
    """Return the token that stands for what the tokenizer has no entry for; None when it has one for every byte."""
    model = preprocessor.tokenizer.model
    token = getattr(model, "unk_token", None)
    return preprocessor.tokenizer.token_to_id(token) if token else getattr(model, "unk_id", None)
