"""From raw text to token ids: the one code path of training and serving.

Array legend: B rows of a batch, T tokens of its longest row or a few more.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, ValidationError
from tokenizers import Tokenizer

from launchyard.data.values.redact import clean_text
from launchyard.errors import BundleError
from launchyard.files.atomic import write_text
from launchyard.spec.blocks import Redaction
from launchyard.stored import Stored

CONFIG_NAME = "preprocess.json"
TOKENIZER_NAME = "model/tokenizer.json"
Truncation = Literal["head", "tail", "head+tail"]


class TextConfig(Stored):
    """All of the preprocessing that the tokenizer file itself does not say; written as ``preprocess.json``."""

    schema_version: Literal[1] = 1
    normalization: Literal["NFC"] = "NFC"
    """What :meth:`TextPreprocessor.clean` does; a file that names another form was written for other code."""
    redact: tuple[Redaction, ...] = ()
    max_length: int = Field(gt=0, description="Longest row in tokens, special tokens included.")
    truncation: Truncation = "head"
    pad_id: int = Field(ge=0, description="Token that fills a row up to the length of its batch.")


class TextPreprocessor:
    """Cleans, tokenises, truncates and pads texts, the same in every process that loads it.

    Text that spells a special token, such as ``[SEP]``, is encoded as ordinary text: a row cannot forge structure.
    """

    def __init__(self, tokenizer: Tokenizer, config: TextConfig) -> None:
        """Take over ``tokenizer``: its own truncation and padding are switched off."""
        tokenizer.no_truncation()
        tokenizer.no_padding()
        tokenizer.encode_special_tokens = True
        self.tokenizer = tokenizer
        self.config = config
        self._prefix, self._suffix = _find_special_ids(tokenizer)

    def clean(self, text: str) -> str:
        """Return ``text`` in Unicode form NFC with personal data masked; cleaning twice changes nothing."""
        return clean_text(text, self.config.redact)[0]

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of cleaned ``texts``, special tokens included, at most ``max_length`` each.

        A text without any token becomes one padding token, so that no row is empty.
        """
        encodings = self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [self._truncate(encoding.ids) or [self.config.pad_id] for encoding in encodings]

    def has_content(self, tokens: Sequence[int]) -> bool:
        """Return whether an encoded row holds a token of its text, not only those that every row has."""
        num_added = len(self._prefix) + len(self._suffix)
        return len(tokens) > num_added if num_added else list(tokens) != [self.config.pad_id]

    def find_spans(self, text: str) -> list[tuple[int, int]]:
        """Return where each token of ``encode([text])[0]`` stands in a cleaned ``text``, as (start, end) characters.

        A special token stands nowhere: its span is (0, 0).
        """
        # Unlike encode, it lets other threads run.
        (encoding,) = self.tokenizer.encode_batch([text], add_special_tokens=False)
        offsets = encoding.offsets
        kept = [span for part in self._keep(len(offsets)) for span in offsets[part]]
        spans = [(0, 0)] * len(self._prefix) + kept + [(0, 0)] * len(self._suffix)
        return spans or [(0, 0)]

    def pad(self, ids: Sequence[ArrayLike], *, multiple_of: int = 1) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return rows of token ids as ``input_ids_BT`` and ``attention_mask_BT``, padded on the right.

        T is the longest row's length, rounded up to ``multiple_of`` as far as ``max_length`` allows.
        """
        rows = [np.asarray(row, dtype=np.int64) for row in ids]
        lengths_B = np.array([len(row) for row in rows])
        longest = int(lengths_B.max())
        width = max(longest, min(-(-longest // multiple_of) * multiple_of, self.config.max_length))
        mask_BT = (np.arange(width) < lengths_B[:, None]).astype(np.int64)
        input_ids_BT = np.full(mask_BT.shape, self.config.pad_id, dtype=np.int64)
        input_ids_BT[mask_BT.astype(bool)] = np.concatenate(rows)
        return input_ids_BT, mask_BT

    def save(self, folder: Path) -> None:
        """Write ``folder/preprocess.json`` and ``folder/model/tokenizer.json``."""
        (folder / TOKENIZER_NAME).parent.mkdir(parents=True, exist_ok=True)
        self.tokenizer.save(str(folder / TOKENIZER_NAME))
        write_text(folder / CONFIG_NAME, self.config.model_dump_json(indent=2) + "\n")

    @classmethod
    def load(cls, folder: Path) -> TextPreprocessor:
        """Return the preprocessor that :meth:`save` left in ``folder``.

        Raises:
            BundleError: a file is missing, damaged or written by a newer version.
        """
        try:
            config = TextConfig.model_validate_json((folder / CONFIG_NAME).read_text(encoding="utf-8"))
            tokenizer = (folder / TOKENIZER_NAME).read_text(encoding="utf-8")
        except (OSError, ValidationError) as err:
            raise BundleError(f"{folder}: the preprocessing cannot be read: {err}. Train the model again.") from err
        return cls(Tokenizer.from_str(tokenizer), config)

    def _truncate(self, ids: list[int]) -> list[int]:
        kept = [token for part in self._keep(len(ids)) for token in ids[part]]
        return [*self._prefix, *kept, *self._suffix]

    def _keep(self, num_tokens: int) -> tuple[slice, ...]:
        """Return the parts of a row of ``num_tokens`` ordinary tokens that survive truncation."""
        room = max(self.config.max_length - len(self._prefix) - len(self._suffix), 0)
        if num_tokens <= room:
            return (slice(0, num_tokens),)
        if self.config.truncation == "head":
            return (slice(0, room),)
        if self.config.truncation == "tail":
            return (slice(num_tokens - room, num_tokens),)
        head = room - room // 2
        return slice(0, head), slice(num_tokens - room // 2, num_tokens)


def _find_special_ids(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """Return the special tokens that the tokenizer puts before and after a text."""
    encoding = tokenizer.encode("a", add_special_tokens=True)
    content = [index for index, special in enumerate(encoding.special_tokens_mask) if not special]
    if not content:
        return encoding.ids, []
    return encoding.ids[: content[0]], encoding.ids[content[-1] + 1 :]
