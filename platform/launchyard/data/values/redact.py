"""Cleaning of texts: Unicode form NFC and masks over personal data, the same in preparation and in serving.

The patterns prefer a miss on an odd number to a mask over a date, a price or a year; what they catch and what they
leave alone is listed in the tests.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections import Counter
from collections.abc import Callable

from launchyard.data.values.numbers import NumberName, mask_numbers
from launchyard.spec.blocks import Redaction
from launchyard.text.normal_form import normalize

# Local part and labels are bounded as RFC 5321 bounds them, and a match starts where a word starts: linear time.
_LETTERS = "A-Za-zÀ-ÖØ-öø-ɏ0-9"
_EMAIL = re.compile(
    rf"(?<![{_LETTERS}._%+-])[{_LETTERS}._%+-]{{1,64}}[@＠](?:[{_LETTERS}-]{{1,63}}\.){{1,8}}[{_LETTERS}]{{2,24}}"
)

_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = re.compile(rf"(?<![0-9.])(?:{_OCTET}\.){{3}}{_OCTET}(?![0-9]|\.[0-9])")
_IPV6 = re.compile(r"(?<![0-9A-Za-z_:.])[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f.]{0,15}){2,8}(?![0-9A-Za-z_:])")

_SIGN = re.compile("[0-9@＠:]")
"""Without one of these a text holds nothing of what is masked."""
MOST_PASSES = 8
"""Masks can bring out what they hid; texts that people write are done after the second pass."""
LONGEST_SHOWN = 60
LONGEST_QUOTED = 1000
"""Characters of a value that are looked at for showing the first 60."""


def redact_text(text: str, patterns: tuple[Redaction, ...]) -> tuple[str, dict[str, int]]:
    """Return ``text`` with personal data replaced by the pattern's name in brackets, and replacements per pattern.

    Patterns are applied until nothing changes, so redacting a redacted text changes nothing:

    >>> redact_text("Mail jo@example.org or call +49 30 901820", ("email", "phone"))
    ('Mail [email] or call [phone]', {'email': 1, 'phone': 1})
    """
    counts: Counter[str] = Counter()
    if not patterns or not _SIGN.search(text):
        return text, {}
    for _ in range(MOST_PASSES):
        text, found = _mask_once(text, patterns)
        if not found:
            break
        counts.update(found)
    return text, dict(counts)


def _mask_once(text: str, patterns: tuple[Redaction, ...]) -> tuple[str, Counter[str]]:
    counts: Counter[str] = Counter()
    for name, mask in _MASKS.items():
        if name in patterns:
            text, counts[name] = mask(text)
    text, num_numbers = mask_numbers(text, [name for name in _NUMBERS if name in patterns])
    counts.update(num_numbers)
    return text, +counts


def clean_text(text: str, patterns: tuple[Redaction, ...]) -> tuple[str, dict[str, int]]:
    """Return ``text`` in form NFC and redacted, and replacements per pattern; cleaning twice changes nothing."""
    return redact_text(normalize(text), patterns)


def quote_value(value: object) -> str:
    r"""Return a source value as an error message may show it: every kind of personal data masked, at most 60 long.

    What cannot be seen, or looks like another text, is shown by its number: a zero-width space as ``\u200b``.
    """
    given = str(value)[:LONGEST_QUOTED]
    cleaned, counts = clean_text(given, (*_MASKS, *_NUMBERS))
    text = cleaned if counts else given
    shown = repr(text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 3]}...")
    marks = {ord(letter): letter.encode("unicode_escape").decode() for letter in shown if unicodedata.combining(letter)}
    return shown.translate(marks)


def _mask_emails(text: str) -> tuple[str, int]:
    return _EMAIL.subn("[email]", text) if "@" in text or "＠" in text else (text, 0)


def _mask_addresses(text: str) -> tuple[str, int]:
    num_masked = 0
    if ":" in text:
        text, num_masked = _mask_matches(text, _IPV6, "[ip]", _is_ipv6)
    text, num_ipv4 = _IPV4.subn("[ip]", text)
    return text, num_masked + num_ipv4


def _mask_matches(text: str, pattern: re.Pattern[str], mask: str, accept: Callable[[str], bool]) -> tuple[str, int]:
    num_masked = 0

    def replace(match: re.Match[str]) -> str:
        nonlocal num_masked
        if not accept(match.group()):
            return match.group()
        num_masked += 1
        return mask

    return pattern.sub(replace, text), num_masked


def _is_ipv6(found: str) -> bool:
    try:
        ipaddress.IPv6Address(found.rstrip("."))
    except ValueError:
        return False
    return any(letter != ":" for letter in found)


_MASKS: dict[Redaction, Callable[[str], tuple[str, int]]] = {"email": _mask_emails, "ip": _mask_addresses}
_NUMBERS: tuple[NumberName, ...] = ("card", "phone")
"""After the masks, so that a number never eats part of an address."""
