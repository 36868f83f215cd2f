"""Card and phone numbers in a text, told apart from the dates, prices and counts that they stand beside.

Digits that hang together are read as a whole: of all ways to divide them into numbers, that one holds which leaves the
fewest digits of cards and phones over. So neither does a second phone hide the first, nor a card eat half a phone.
Work and memory grow with the length of the text: each group of digits is looked at with the next few alone.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Literal, NamedTuple

NumberName = Literal["card", "phone"]

# Most texts have no eight digits close together, so neither card nor phone; one search instead of a reading.
_MANY_DIGITS = re.compile(r"[0-9](?:[^0-9]{0,2}[0-9]){7}")
_CLUSTER = re.compile(r"[0-9](?:[ ./,()+-]{0,2}[0-9])*+")
_GROUP = re.compile(r"[0-9]+")

_CARD = re.compile(r"[2-6](?:[ -]?[0-9]){12,18}(?![0-9])")
_CARD_DIGITS = range(13, 20)

_INTERNATIONAL = re.compile(r"(?:\+|00)(?=[1-9])[0-9](?:[ ./()-]{0,2}[0-9]){6,15}(?![0-9])")
_INTERNATIONAL_DIGITS = range(9, 16)
_INTERNATIONAL_DIGITS_00 = range(11, 18)
_TRUNK = re.compile(r"0[1-9](?:[ /-]?[0-9]){7,10}(?![0-9])")
"""With the trunk prefix 0: Europe, Chinese landlines."""
_TRUNK_DIGITS = range(9, 13)
_NATIONAL = re.compile(
    r"1[3-9][0-9][ -]?[0-9]{4}[ -]?[0-9]{4}(?![0-9])"  # Chinese mobile
    r"|400[ -]?[0-9]{3}[ -]?[0-9]{4}(?![0-9])"  # Chinese service number
    r"|\(0[0-9]{2,3}\) ?[0-9]{7,8}(?![0-9])"  # Chinese landline, area in brackets
    r"|\([2-9][0-9]{2}\) ?[2-9][0-9]{2}[ .-][0-9]{4}(?![0-9])"  # North America
    r"|(?:1[ .-])?[2-9][0-9]{2}(?P<join>[ .-])[2-9][0-9]{2}(?P=join)[0-9]{4}(?![0-9])"
    r"|0[1-9](?:\.[0-9]{2}){4}(?![0-9])"  # France with dots
)
_ANY = re.compile("|".join(pattern.pattern for pattern in (_CARD, _INTERNATIONAL, _TRUNK, _NATIONAL)))
_FEWEST_DIGITS = 9
_DATE = re.compile(r"[0-9]{1,2}([ ./-])[0-9]{1,2}\1(?:19|20)?[0-9]{2}(?![0-9])(?!\1[0-9])")
_ORDINARY = re.compile(
    r"[0-9]{1,2}([./-])[0-9]{1,2}\1(?:19|20)?[0-9]{2}(?![0-9])"  # a date
    r"|(?:19|20)[0-9]{2}-[0-9]{2}-[0-9]{2}(?![0-9])"
    r"|(?:19|20)[0-9]{2}(?![0-9])"  # a year
    r"|[0-9]{1,3}(?:[.,]?[0-9]{3}){0,3}[.,][0-9]{2}(?![0-9])"  # a price
)
"""Digits that stand for themselves: a phone beside them is one all the same."""


class _Number(NamedTuple):
    """A way to read the groups from ``first`` to ``last`` (the last one included)."""

    first: int
    last: int
    start: int
    """Character that it begins at: a bracket or plus sign before its first group belongs to it."""
    name: NumberName | None
    """None: it stands for itself, and is left as it is."""
    worth: int
    joins: str = ""
    """Characters between its groups: beside other digits, one of these could go on with it."""
    is_certain: bool = False
    """Whether it is one whatever digits follow it."""


# What a group comes after: nothing or a number; digits that are none; a number that is none if digits follow.
_FREE, _DIGITS, _BOUND = range(3)
_Reading = tuple[int, _Number | None, int]
"""The best reading from a group on: its worth, how it begins (None: with digits), and what the rest comes after."""
_WORTH_OF_DIGIT = 1000
"""The most digits of cards and phones win; at equal numbers of them, the fewest numbers."""
_WORTH_OF_ORDINARY_DIGIT = 999
"""A whole date or price is better left alone than cut in two by the end of a phone."""
_WINDOW_GROUPS = 512
_AHEAD_GROUPS = 64
_IMPOSSIBLE: _Reading = (-(10**9), None, _FREE)


def mask_numbers(text: str, names: Sequence[NumberName]) -> tuple[str, dict[NumberName, int]]:
    """Return ``text`` with the name in brackets in place of each card or phone number, and how many of each.

    >>> mask_numbers("212-555-2368 212-555-2369, 2023", ("card", "phone"))
    ('[phone] [phone], 2023', {'phone': 2})
    """
    if not names or not _MANY_DIGITS.search(text):
        return text, {}
    counts: Counter[NumberName] = Counter()
    parts, done = list[str](), 0
    for match in _CLUSTER.finditer(text):
        start, end = match.span()
        if end - start < _FEWEST_DIGITS or not _ANY.search(text, max(start - 1, 0), end):
            continue
        cluster = _Cluster(text, start, end)
        for number in _read_cluster(cluster, names):
            if number.name is not None:
                parts += [text[done : number.start], f"[{number.name}]"]
                done = cluster.spans[number.last][1]
                counts[number.name] += 1
    return "".join([*parts, text[done:]]), dict(counts)


class _Cluster:
    """Digits with at most two characters between two of them."""

    def __init__(self, text: str, start: int, end: int) -> None:
        self.text = text
        self.spans = [match.span() for match in _GROUP.finditer(text, start, end)]
        ends = [start, *(end for _, end in self.spans)]
        self.gaps = [*(text[end:start] for end, (start, _) in zip(ends, self.spans, strict=False)), ""]
        """What stands before each group, and behind the last one."""
        self.num_before = [0, *accumulate(end - start for start, end in self.spans)]
        self._index_of_end = {end: index for index, (_, end) in enumerate(self.spans)}
        self._luhn: tuple[list[int], list[int]] | None = None

    def iter_numbers(self, index: int, names: Sequence[NumberName]) -> Iterator[_Number]:
        """Yield the ways to read groups from ``index`` on as a number."""
        text, (start, _) = self.text, self.spans[index]
        if "card" in names and text[start] in "23456":
            yield from self._iter_cards(index, start)
        if "phone" in names:
            before = text[start - 1] if start else ""
            if before in ("+", "("):
                yield from self._iter_phones(index, start - 1)
            if before != "+":
                yield from self._iter_phones(index, start)
        yield from self._iter_ordinary(index, start)

    def _iter_cards(self, index: int, start: int) -> Iterator[_Number]:
        if match := _CARD.match(self.text, start):
            for last in self._find_ends(index, match.end(), _CARD_DIGITS):
                if self._has_check_digit(index, last):
                    worth = self._count(index, last) * _WORTH_OF_DIGIT - 1
                    yield _Number(index, last, start, "card", worth, is_certain=True)

    def _iter_ordinary(self, index: int, start: int) -> Iterator[_Number]:
        match = _ORDINARY.match(self.text, start)
        if match is None:
            return
        last = self._index_of_end[match.end()]
        gap = self.gaps[index]
        if gap in (".", "-") or self.gaps[last + 1] in (".", "-"):
            return
        is_whole = last > index and (not gap or gap not in f",{match.group()}")
        worth = is_whole * self._count(index, last) * _WORTH_OF_ORDINARY_DIGIT
        yield _Number(index, last, start, None, worth)

    def _iter_phones(self, index: int, start: int) -> Iterator[_Number]:
        text = self.text
        before = text[start - 1 : start]
        if before.isascii() and (before.isalpha() or before == "+"):
            return
        if match := _INTERNATIONAL.match(text, start):
            lengths = _INTERNATIONAL_DIGITS if text[start] == "+" else _INTERNATIONAL_DIGITS_00
            for last in self._find_ends(index, match.end(), lengths):
                yield self._read_phone(index, last, start, is_international=True)
        if (match := _TRUNK.match(text, start)) and not _DATE.match(text, start):
            for last in self._find_ends(index, match.end(), _TRUNK_DIGITS):
                yield self._read_phone(index, last, start)
        if (match := _NATIONAL.match(text, start)) and not _DATE.match(text, start):
            yield self._read_phone(index, self._index_of_end[match.end()], start)

    def _read_phone(self, first: int, last: int, start: int, *, is_international: bool = False) -> _Number:
        worth = self._count(first, last) * _WORTH_OF_DIGIT - 1
        joins = "".join(self.gaps[first + 1 : last + 1])
        return _Number(first, last, start, "phone", worth, joins, is_international)

    def _find_ends(self, first: int, end: int, lengths: range) -> range:
        """Return the groups at which a number of so many digits can end, up to the one that ends at ``end``."""
        num_before, most = self.num_before, self._index_of_end[end] + 1
        shortest = bisect_left(num_before, num_before[first] + lengths.start, first, most + 1)
        longest = bisect_left(num_before, num_before[first] + lengths.stop, first, most + 1) - 1
        return range(shortest - 1, longest)

    def _count(self, first: int, last: int) -> int:
        return self.num_before[last + 1] - self.num_before[first]

    def _has_check_digit(self, first: int, last: int) -> bool:
        """Return whether the digits end in their check digit (Luhn, ISO/IEC 7812-1)."""
        if self._luhn is None:
            self._luhn = _sum_digits("".join(self.text[start:end] for start, end in self.spans))
        start, end = self.num_before[first], self.num_before[last + 1]
        # Every second digit counts double, beginning with the one before the last.
        sums = self._luhn[end % 2]
        return (sums[end] - sums[start]) % 10 == 0


def _sum_digits(digits: str) -> tuple[list[int], list[int]]:
    """Return the sums of the first 0, 1, 2... digits, with those at even places doubled, and with those at odd ones."""
    plain = [int(digit) for digit in digits]
    double = [2 * digit - 9 * (digit > 4) for digit in plain]
    even = [(double if place % 2 == 0 else plain)[place] for place in range(len(plain))]
    odd = [(double if place % 2 else plain)[place] for place in range(len(plain))]
    return [0, *accumulate(even)], [0, *accumulate(odd)]


def _read_cluster(cluster: _Cluster, names: Sequence[NumberName]) -> Iterator[_Number]:
    """Yield the numbers of the best reading, in order.

    It is looked for in windows, each of which looks further ahead than a number can reach: a text of digits alone needs
    no more memory than any other.
    """
    num_groups = len(cluster.spans)
    index, state = 0, _FREE
    while index < num_groups:
        first, stop = index, min(index + _WINDOW_GROUPS, num_groups)
        best = _find_best(cluster, names, first, min(stop + _AHEAD_GROUPS, num_groups))
        while index < stop:
            _, number, state = best[index - first][state]
            if number is not None:
                yield number
            index = index + 1 if number is None else number.last + 1


def _find_best(cluster: _Cluster, names: Sequence[NumberName], first: int, end: int) -> list[tuple[_Reading, ...]]:
    """Return the best reading from each group from ``first`` to ``end`` on, for each state it can come after."""
    nothing: _Reading = (0, None, _FREE)
    best: list[tuple[_Reading, ...]] = [(nothing,) * 3] * (end - first + 1)
    for index in range(end - 1, first - 1, -1):
        plain: _Reading = (best[index + 1 - first][_DIGITS][0], None, _DIGITS)
        after = [plain, plain, _IMPOSSIBLE]
        for number in cluster.iter_numbers(index, names):
            if number.last >= end:
                continue
            state = _find_state_after(cluster, number)
            worth = best[number.last + 1 - first][state][0] + number.worth
            can_follow = (_FREE, _BOUND, _DIGITS) if _may_follow_digits(cluster, number) else (_FREE, _BOUND)
            for before in can_follow:
                if worth > after[before][0]:
                    after[before] = (worth, number, state)
        best[index - first] = tuple(after)
    return best


def _may_follow_digits(cluster: _Cluster, number: _Number) -> bool:
    """Return whether digits that are no number of their own may stand before ``number``, and it is one all the same."""
    if number.name == "card" or number.first == 0:
        return True
    between = cluster.text[cluster.spans[number.first - 1][1] : number.start]
    if number.name is not None and cluster.text[number.start] in "+(":
        return between != ""
    return len(between) > 1 or (number.name is not None and between in (" ", ",", "/") and between not in number.joins)


def _find_state_after(cluster: _Cluster, number: _Number) -> int:
    """Return what ``number`` is for the digits behind it, should these be no number of their own."""
    end = number.last + 1
    gap = cluster.gaps[end]
    if number.is_certain or len(gap) != 1:
        return _FREE
    if number.name is None:
        return _BOUND
    start, stop = cluster.spans[end]
    is_one = stop - start == 1 or gap in "/()+" or (gap in " ," and gap not in number.joins)
    return _FREE if is_one else _BOUND
