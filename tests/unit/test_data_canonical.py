"""One text for a value of any type: column by column and one by one alike."""

from __future__ import annotations

import random
import unicodedata
from datetime import UTC, date, datetime, time
from decimal import Decimal
from uuid import UUID

import pyarrow as pa
import pytest

from launchyard.data.values.canonical import format_column, format_id, format_id_column, format_value, list_former_ids

MARK = UUID("5bc8fbbc-bde5-4099-8164-d8399f767c45")
ARRAYS = {
    "integers": pa.array([0, -5, 2**63 - 1, None], pa.int64()),
    "large integers": pa.array([0, 2**64 - 1, None], pa.uint64()),
    "doubles": pa.array([5.0, -0.0, 0.5, 2.0**53, 2.0**63, 1e20, 1e-7, float("nan"), float("inf"), None], pa.float64()),
    "decimals": pa.array([Decimal("12.000000000"), Decimal("0E-9"), None], pa.decimal128(38, 9)),
    "fractions": pa.array([Decimal("12.500"), Decimal("5.000"), None], pa.decimal128(38, 3)),
    "large decimals": pa.array([Decimal(10**70), Decimal(2)], pa.decimal256(76, 0)),
    "truths": pa.array([True, False, None]),
    "bytes": pa.array([b"caf\xc3\xa9", b"\xff\x00", MARK.bytes, None], pa.binary()),
    "fixed bytes": pa.array([MARK.bytes, b"sixteen letters!"], pa.binary(16)),
    "uuids": pa.ExtensionArray.from_storage(pa.uuid(), pa.array([MARK.bytes, None], pa.binary(16))),
    "days": pa.array([date(2023, 11, 14), None]),
    "hours": pa.array([time(1, 2, 3), time(1, 2, 3, 500_000)]),
    "moments": pa.array([datetime(2023, 11, 14, 1, 2, 3, 500_000), datetime(2023, 11, 14)], pa.timestamp("us")),
    "zoned": pa.array([datetime(2023, 11, 14, 10, 20, 30, tzinfo=UTC)], pa.timestamp("us", "Europe/Berlin")),
    "categories": pa.array([5.0, 5.0, None, 7.0]).dictionary_encode(),
    "texts": pa.array(["5.0", " a ", "", None]),
    "views": pa.array(["5.0", " a "], pa.string_view()),
    "nothing": pa.nulls(2),
}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (7, "7"),
        (7.0, "7"),
        (-0.0, "0"),
        (18446744073709551615, "18446744073709551615"),
        (1e20, "100000000000000000000"),
        (0.5, "0.5"),
        (float("nan"), None),
        (True, "true"),
        (Decimal("0E-9"), "0"),
        (Decimal("12.500"), "12.5"),
        (Decimal("1234567890123456789012345678.50"), "1234567890123456789012345678.5"),
        (MARK, "5bc8fbbc-bde5-4099-8164-d8399f767c45"),
        (MARK.bytes, "5bc8fbbc-bde5-4099-8164-d8399f767c45"),
        (b"user-7", "user-7"),
        (b"\xff\x00", "ff00"),
        (date(2023, 11, 14), "2023-11-14"),
        (datetime(2023, 11, 14, 1, 2, 3, 500_000), "2023-11-14 01:02:03.5"),
        ("5.0", "5.0"),
    ],
)
def test_a_value_has_one_text_whatever_its_type(value: object, text: str | None) -> None:
    assert format_value(value) == text


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("7.0", "7"),
        (" 7 ", "7"),
        ("\u30007\xa0", "7"),
        ("12.000000000", "12"),
        ("-0.0", "0"),
        ("007", "007"),
        ("007.0", "007.0"),
        ("1e5", "1e5"),
        ("5.50", "5.50"),
        ("v1.0", "v1.0"),
        ("1.2.0", "1.2.0"),
        ("cafe\u0301-12", "caf\u00e9-12"),
        (" \t", None),
        ("", None),
    ],
)
def test_an_id_loses_white_space_and_a_fraction_of_zeros_and_nothing_else(given: str, text: str | None) -> None:
    assert format_id(given) == text
    assert format_id_column(pa.array([given, "plain"])).to_pylist() == [text, "plain"]


@pytest.mark.parametrize("name", ARRAYS)
def test_a_column_is_formatted_as_its_values_are(name: str) -> None:
    array = ARRAYS[name]
    values = array.to_pylist()

    assert format_column(array).to_pylist() == [format_value(value) for value in values]
    assert format_id_column(pa.chunked_array([array])).to_pylist() == [format_id(value) for value in values]


def test_random_texts_are_one_id_in_columns_and_requests_and_stay_as_they_are() -> None:
    draw = random.Random(7)
    letters = "0015.-e\u0301\u00e9\u212b\u0308a \t\x1c\xa0\u200b\ufeff\n\x00\u1100\u1161"
    texts = ["".join(draw.choices(letters, k=draw.randrange(8))) for _ in range(20_000)]

    ids = [format_id(text) for text in texts]

    assert format_id_column(pa.array(texts)).to_pylist() == ids
    assert [format_id(found) for found in ids] == ids
    assert all(found is None or unicodedata.is_normalized("NFC", found) for found in ids)


def test_a_short_float_is_the_number_that_was_written() -> None:
    assert format_column(pa.array([0.1, 7.0], pa.float32())).to_pylist() == ["0.1", "7"]
    assert format_column(pa.array([0.5, 7.0], pa.float16())).to_pylist() == ["0.5", "7"]


def test_lists_and_records_have_no_text() -> None:
    for array in (pa.array([[1]]), pa.array([{"a": 1}])):
        with pytest.raises(TypeError, match="has no text"):
            format_column(array)


def test_former_ids_begin_with_the_present_one() -> None:
    assert list_former_ids(" 5.0 ")[:2] == ("5", "5.0")
    assert {"5.000000000", "5.0"} <= set(list_former_ids("5"))
    assert {"0E-9", "0.0"} <= set(list_former_ids("0"))
    assert "0.500000000" in list_former_ids("0.5")
    assert list_former_ids("caf\u00e9") == ("caf\u00e9", "cafe\u0301")
    assert list_former_ids("007.50x") == ("007.50x",)
    assert str(int(float(2595465807489641083))) in list_former_ids("2595465807489641083")
    assert "-9223372036854775808" in list_former_ids("11611419085129123283")
    assert list_former_ids(" ") == ()
