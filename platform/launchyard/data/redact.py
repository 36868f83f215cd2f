"""Cleaning of texts: Unicode form NFC and masks over personal data, the same in preparation and in serving.

The patterns prefer a miss on an odd number to a mask over a date, a price or a year; what they catch and what they
leave alone is listed in the tests. A card number counts only with a valid check digit (Luhn, ISO/IEC 7812-1).
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from itertools import product

from launchyard.spec.blocks import Redaction

# Local part and labels are bounded as RFC 5321 bounds them, and a match starts where a word starts: linear time.
_LETTERS = "A-Za-zÀ-ÖØ-öø-ɏ0-9"
_EMAIL = re.compile(
    rf"(?<![{_LETTERS}._%+-])[{_LETTERS}._%+-]{{1,64}}[@＠](?:[{_LETTERS}-]{{1,63}}\.){{1,8}}[{_LETTERS}]{{2,24}}"
)

_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = re.compile(rf"(?<![0-9.])(?:{_OCTET}\.){{3}}{_OCTET}(?![0-9]|\.[0-9])")
_IPV6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f.]{0,15}){2,8}(?![\w:])")

# Most texts have no eight digits close together, so neither card nor phone; one search instead of three.
_MANY_DIGITS = re.compile(r"[0-9](?:[^0-9]{0,2}[0-9]){7}")
_DIGIT_RUN = re.compile(r"[0-9](?:[ -]?[0-9]){12,}")
_CARD_DIGITS = range(13, 20)

_ALONE = r"(?<![0-9A-Za-z+])(?<![0-9][ ./,-])"
_END = r"(?![0-9])(?![ .,-]?[0-9]{2})"
_INTERNATIONAL = re.compile(r"(?<![\w+])(?:\+|00)(?=[1-9])[0-9]{1,3}(?:[ ./()-]{0,2}[0-9]){6,13}(?![0-9])")
_NATIONAL = re.compile(
    "|".join(
        (
            rf"{_ALONE}1[3-9][0-9][ -]?[0-9]{{4}}[ -]?[0-9]{{4}}{_END}",  # Chinese mobile
            rf"{_ALONE}400[ -]?[0-9]{{3}}[ -]?[0-9]{{4}}{_END}",  # Chinese service number
            rf"(?<![0-9A-Za-z+])\(0[0-9]{{2,3}}\) ?[0-9]{{7,8}}{_END}",  # Chinese landline, area in brackets
            rf"(?<![0-9A-Za-z+])\([2-9][0-9]{{2}}\) ?[2-9][0-9]{{2}}[ .-][0-9]{{4}}{_END}",  # North America
            rf"{_ALONE}(?:1[ .-])?[2-9][0-9]{{2}}([ .-])[2-9][0-9]{{2}}\1[0-9]{{4}}{_END}",
            rf"{_ALONE}0[1-9](?:[ /-]?[0-9]){{7,10}}{_END}",  # trunk prefix 0: Europe, Chinese landlines
            rf"{_ALONE}0[1-9](?:\.[0-9]{{2}}){{4}}{_END}",  # France with dots
        )
    )
)
_DATE = re.compile(r"[0-9]{1,2}([ ./-])[0-9]{1,2}\1(?:19|20)?[0-9]{2}(?![0-9])(?!\1[0-9])")


def redact_text(text: str, patterns: tuple[Redaction, ...]) -> tuple[str, dict[str, int]]:
    """Return ``text`` with personal data replaced by the pattern's name in brackets, and replacements per pattern.

    Patterns are applied until nothing changes, so redacting a redacted text changes nothing:

    >>> redact_text("Mail jo@example.org or call +49 30 901820", ("email", "phone"))
    ('Mail [email] or call [phone]', {'email': 1, 'phone': 1})
    """
    counts: Counter[str] = Counter()
    changed = True
    while changed:
        changed = False
        for name, mask in _MASKS.items():
            if name in patterns:
                text, num_masked = mask(text)
                counts[name] += num_masked
                changed = changed or num_masked > 0
    return text, dict(+counts)


def clean_text(text: str, patterns: tuple[Redaction, ...]) -> tuple[str, dict[str, int]]:
    """Return ``text`` in form NFC and redacted, and replacements per pattern; cleaning twice changes nothing."""
    return redact_text(unicodedata.normalize("NFC", text), patterns)


def quote_value(value: object) -> str:
    r"""Return a source value as an error message may show it: every kind of personal data masked, at most 60 long.

    What cannot be seen, or looks like another text, is shown by its number: a zero-width space as ``\u200b``.
    """
    given = str(value)
    cleaned, counts = clean_text(given, tuple(_MASKS))
    text = cleaned if counts else given
    shown = repr(text if len(text) <= 60 else f"{text[:57]}...")
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


def _mask_phones(text: str) -> tuple[str, int]:
    if not _MANY_DIGITS.search(text):
        return text, 0
    text, num_international = _mask_matches(text, _INTERNATIONAL, "[phone]", _is_international)
    text, num_national = _mask_matches(text, _NATIONAL, "[phone]", lambda found: not _DATE.match(found))
    return text, num_international + num_national


def _mask_matches(text: str, pattern: re.Pattern[str], mask: str, accept: Callable[[str], bool]) -> tuple[str, int]:
    num_masked = 0

    def replace(match: re.Match[str]) -> str:
        nonlocal num_masked
        if not accept(match.group()):
            return match.group()
        num_masked += 1
        return mask

    return pattern.sub(replace, text), num_masked


def _mask_cards(text: str) -> tuple[str, int]:
    if not _MANY_DIGITS.search(text):
        return text, 0
    num_masked = 0

    def replace(match: re.Match[str]) -> str:
        nonlocal num_masked
        masked, num_found = _mask_cards_in_run(match.group())
        num_masked += num_found
        return masked

    return _DIGIT_RUN.sub(replace, text), num_masked


def _mask_cards_in_run(run: str) -> tuple[str, int]:
    """Mask card numbers in digits that single spaces and hyphens group; a card starts and ends where a group does."""
    groups = [(match.start(), match.end()) for match in re.finditer("[0-9]+", run)]
    parts, done, num_masked = [], 0, 0
    for first, length in product(range(len(groups)), range(_CARD_DIGITS.stop, 0, -1)):
        last = first + length - 1
        if last >= len(groups) or groups[first][0] < done:
            continue
        start, end = groups[first][0], groups[last][1]
        if _is_card(run[start:end].replace(" ", "").replace("-", "")):
            parts += [run[done:start], "[card]"]
            done, num_masked = end, num_masked + 1
    return "".join([*parts, run[done:]]), num_masked


def _is_card(digits: str) -> bool:
    if len(digits) not in _CARD_DIGITS or digits[0] not in "23456":
        return False
    doubled = (2 * int(digit) for digit in digits[-2::-2])
    return (sum(int(digit) for digit in digits[-1::-2]) + sum(n - 9 if n > 9 else n for n in doubled)) % 10 == 0


def _is_ipv6(found: str) -> bool:
    try:
        ipaddress.IPv6Address(found.rstrip("."))
    except ValueError:
        return False
    return any(letter != ":" for letter in found)


def _is_international(found: str) -> bool:
    return 9 <= sum(letter.isdigit() for letter in found.removeprefix("00")) <= 15


_MASKS: dict[Redaction, Callable[[str], tuple[str, int]]] = {
    "email": _mask_emails,
    "ip": _mask_addresses,
    "card": _mask_cards,
    "phone": _mask_phones,
}
"""In the order they are applied: what is longer and surer goes first, so that a phone never eats half a card."""
