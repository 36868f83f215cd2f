"""Form NFC, bounded."""

from __future__ import annotations

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launchyard.text.normal_form import GRAPHEME_JOINER, MARKS, MOST_MARKS, is_mark, normalize

MARK_LETTERS = "e\u00fc\u01d6\u0301\u0323\u0327\u0328\u0308\u0344\u0f73\u0f71\U0001d165\U0001e8d0中"


def find_longest_row(text: str) -> int:
    longest = row = 0
    for letter in unicodedata.normalize("NFD", text):
        row = row + 1 if unicodedata.combining(letter) else 0
        longest = max(longest, row)
    return longest


def test_all_of_unicode_s_marks_are_known() -> None:
    marks = [code for code in range(sys.maxunicode + 1) if is_mark(chr(code))]

    assert marks[0] in MARKS
    assert marks[-1] in MARKS


@pytest.mark.parametrize(
    "text", ["plain", "Caf\u00e9", "Cafe\u0301", "好看的电影", "ก็ดี", "שָׁלוֹם", "🏳️‍🌈👨‍👩‍👧", "\u1112\u1161\u11ab"]
)
def test_what_people_write_becomes_plain_nfc(text: str) -> None:
    assert normalize(text) == unicodedata.normalize("NFC", text)


@given(st.text(alphabet=MARK_LETTERS, max_size=200), st.text(alphabet="\u0323\u0301\u0f73\u0344", max_size=200))
def test_no_row_of_marks_is_long_and_twice_is_once(text: str, marks: str) -> None:
    once = normalize(text + marks)

    # A letter made of three takes two marks with it.
    assert find_longest_row(once) <= MOST_MARKS + 2
    assert normalize(once) == once
    assert unicodedata.is_normalized("NFC", once)
    assert once.replace(GRAPHEME_JOINER, "") or not text + marks
