from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from launchyard.errors import DataError, SourceError
from launchyard.features.rows import WrittenSet, write_feature_set
from launchyard.settings import Settings
from launchyard.sources.resolve import fetch
from launchyard.spec.features import DeclaredSet


def write_csv(folder: Path, lines: Sequence[str]) -> Path:
    path = folder / "rows.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def declare(source: Path, **columns: str) -> DeclaredSet:
    """Declare features of these types, each in the column of its name."""
    described = {name: {"column": name, "type": type_} for name, type_ in columns.items()}
    return DeclaredSet.model_validate(
        {"entity": "item", "source": str(source), "key": "id", "timestamp": "at", "columns": described}
    )


def write(folder: Path, declared: DeclaredSet, make_key: Any = str) -> tuple[WrittenSet, dict[str, list[Any]]]:
    """Write the set; return what was said of it and its columns."""
    fetched = fetch(declared.source, Settings(home=folder / "home"), base_dir=folder)
    written = write_feature_set("prices", declared, fetched, folder / "prices.parquet", make_key=make_key)
    columns: dict[str, list[Any]] = pq.read_table(folder / "prices.parquet").to_pydict()
    return written, columns


def test_rows_are_written_in_time_order_whatever_writes_the_times(tmp_path: Path) -> None:
    times = ["881250949000", "1997-12-04T15:55:48Z", "881250947", "1997-12-04T16:55:50+01:00"]
    source = write_csv(tmp_path, ["id,at,price", *(f"{n},{at},{n}.5" for n, at in enumerate(times))])

    _, columns = write(tmp_path, declare(source, price="number"))

    assert columns["timestamp"] == [881250947.0, 881250948.0, 881250949.0, 881250950.0]
    assert columns["entity"] == ["2", "1", "0", "3"]
    assert columns["price"] == [2.5, 1.5, 0.5, 3.5]


def test_last_of_two_rows_of_one_time_wins_and_is_counted(tmp_path: Path) -> None:
    source = write_csv(tmp_path, ["id,at,price", "a,5,1", "b,5,2", "a,5,3", "a,4,9"])

    written, columns = write(tmp_path, declare(source, price="number"))

    assert written == WrittenSet(num_rows=3, num_incomplete=0, num_repeated=1)
    assert list(zip(columns["entity"], columns["timestamp"], columns["price"], strict=True)) == [
        ("a", 4.0, 9.0),
        ("b", 5.0, 2.0),
        ("a", 5.0, 3.0),
    ]


def test_rows_without_id_or_time_are_left_out_and_counted(tmp_path: Path) -> None:
    source = write_csv(tmp_path, ["id,at,price", "a,1,1", " ,2,2", "c,,3"])

    written, columns = write(tmp_path, declare(source, price="number"))

    assert (written.num_rows, written.num_incomplete, columns["entity"]) == (1, 2, ["a"])


def test_nan_and_blank_are_unknown(tmp_path: Path) -> None:
    lines = ["id,at,price,stock,sold,name", "a,1,NaN,,, ", "b,2,1.5,3,yes,x"]
    source = write_csv(tmp_path, lines)

    _, columns = write(tmp_path, declare(source, price="number", stock="integer", sold="boolean", name="text"))

    found = [[columns[name][row] for name in ("price", "stock", "sold", "name")] for row in (0, 1)]
    assert found == [[None] * 4, [1.5, 3, True, "x"]]


def test_lists_are_read_from_json_lines(tmp_path: Path) -> None:
    rows = [{"id": 7, "at": 1, "vector": [1, 2.5], "tags": ["a"]}, {"id": 7, "at": 2, "vector": None, "tags": []}]
    source = tmp_path / "rows.jsonl"
    source.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")

    _, columns = write(tmp_path, declare(source, vector="numbers", tags="texts"))

    assert (columns["entity"], columns["vector"], columns["tags"]) == (["7", "7"], [[1.0, 2.5], None], [["a"], []])


def test_only_what_the_caller_makes_of_an_id_is_written(tmp_path: Path) -> None:
    source = write_csv(tmp_path, ["id,at,price", "anna@example.org,1,1"])

    _, columns = write(tmp_path, declare(source, price="number"), make_key=lambda user: f"pseudonym-{len(user)}")

    assert columns["entity"] == ["pseudonym-16"]
    assert b"anna" not in (tmp_path / "prices.parquet").read_bytes()


def test_unknown_column_names_the_nearest(tmp_path: Path) -> None:
    source = write_csv(tmp_path, ["id,at,price", "a,1,1"])

    with pytest.raises(SourceError, match=r"no column 'prize'.*'price'"):
        write(tmp_path, declare(source, prize="number"))


@pytest.mark.parametrize(
    ("row", "type_", "problem"),
    [
        ("a,soon,1", "number", "features.sets.prices.timestamp: is neither a number nor a date.*'soon' in row 2"),
        ("a,1,cheap", "number", "features.sets.prices.columns.price: is not a number.*'cheap' in row 2"),
        ("a,1,inf", "number", "is not a finite number, found 'inf' in row 2"),
        ("a,1,1.5", "integer", "is not an integer up to 2 to the 53, found '1.5' in row 2"),
        ("a,1,maybe", "boolean", "is neither true nor false, found 'maybe' in row 2"),
        ("a,1,1 2", "numbers", "holds string, numbers are lists"),
    ],
)
def test_unreadable_value_is_named_with_its_row(tmp_path: Path, row: str, type_: str, problem: str) -> None:
    source = write_csv(tmp_path, ["id,at,price", "b,1,", row])

    with pytest.raises(DataError, match=problem):
        write(tmp_path, declare(source, price=type_))


def test_source_of_incomplete_rows_only_is_refused(tmp_path: Path) -> None:
    source = write_csv(tmp_path, ["id,at,price", ",1,1", "a,,1"])

    with pytest.raises(DataError, match="none of 2 rows has both an id in column 'id' and a time in column 'at'"):
        write(tmp_path, declare(source, price="number"))
