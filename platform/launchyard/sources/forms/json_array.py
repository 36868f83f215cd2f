"""``.json`` files: one array of objects, as tools export it, or lines of objects under that name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from launchyard.errors import SourceError
from launchyard.sources.forms.jsonl import BLOCK_CHARACTERS, JsonLinesFile
from launchyard.sources.forms.text import MAX_LINE_CHARACTERS, iter_blocks, iter_text

_SPACE = " \t\r\n"
_REMEDY = "Make the file anew, or write one object a line and call it .jsonl."
_DECODER = json.JSONDecoder()


@dataclass(frozen=True)
class JsonFile(JsonLinesFile):
    """One file of an array, read as the lines that its objects would be; a message's line counts objects then."""

    def _iter_blocks(self) -> Iterator[str]:
        texts = iter_text(self.path, self.encoding, self.shown)
        start = next((text for text in texts if text.strip(_SPACE)), "").lstrip(_SPACE)
        if not start.startswith("["):
            yield from iter_blocks(self.path, self.encoding, self.shown, size=BLOCK_CHARACTERS)
            return
        objects: list[str] = []
        size = 0
        for text in self._iter_objects(start[1:], texts):
            objects.append(text)
            size += len(text)
            if size >= BLOCK_CHARACTERS:
                yield "\n".join(objects) + "\n"
                objects, size = [], 0
        yield "".join(f"{text}\n" for text in objects)

    def _iter_objects(self, pending: str, texts: Iterator[str]) -> Iterator[str]:
        """Yield the text of each element, in one line: a line break in JSON stands between tokens only."""
        number, position, after_comma = 1, 0, False
        while True:
            position = _skip(pending, position)
            sign = pending[position : position + 1]
            is_first = number == 1 and not after_comma
            if sign == "]" and not after_comma:
                if any(text.strip(_SPACE) for text in (pending[position + 1 :], *texts)):
                    raise SourceError(
                        f"{self.shown}: {self.path.name}, after object {number - 1:,}: the array ends, and more "
                        "follows. Put all objects into one array, or write one object a line."
                    )
                return
            if sign == "," and not after_comma and not is_first:
                position, after_comma = position + 1, True
                continue
            if sign and (sign in ",]" or not (is_first or after_comma)):
                wanted = "an object" if is_first or after_comma else "a comma before it"
                raise SourceError(
                    f"{self.shown}: {self.path.name}, object {number:,} of the array: {wanted} was expected, found "
                    f"{sign!r}. {_REMEDY}"
                )
            try:
                end = _find_end(pending, position)
            except (ValueError, RecursionError) as err:
                # Python (3.11) reads no integer of more than 4,300 digits.
                raise SourceError(
                    f"{self.shown}: {self.path.name}, object {number:,} of the array: has a number of thousands of "
                    "digits, or is nested too deeply. Write it as text."
                ) from err
            if end is None:
                more = next(texts, None)
                if more is None or len(pending) - position > MAX_LINE_CHARACTERS:
                    raise SourceError(
                        f"{self.shown}: {self.path.name}, object {number:,} of the array: not JSON, or it never ends. "
                        f"{_REMEDY}"
                    )
                pending, position = pending[position:] + more, 0
                continue
            yield pending[position:end].replace("\n", " ").replace("\r", " ")
            number, position, after_comma = number + 1, end, False


def _skip(text: str, position: int) -> int:
    while position < len(text) and text[position] in _SPACE:
        position += 1
    return position


def _find_end(text: str, start: int) -> int | None:
    """Return where the JSON value at ``start`` ends, None when it does not end in ``text``."""
    try:
        _, end = _DECODER.raw_decode(text, start)
    except json.JSONDecodeError:
        return None
    # A number may go on in what is still to come.
    return end if end < len(text) else None
