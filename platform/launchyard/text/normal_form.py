"""Unicode form NFC in time that grows with the length of a text, whatever the text is.

Before it composes, NFC sorts the marks that follow a letter, and CPython sorts by insertion: 80,000 marks on one letter
took 3 s, in which no other thread ran. Unicode's Stream-Safe Text Format (UAX #15, section 13) bounds them: after 30
marks in a row, which no script comes near, it puts a combining grapheme joiner, over which nothing is sorted.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

MOST_MARKS = 30
GRAPHEME_JOINER = "\u034f"
MARKS = range(0x300, 0x20000)
"""Code points that hold all marks that are sorted; the tests know Unicode's whole list."""
_BEYOND = re.compile("[\U00010000-\U0010ffff]")


def normalize(text: str) -> str:
    r"""Return ``text`` in form NFC, with a joiner after 30 marks in a row; doing it twice changes nothing.

    >>> normalize("Cafe\u0301"), len(normalize("e" + 40 * "\u0323"))
    ('Café', 41)
    """
    if text.isascii():
        return text
    bounded = _bound_marks(text)
    composed = unicodedata.normalize("NFC", bounded)
    # Composed again, a row of 30 marks can be one of 31: a letter that had two marks keeps one, and gets another.
    return composed if composed is bounded else _bound_marks(composed)


def _bound_marks(text: str) -> str:
    short, full = _compile_rows()
    rows = full if _BEYOND.search(text) else short
    return rows.sub(rf"\g<0>{GRAPHEME_JOINER}", text)


@lru_cache(maxsize=1)
def _compile_rows() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Return the pattern of 30 marks that another one follows, among the first 65,536 characters and among all.

    Their set of the first ones is a table, and found in no time; the whole set would be gone through range by range.
    """
    first, beyond = _write_set(range(MARKS.start, 0x10000)), _write_set(range(0x10000, MARKS.stop))
    any_mark = f"(?:{first}|(?={_BEYOND.pattern}){beyond})"
    short = f"{first}{first}{{{MOST_MARKS - 1}}}(?={first})"
    return re.compile(short), re.compile(f"{any_mark}{{{MOST_MARKS}}}(?={any_mark})")


def _write_set(codes: range) -> str:
    marks = [chr(code) for code in codes if is_mark(chr(code))]
    return f"[{''.join(marks)}]"


def is_mark(character: str) -> bool:
    """Return whether NFC moves a character among its neighbours: all that it is made of has a combining class."""
    if unicodedata.combining(character):
        return True
    parts = unicodedata.normalize("NFD", character) if unicodedata.decomposition(character) else ""
    return parts != "" and all(map(unicodedata.combining, parts))
