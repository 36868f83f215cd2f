"""What counts as personal data in a text, and what must be left alone."""

from __future__ import annotations

import itertools
import re
import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launchyard.data.values.redact import clean_text, quote_value, redact_text
from launchyard.spec.blocks import Redaction

ALL: tuple[Redaction, ...] = ("email", "phone", "card", "ip")


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("write to jo.smith+shop@mail.example.co.uk today", "write to [email] today"),
        ("请联系我test@example.com谢谢", "请联系我[email]谢谢"),
        ("müller@firma.de", "[email]"),
        ("我的手机13800138000,请回电", "我的手机[phone],请回电"),
        ("手机 138-0013-8000", "手机 [phone]"),
        ("手机 138 0013 8000。", "手机 [phone]。"),
        ("+86 138 0013 8000", "[phone]"),
        ("座机010-62781234", "座机[phone]"),
        ("座机 (010) 62781234", "座机 [phone]"),
        ("客服400-820-8820", "客服[phone]"),
        ("ruf an: +49 30 901820", "ruf an: [phone]"),
        ("+49 (0)171 2345678", "[phone]"),
        ("0049 171 2345678", "[phone]"),
        ("0171 2345678", "[phone]"),
        ("030/12345678", "[phone]"),
        ("020 7946 0958", "[phone]"),
        ("01 23 45 67 89", "[phone]"),
        ("01.23.45.67.89", "[phone]"),
        ("call (212) 555-0123 now", "call [phone] now"),
        ("212-555-0123", "[phone]"),
        ("1-800-555-0199", "[phone]"),
        ("card 4111 1111 1111 1111 12/27", "card [card] 12/27"),
        ("4111-1111-1111-1111", "[card]"),
        ("378282246310005 amex", "[card] amex"),
        ("from 192.168.0.17.", "from [ip]."),
        ("2001:db8::ff00:42:8329", "[ip]"),
        ("::ffff:192.0.2.128", "[ip]"),
    ],
)
def test_personal_data_is_masked(text: str, redacted: str) -> None:
    assert redact_text(text, ALL)[0] == redacted


@pytest.mark.parametrize(
    "text",
    [
        "on 2023-01-02 and 02.01.2023 and 1/2/2023",
        "at 01.02.2023 12:30 it broke",
        "01-02-2023 10:15:30",
        "from 1990-2020, and 2019 2020 2021 2022",
        "$1,299.00 or 1.299,00 € or 1 234 567",
        "0.123456789 and 3.14159265358979",
        "ISBN 978-3-16-148410-0",
        "order 20230102123045",
        "timestamp 1699999999 and 1699999999999",
        "4111 1111 1111 1112 fails the check digit",
        "12:30:45 and std::vector and a :: b",
        "version 1.2.3 and 300.1.2.3",
        "@home, a@b and user @ place",
        "房价2000000元,2023年10月1日,面积120.5平米",
        "1-2-3, 10 000 000 and 50/50",
    ],
)
def test_dates_years_prices_and_codes_are_left_alone(text: str) -> None:
    assert redact_text(text, ALL) == (text, {})


PEOPLE = {
    "13912345678": "[phone]",
    "138 0013 8000": "[phone]",
    "138-0013-8001": "[phone]",
    "400-820-8820": "[phone]",
    "212-555-2368": "[phone]",
    "212-555-2369": "[phone]",
    "212.555.2368": "[phone]",
    "(212) 555-2368": "[phone]",
    "1-800-555-0199": "[phone]",
    "+49 30 901820": "[phone]",
    "+86 138 0013 8000": "[phone]",
    "+1 212 555 2368": "[phone]",
    "0049 171 2345678": "[phone]",
    "0171 2345678": "[phone]",
    "030/12345678": "[phone]",
    "01 23 45 67 89": "[phone]",
    "01.23.45.67.89": "[phone]",
    "010-62781234": "[phone]",
    "(010) 62781234": "[phone]",
    "4111 1111 1111 1111": "[card]",
    "4111-1111-1111-1111": "[card]",
    "378282246310005": "[card]",
    "jo@example.org": "[email]",
    "192.168.0.17": "[ip]",
    "2001:db8::ff00:42:8329": "[ip]",
}
SEPARATORS = (" ", ", ", ",", "/", " / ", "\n", ";", "; ", "、", "，", "|", "\t", " - ", ". ", " and ")
BEHIND = ("2023", "1999", "19.99", "1,299.00", "01.02.2023", "2023-01-02", "$5", "a year")


@pytest.mark.parametrize("separator", SEPARATORS)
def test_any_two_of_any_kind_beside_each_other_are_both_masked(separator: str) -> None:
    pairs = {f"{one}{separator}{other}": (one, other) for one, other in itertools.product(PEOPLE, PEOPLE)}

    left = {text: redact_text(text, ALL)[0] for text in pairs}

    assert {text: found for text, found in left.items() if re.search("[0-9@]", found)} == {}


@given(
    st.lists(st.sampled_from(sorted(PEOPLE)), min_size=1, max_size=6),
    st.sampled_from(SEPARATORS),
    st.sampled_from(BEHIND),
)
def test_none_of_a_row_of_them_is_left_whatever_stands_behind(people: list[str], separator: str, behind: str) -> None:
    masked, counts = redact_text(separator.join([*people, behind]), ALL)

    assert not re.search("[0-9@]", masked.removesuffix(behind))
    assert sum(counts.values()) <= len(people)


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("13912345678 13912345679", "[phone] [phone]"),
        ("13912345678,13912345679", "[phone],[phone]"),
        ("13912345678 2023", "[phone] 2023"),
        ("13912345678,2023年", "[phone],2023年"),
        ("5 13912345678 5", "5 [phone] 5"),
        ("212-555-2368 212-555-2369", "[phone] [phone]"),
        ("212-555-2368-212-555-2369", "[phone]-[phone]"),
        ("0171 2345678 1,299.00", "[phone] 1,299.00"),
        ("+49 30 901820 1,299.00", "[phone] 1,299.00"),
        ("+49 30 901820 +49 30 901821", "[phone] [phone]"),
        ("4111 1111 1111 1111 13912345678", "[card] [phone]"),
        ("13912345678 4111 1111 1111 1111 13912345679", "[phone] [card] [phone]"),
        ("电话+86 138 0013 8000", "电话[phone]"),
        ("地址2001:db8::1是", "地址[ip]是"),
        ("01.02.2023 0171 2345678", "01.02.2023 [phone]"),
    ],
)
def test_numbers_beside_numbers_are_told_apart(text: str, redacted: str) -> None:
    assert redact_text(text, ALL)[0] == redacted


@pytest.mark.parametrize(
    "text",
    [
        "0.13912345678 and 1.00491712345678",
        "150 2000 3000 4000 5000",
        "A13912345678 and B0171 2345678",
        "2019 2020 2021 2022 2023 2024",
        "5,827 4,822 2,947 1,203",
    ],
)
def test_digits_that_only_contain_a_number_are_left_alone(text: str) -> None:
    assert redact_text(text, ALL) == (text, {})


@pytest.mark.parametrize("behind", range(3))
def test_a_row_longer_than_a_window_is_masked_as_a_short_one(behind: int) -> None:
    row = " ".join(["7"] * behind + ["13912345678", "0171 2345678", "212-555-2368"] * 400)

    assert redact_text(row, ALL)[0] == " ".join(["7"] * behind + ["[phone]"] * 1200)


def test_only_what_is_asked_for_decides_how_digits_are_divided() -> None:
    assert redact_text("212-555-2368 212-555-2369", ("phone",))[0] == "[phone] [phone]"
    assert redact_text("13912345678 4111 1111 1111 1111", ("phone",))[0] == "[phone] 4111 1111 1111 1111"


def test_replacements_are_counted_per_pattern() -> None:
    _, counts = redact_text("a@example.com b@example.com 13800138000", ALL)

    assert counts == {"email": 2, "phone": 1}


def test_only_the_patterns_asked_for_are_masked() -> None:
    assert redact_text("a@example.com 192.168.0.1", ("ip",)) == ("a@example.com [ip]", {"ip": 1})


@given(st.text(alphabet="0123456789 +-.()/@:aé中\u0301", max_size=80), st.sets(st.sampled_from(ALL)))
def test_cleaning_twice_changes_nothing(text: str, patterns: set[Redaction]) -> None:
    once, _ = clean_text(text, tuple(patterns))

    assert clean_text(once, tuple(patterns)) == (once, {})
    assert unicodedata.is_normalized("NFC", once)


def test_composed_and_decomposed_letters_become_the_same_text() -> None:
    assert clean_text("cafe\u0301", ()) == clean_text("café", ())


@pytest.mark.parametrize(
    "unit",
    (
        *("a", "1", "1 ", "a.", "+1", "::", "1.", "0-", "12/", "4 ", "01 ", "+49 30 901820 ", "212-555-2368 ", "2023 "),
        *("a@b.", "\u0301\u0323", "\u0f73", "\U0001e8d0\U0001d165", "e" + 40 * "\u0323\u0301"),
    ),
)
def test_a_long_text_is_cleaned_in_linear_time(unit: str) -> None:
    text = unit * (100_000 // len(unit))

    started = time.process_time()
    clean_text(text, ALL)

    assert time.process_time() - started < 5


def test_an_error_never_shows_personal_data_or_a_whole_text() -> None:
    assert quote_value("jo@example.org " + "x" * 100) == repr("[email] " + "x" * 49 + "...")
