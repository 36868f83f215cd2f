"""Moments of events, whatever unit and form their file or request has."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from launchyard.data.values.columns import ROW_NUMBER
from launchyard.data.values.keyed_columns import read_moment, read_timestamps
from launchyard.errors import DataError

DAY = datetime(2023, 11, 14, tzinfo=UTC).timestamp()
EVENING = datetime(2023, 11, 14, 21, 30, 5, tzinfo=UTC).timestamp()
EARLY = datetime(1970, 8, 23, 3, 45, 14, tzinfo=UTC)
"""Second 20231114 of our count: a moment that a day in digits was taken for."""


def _read(values: Any) -> list[float]:
    table = pa.table({"at": values, ROW_NUMBER: pa.array(range(1, len(values) + 1))})
    moments: list[float] = read_timestamps(table, "at", key="data.interactions.timestamp").tolist()
    return moments


@pytest.mark.parametrize(
    "values",
    [
        pa.array([20231114, 20231115]),
        pa.array([20231114.0, 20231115.0]),
        pa.array([Decimal(20231114), Decimal(20231115)]),
        pa.array([20231114, 20231115]).dictionary_encode(),
        pa.array(["20231114", " 20231115 "]),
        pa.array(["20231114.0", "2023-11-15"]),
        pa.array([date(2023, 11, 14), date(2023, 11, 15)]),
        pa.array([20231114000000, 20231115000000]),
        pa.array(["20231114000000", "20231115T000000"]),
    ],
)
def test_a_day_in_digits_is_that_day_in_any_column(values: pa.Array) -> None:
    assert _read(values) == [DAY, DAY + 86_400]


def test_a_second_in_digits_is_that_second() -> None:
    assert _read(pa.array([20231114213005])) == [EVENING]


@pytest.mark.parametrize(
    ("given", "moment"),
    [
        (20231114, DAY),
        (20231114.0, DAY),
        ("20231114", DAY),
        ("20231114213005", EVENING),
        (202311142130, EVENING - 5),
        ("2023-11-14 21:30:05 UTC", EVENING),
        ("2023/11/14", DAY),
        ("2023/11/14 21:30:05", EVENING),
        (1700001000, 1700001000.0),
        (1700001000_000, 1700001000.0),
        ("1970-08-23T03:45:14Z", EARLY.timestamp()),
        (20231399, 20231399.0),
        (5, 5.0),
        (0.5, 0.5),
    ],
)
def test_a_moment_of_a_request_is_read_as_a_column_of_them(given: float | str, moment: float) -> None:
    assert read_moment(given) == moment
    assert _read(pa.array([given])) == [moment]


def test_a_written_moment_of_1970_stays_in_1970() -> None:
    assert _read(pa.array([EARLY.replace(tzinfo=None)], pa.timestamp("s"))) == [EARLY.timestamp()]
    assert _read(pa.array(["1970-08-23T03:45:14Z", "20231114"])) == [EARLY.timestamp(), DAY]


@pytest.mark.parametrize("values", [pa.array([20231114, 20231399, 0]), pa.array(["20231114", "20231399", "0"])])
def test_days_in_digits_beside_numbers_that_are_none_are_refused(values: pa.Array) -> None:
    with pytest.raises(DataError, match=r"is no day, such as .*found '20231399' in row 2, '0' in row 3"):
        _read(values)


def test_small_numbers_alone_are_seconds() -> None:
    assert _read(pa.array([1, 2, None, 20231399]))[:2] == [1.0, 2.0]
