"""Labels that look alike are named, with what nobody sees."""

from __future__ import annotations

import pytest

from launchyard.data.values.lookalikes import warn_of_lookalikes


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("positive", "positive\u200b"),
        ("positive", "\ufeffpositive"),
        ("Positive", "positive"),
        ("very good", "very  good"),
        ("very good", "very\xa0good"),
        ("caf\u00e9", "cafe\u0301"),
        ("good", "\uff47ood"),
        ("1", "1.0"),
        ("Stra\u00dfe", "STRASSE"),
        ("left\u202a", "left"),
    ],
)
def test_labels_that_look_alike_are_named_with_their_rows(one: str, other: str) -> None:
    (warning,) = warn_of_lookalikes({one: 1200, "else": 5, other: 3})

    assert "(1,200 rows)" in warning
    assert "(3 rows)" in warning
    assert "else" not in warning


def test_what_cannot_be_seen_is_shown() -> None:
    (warning,) = warn_of_lookalikes({"no": 1, "no\u200b": 2, "caf\u00e9": 3, "cafe\u0301": 4})

    assert r"'no' (1 rows) and 'no\u200b' (2 rows)" in warning
    assert r"'cafe\u0301' (4 rows) and 'caf\xe9' (3 rows)".replace(r"\xe9", "\u00e9") in warning


@pytest.mark.parametrize("labels", [("good", "bad"), ("1", "10"), ("resume", "r\u00e9sum\u00e9"), ("a-b", "a b")])
def test_labels_that_differ_for_anybody_give_no_warning(labels: tuple[str, str]) -> None:
    assert warn_of_lookalikes(dict.fromkeys(labels, 7)) == []


def test_only_the_first_of_many_are_named() -> None:
    counts = {name: 1 for letter in "abcdefgh" for name in (letter, letter.upper())}

    (warning,) = warn_of_lookalikes(counts)

    assert warning.count(" and '") == 5
    assert "; and 3 more" in warning
