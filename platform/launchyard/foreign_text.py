"""Text that others wrote (comments, labels, ids, answers of servers): what of it can be kept, and how it is shown.

Control characters never reach a terminal, which would obey them; nor do codes that turn the direction of what stands
beside them, or that cannot be seen. No database keeps half a surrogate pair, and PostgreSQL keeps no U+0000.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

UNPRINTABLE = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # controls, without tab and line feed
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # directions
    "\u2028\u2029"  # ends of lines that not every program takes for one
    "\u200b\u2060-\u2064\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"  # invisible; scripts and emoji need joiners
    "\ud800-\udfff"  # halves of surrogate pairs
)
_UNPRINTABLE = re.compile(f"[{UNPRINTABLE}]")
_UNPRINTABLE_OR_BREAK = re.compile(f"[{UNPRINTABLE}\t\n]")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def make_printable(text: str, *, keep_lines: bool = True) -> str:
    r"""Return ``text`` with an escape in place of each character that must not reach a terminal.

    >>> make_printable("good \x1b[2J \u202edab")
    'good \\x1b[2J \\u202edab'

    Args:
        text: What others wrote.
        keep_lines: Whether it may have several lines, and tabs; in a table it could draw rows of its own with them.
    """
    pattern = _UNPRINTABLE if keep_lines else _UNPRINTABLE_OR_BREAK
    return pattern.sub(_escape, text)


def find_unprintable(text: str) -> list[str]:
    """Return the different characters of ``text`` that must not reach a terminal; line feeds and tabs may."""
    return sorted(set(_UNPRINTABLE.findall(text)))


def check_storable(text: str) -> str:
    """Return ``text`` unchanged.

    Raises:
        ValueError: it holds a character that no database keeps.
    """
    if found := _UNSTORABLE.search(text):
        raise ValueError(f"holds the character U+{ord(found[0]):04X}, which cannot be kept. Leave it out")
    return text


def check_path(path: Path) -> Path:
    """Return ``path`` unchanged.

    Raises:
        ValueError: a name in it is not of this process's character set, so that it cannot be written into any file.
    """
    if _UNSTORABLE.search(str(path)):
        raise ValueError(
            f"'{make_printable(str(path))}' is not text in {sys.getfilesystemencoding().upper()}. Rename it, or set a "
            "locale of UTF-8, such as LC_ALL=C.UTF-8"
        )
    return path


StorableText = Annotated[str, AfterValidator(check_storable)]
"""A text of a model that is kept in a database."""


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
