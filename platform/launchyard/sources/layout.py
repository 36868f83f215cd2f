"""How a delimited file is written, found out from its first lines where the source does not say: see ``find_layout``.

The rule for quotation marks looks at the whole file, because a text that merely begins with one would else swallow
every row up to the next.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

from launchyard.uri_options import TableOptions

QUOTE = '"'
OTHER_DELIMITERS = (";", "\t", ",", "|")
"""Tried, in this order, where the header line lacks the delimiter that the file's ending stands for."""
SAMPLE_CHARACTERS = 1 << 18
SAMPLE_ROWS = 50
MAX_NAME_CHARACTERS = 60
MAX_NAME_WORDS = 6
MAX_WIDE_CHARACTERS = 12
"""Length from which a name in a script without spaces reads like a text."""
MANY_LINES = 3
FEW_COLUMNS = 4
MAX_FIELD_CHARACTERS = 2 << 20
"""Length from which a quoted field counts as never closed; the reader takes no longer row."""

_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\r?(?:\n|\Z)', re.IGNORECASE)
_NUMBER = re.compile(r"[-+]?[\d.,:/% -]+")


@dataclass(frozen=True)
class Layout:
    """How a delimited file is written."""

    delimiter: str
    quote: str = QUOTE
    """Empty: quotation marks are text."""
    num_skipped_lines: int = 0
    """Lines before the header line: one where the first names the delimiter, as Excel writes it."""
    names: tuple[str, ...] | None = None
    """The columns' names where no line of the file holds them."""


@dataclass(frozen=True)
class StrayQuote:
    """A quotation mark that would be taken for the begin of a quoted field, which its end shows not to be one."""

    line: int
    """Where it stands, from 1."""
    num_lines: int
    """How many lines after it would be taken for a part of the field."""


def find_layout(start: str, ending_delimiter: str, options: TableOptions) -> Layout:
    """Return how a file is written, its quotes apart: those are checked by ``find_stray_quote``.

    Args:
        start: The first ``SAMPLE_CHARACTERS`` of the file.
        ending_delimiter: What the file's ending stands for: a comma, or a tab.
        options: What the source says; it counts before all else.
    """
    match = _SEPARATOR_LINE.match(start)
    body = start[match.end() :] if match else start
    layout = Layout(ending_delimiter, QUOTE if options.quote is None else options.quote, 1 if match else 0)
    named = options.delimiter or (match[1] if match else None)
    layout = replace(layout, delimiter=named or _guess_delimiter(body, layout))
    if isinstance(options.header, tuple):
        return replace(layout, names=options.header)
    if options.header is False:
        first = next(iter_rows([body], layout), [])
        return replace(layout, names=tuple(str(place) for place in range(1, len(first) + 1)))
    return layout


def iter_rows(texts: Iterable[str], layout: Layout) -> Iterator[list[str]]:
    """Yield the rows of a file's characters, header line and all, blank lines left out.

    Raises:
        csv.Error: a field is longer than the library takes.
    """
    # The library takes lines; splitlines() would also split at characters that belong to a text.
    lines = (line for text in texts for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n"))
    rows = csv.reader(
        (f"{line}\n" for line in lines),
        delimiter=layout.delimiter,
        quotechar=layout.quote or None,
        quoting=csv.QUOTE_MINIMAL if layout.quote else csv.QUOTE_NONE,
    )
    yield from (row for row in rows if row)


def _guess_delimiter(body: str, layout: Layout) -> str:
    header = next((line for line in body.splitlines() if line.strip()), "")
    if layout.delimiter in header:
        return layout.delimiter
    for delimiter in OTHER_DELIMITERS:
        if delimiter not in header:
            continue
        rows = list(islice(iter_rows([_whole_lines(body)], replace(layout, delimiter=delimiter)), SAMPLE_ROWS))
        if len({len(row) for row in rows}) == 1:
            return delimiter
    return layout.delimiter


def _whole_lines(text: str) -> str:
    """Return a sample without the line that its end has cut."""
    return text if len(text) < SAMPLE_CHARACTERS else text[: text.rfind("\n") + 1]


def is_row(header: list[str], start: str, layout: Layout) -> bool:
    """Return whether a first line reads like a row instead of like the names of columns.

    It does when a field is a number, a long text, or a value that later rows have in the same place.
    """
    if any(_reads_like_a_value(name.strip()) for name in header):
        return True
    rows = list(islice(iter_rows([_whole_lines(start)], layout), 1 + SAMPLE_ROWS))[1:]
    return any(name in {row[place] for row in rows if place < len(row)} for place, name in enumerate(header) if name)


def _reads_like_a_value(name: str) -> bool:
    is_wide = any(ord(character) >= 0x2E80 for character in name)
    return (
        _NUMBER.fullmatch(name) is not None
        or len(name) > (MAX_WIDE_CHARACTERS if is_wide else MAX_NAME_CHARACTERS)
        or len(name.split()) > MAX_NAME_WORDS
    )


def find_stray_quote(texts: Iterable[str], layout: Layout, num_columns: int, *, in_line: bool) -> StrayQuote | None:
    """Return the first quotation mark that begins a field but not a quoted one, in a file of which nothing is known.

    A field's quote opens right after a delimiter or a line's end, and closes right before one (RFC 4180). A text that
    begins with a quotation mark, and no more, ends at some later one instead: in the middle of another text, at no
    place at all, or by chance at a right one. The last is told by lines inside that are whole rows, each of them.

    Args:
        texts: The file's characters, in pieces of any size.
        layout: Its delimiter; its quote is taken to be the usual one.
        num_columns: Fields of a row.
        in_line: Whether one counts too that ends on its own line, and so swallows no row.
    """
    pattern = re.compile(
        rf"(?<=[\n\r{re.escape(layout.delimiter)}]){QUOTE}([^{QUOTE}]*+(?:{QUOTE}{QUOTE}[^{QUOTE}]*+)*+)"
        rf"({QUOTE}|\Z)"
    )
    # One character before the piece tells whether a quote at its start opens a field.
    pending, line = "\n", 0
    for text, is_last in _mark_last(texts):
        pending += text
        position = max(len(pending) - 1, 0)
        for match in pattern.finditer(pending) if QUOTE in pending else ():
            if not is_last and match.end() >= len(pending) - 1:
                # It may go on, or what follows it is not known yet.
                if len(pending) - match.start() > MAX_FIELD_CHARACTERS:
                    return StrayQuote(line + pending.count("\n", 0, match.start()), match[0].count("\n"))
                position = match.start() - 1
                break
            content, end = match.groups()
            is_whole = end == QUOTE and pending[match.end() : match.end() + 1] in ("", "\r", "\n", layout.delimiter)
            if (not is_whole and (in_line or "\n" in content)) or _holds_rows(content, layout, num_columns):
                return StrayQuote(line + pending.count("\n", 0, match.start()), content.count("\n"))
        line += pending.count("\n", 0, position)
        pending = pending[position:]
    return None


def _holds_rows(content: str, layout: Layout, num_columns: int) -> bool:
    if num_columns < 2 or "\n" not in content:
        return False
    inside = content.split("\n")[1:-1]
    # Two or three commas a line are common in texts too.
    needed = MANY_LINES if layout.delimiter == "," and num_columns <= FEW_COLUMNS else 1
    return len(inside) >= needed and all(line.count(layout.delimiter) == num_columns - 1 for line in inside)


def _mark_last(texts: Iterable[str]) -> Iterator[tuple[str, bool]]:
    waiting: str | None = None
    for text in texts:
        if waiting is not None:
            yield waiting, False
        waiting = text
    yield waiting or "", True
