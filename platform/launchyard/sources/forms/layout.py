"""How a delimited file is written, found out from its first lines where the source does not say: see ``find_layout``.

The rule for quotation marks looks at the whole file, because a text that merely begins with one would else swallow
every row up to the next.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice

from launchyard.sources.uri_options import TableOptions

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
REPEATED = 2
"""Rows with one value from which it is a value of its column, not a piece of a text."""
LONG_NUMBER = 3
"""Digits of a number that does not count the lines of a text."""
VALUE_ROWS = 2_000
MAX_FIELD_CHARACTERS = 2 << 20
"""Length from which a quoted field counts as never closed; the reader takes no longer row."""

_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\r?(?:\n|\Z)', re.IGNORECASE)
_NUMBER = re.compile(r"[-+]?[\d.,:/% -]+")
_ADDRESS = re.compile(r"\S@\S|://")
_DIGITS = re.compile(r"\d+")


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


class SampleValues:
    """What the fields of a file's first rows hold, read when it is first asked for."""

    def __init__(self, body: str, layout: Layout) -> None:
        """Keep the start of a file, from its header line on."""
        self._body = body
        self._layout = layout

    def has(self, place: int, field: str) -> bool:
        """Return whether a field looks like one of its column: a value of several rows, or a number among numbers."""
        counts = self._columns[place] if place < len(self._columns) else Counter()
        if counts[field] >= REPEATED:
            return field != ""
        is_number = len(field) >= LONG_NUMBER and _NUMBER.fullmatch(field) is not None
        return is_number and counts.total() >= REPEATED and all(_NUMBER.fullmatch(value) for value in counts)

    @cached_property
    def _columns(self) -> list[Counter[str]]:
        try:
            _, *rows = islice(iter_rows([_whole_lines(self._body)], self._layout), 1 + VALUE_ROWS)
        except (csv.Error, ValueError):
            return []  # A field is too long for the library, or there is no row at all.
        return [Counter(fields) for fields in zip(*(row for row in rows if len(row) == len(rows[0])), strict=True)]


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
        # A text may hold a semicolon too: it delimits only where all rows have as many fields.
        if len({len(row) for row in rows}) == 1:
            return delimiter
    return layout.delimiter


def _whole_lines(text: str) -> str:
    """Return a sample without the line that its end has cut."""
    return text if len(text) < SAMPLE_CHARACTERS else text[: text.rfind("\n") + 1]


def is_row(header: list[str], start: str, layout: Layout) -> bool:
    """Return whether a first line reads like a row instead of like the names of columns.

    It does when a field is a number, an address, a sentence or a long text, or when later rows have its value in the
    same place, or have nothing there but what is made alike: ``u17`` above ``u4`` and ``u230``.
    """
    if any(_reads_like_a_value(name.strip()) for name in header):
        return True
    rows = list(islice(iter_rows([_whole_lines(start)], layout), 1 + SAMPLE_ROWS))[1:]
    for place, name in enumerate(header):
        below = {row[place] for row in rows if place < len(row)}
        if name and (name in below or _are_alike(name, below)):
            return True
    return False


def _are_alike(name: str, values: set[str]) -> bool:
    """Return whether a name has digits and differs from each of the values in its digits alone."""
    form = _DIGITS.sub("0", name)
    return (
        _DIGITS.search(name) is not None and bool(values) and all(_DIGITS.sub("0", value) == form for value in values)
    )


def _reads_like_a_value(name: str) -> bool:
    # From the CJK radicals on, most scripts are written without spaces.
    is_wide = any(ord(character) >= 0x2E80 for character in name)
    return (
        _NUMBER.fullmatch(name) is not None
        or _ADDRESS.search(name) is not None
        or (name.endswith(("!", "?", ".")) and " " in name)
        or len(name) > (MAX_WIDE_CHARACTERS if is_wide else MAX_NAME_CHARACTERS)
        or len(name.split()) > MAX_NAME_WORDS
    )


def find_stray_quote(
    texts: Iterable[str], layout: Layout, num_columns: int, values: SampleValues, *, in_line: bool
) -> StrayQuote | None:
    """Return the first quotation mark that begins a field but not a quoted one, in a file of which nothing is known.

    A field's quote opens right after a delimiter or a line's end, and closes right before one (RFC 4180). A text that
    begins with a quotation mark, and no more, ends at some later one instead: in the middle of another text, at no
    place at all, or by chance at a right one. The last is told by its lines, which are whole rows, each of them.

    Args:
        texts: The file's characters, in pieces of any size.
        layout: Its delimiter; its quote is taken to be the usual one.
        num_columns: Fields of a row.
        values: What fields hold elsewhere in the file.
        in_line: Whether one counts too that ends on its own line, and so swallows no row.
    """
    delimiter = re.escape(layout.delimiter)
    # Most files have no other fields than these; they are passed over without a step of this function.
    # Possessive throughout: on a long file of marks the search never goes back.
    plain = re.compile(
        rf"(?:[^{QUOTE}]++|(?<![\n\r{delimiter}]){QUOTE}"
        rf"|{QUOTE}[^{QUOTE}\n]*+(?:{QUOTE}{QUOTE}[^{QUOTE}\n]*+)*+{QUOTE}(?=[\n\r{delimiter}]))*+"
    )
    quoted = re.compile(rf"{QUOTE}([^{QUOTE}]*+(?:{QUOTE}{QUOTE}[^{QUOTE}]*+)*+)({QUOTE}|\Z)")
    # One character before the piece tells whether a quote at its start opens a field.
    pending, line = "\n", 0
    for text, is_last in _mark_last(texts):
        pending += text
        position = 1
        while match := quoted.match(pending, _end(plain.match(pending, position))):
            if not is_last and match.end() >= len(pending) - 1:
                # It may go on, or what follows it is not known yet.
                if len(pending) - match.start() > MAX_FIELD_CHARACTERS:
                    return StrayQuote(line + pending.count("\n", 0, match.start()), match[0].count("\n"))
                position = match.start()
                break
            content, end = match.groups()
            is_whole = end == QUOTE and pending[match.end() : match.end() + 1] in ("", "\r", "\n", layout.delimiter)
            if (not is_whole and (in_line or "\n" in content)) or _holds_rows(content, layout, num_columns, values):
                return StrayQuote(line + pending.count("\n", 0, match.start()), content.count("\n"))
            position = match.end()
        else:
            position = len(pending)
        line += pending.count("\n", 0, position - 1)
        pending = pending[position - 1 :]
    return None


def _end(match: re.Match[str] | None) -> int:
    return match.end() if match else 0


def _holds_rows(content: str, layout: Layout, num_columns: int, values: SampleValues) -> bool:
    """Return whether a quoted field of several lines is rather that many rows."""
    num_delimiters = num_columns - 1
    if not num_delimiters or "\n" not in content or content.count(layout.delimiter) < num_delimiters:
        return False
    first, *inside, last = content.split("\n")
    if any(line.count(layout.delimiter) != num_delimiters for line in inside):
        return False
    # Two or three delimiters a line are common in texts too; a tab is not.
    needed = 1 if layout.delimiter == "\t" or num_columns > FEW_COLUMNS else MANY_LINES
    if len(inside) >= needed:
        return True
    before, after = last.split(layout.delimiter)[:-1], first.split(layout.delimiter)[1:]
    if len(before) + len(after) != num_delimiters:
        return False
    # What stands where rows have a label, say, is a label of other rows too.
    fields = [*enumerate(before), *enumerate(after, num_columns - len(after))]
    fields += [field for line in inside for field in enumerate(line.split(layout.delimiter))]
    return any(values.has(place, field.removesuffix("\r")) for place, field in fields)


def _mark_last(texts: Iterable[str]) -> Iterator[tuple[str, bool]]:
    waiting: str | None = None
    for text in texts:
        if waiting is not None:
            yield waiting, False
        waiting = text
    yield waiting or "", True
