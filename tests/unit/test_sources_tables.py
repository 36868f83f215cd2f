"""Rows of fetched files: types, nulls, encodings, shards, damage."""

from __future__ import annotations

import gzip
import json
import math
import random
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from launchyard.errors import SourceError
from launchyard.settings import Settings
from launchyard.sources.forms.tables import iter_class_tables, iter_tables
from launchyard.sources.resolve import Fetched, fetch

CSV = 'text,label\n"Good, really",good\n"two\nlines ""quoted""",bad\n'
ROWS = [{"text": "Good, really", "label": "good"}, {"text": 'two\nlines "quoted"', "label": "bad"}]


def fetch_file(folder: Path, name: str, content: str | bytes, options: str = "") -> Fetched:
    data = content.encode() if isinstance(content, str) else content
    (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return fetch(name + options, Settings(home=folder / "home"), base_dir=folder)


def fetch_folder(folder: Path, files: dict[str, str]) -> Fetched:
    (folder / "shards").mkdir()
    for name, content in files.items():
        (folder / "shards" / name).write_text(content)
    return fetch("shards", Settings(home=folder / "home"), base_dir=folder)


def read_rows(fetched: Fetched, columns: tuple[str, ...] | None = None) -> list[dict[str, object]]:
    return [row for table in iter_tables(fetched, columns) for row in table.to_pylist()]


def write_parquet(path: Path, columns: dict[str, object]) -> None:
    pq.write_table(pa.table(columns), path)


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "A.CSV", "a.tsv", "a.tsv.gz"])
def test_delimited_files_with_quotes_and_line_breaks(tmp_path: Path, name: str) -> None:
    content = CSV.replace('text,label\n"Good, really",', 'text\tlabel\n"Good, really"\t').replace('""",', '"""\t')

    fetched = fetch_file(tmp_path, name, content if "tsv" in name else CSV)

    assert read_rows(fetched) == ROWS


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_byte_order_mark_and_line_ends_are_no_content(tmp_path: Path, end: str) -> None:
    fetched = fetch_file(tmp_path, "a.csv", f"\ufefftext,label{end}fine,good{end}".encode())

    assert read_rows(fetched, ("text",)) == [{"text": "fine"}]


def test_values_of_delimited_files_stay_as_they_are_written(tmp_path: Path) -> None:
    fetched = fetch_file(tmp_path, "a.csv", 'a,b,c\n007,NA,1.50\n,"",null\n')

    assert read_rows(fetched) == [{"a": "007", "b": "NA", "c": "1.50"}, {"a": None, "b": "", "c": "null"}]


def test_types_do_not_change_from_block_to_block(tmp_path: Path) -> None:
    rows = [f'{number},"{"x" * 1000}"' for number in range(20_000)]
    fetched = fetch_file(tmp_path, "a.csv", "n,text\n" + "\n".join([*rows, "many,end", ""]))

    tables = list(iter_tables(fetched, ("n",), batch_rows=3_000))

    assert {table.schema for table in tables} == {pa.schema([("n", pa.string())])}
    assert [table.num_rows for table in tables] == [3_000] * 6 + [2_001]
    assert tables[-1].column("n").to_pylist()[-2:] == ["19999", "many"]


def test_columns_come_in_the_order_they_are_asked_for(tmp_path: Path) -> None:
    (table,) = iter_tables(fetch_file(tmp_path, "a.csv", CSV), ("label", "text"))

    assert table.column_names == ["label", "text"]


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.csv", CSV), ("a.jsonl", '{"text": "x", "label": "y"}\n'), ("a.tsv", "text\tlabel\nx\ty\n")],
)
def test_a_missing_column_names_the_nearest_and_all(tmp_path: Path, name: str, content: str) -> None:
    fetched = fetch_file(tmp_path, name, content)

    expected = rf"no column 'txt' in {name}\. Did you mean 'text'\? There are: label, text\."
    with pytest.raises(SourceError, match=expected):
        read_rows(fetched, ("txt",))


def test_a_column_named_twice_is_an_error_only_when_it_is_wanted(tmp_path: Path) -> None:
    fetched = fetch_file(tmp_path, "a.csv", "text,id,id\nfine,1,2\n")

    assert read_rows(fetched, ("text",)) == [{"text": "fine"}]
    with pytest.raises(SourceError, match="names column 'id' twice"):
        read_rows(fetched, ("id",))


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.jsonl", "a.tsv"])
def test_a_file_that_is_not_utf_8_names_line_and_byte(tmp_path: Path, name: str) -> None:
    content = b"text\nfine\ncaf\xe9\n" if "jsonl" not in name else b'{"text": "x"}\n\n{"text": "caf\xe9"}\n'
    offset = content.index(b"\xe9") + 1

    expected = rf"{name}, line 3, byte {offset}: not UTF-8, found byte 0xe9.*#encoding=latin-1"
    with pytest.raises(SourceError, match=expected):
        read_rows(fetch_file(tmp_path, name, content))


def test_the_place_of_a_bad_byte_is_right_far_into_a_file(tmp_path: Path) -> None:
    good = "héllo wörld,ok\n" * 200_000
    content = b"text,label\n" + good.encode() + b"caf\xe9,ok\n"

    expected = rf"line 200,002, byte {content.index(bytes([0xE9, 0x2C])) + 1:,}:"
    with pytest.raises(SourceError, match=expected):
        read_rows(fetch_file(tmp_path, "a.csv", content))


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "gb18030"])
def test_another_encoding_is_read_when_it_is_named(tmp_path: Path, encoding: str) -> None:
    text = "好评" if encoding == "gb18030" else "café"
    table = fetch_file(tmp_path, "a.csv", f"text\n{text}\n".encode(encoding), f"#encoding={encoding}")
    lines = fetch_file(tmp_path, "a.jsonl", f'{{"text": "{text}"}}\n'.encode(encoding), f"#encoding={encoding}")

    assert read_rows(table) == [{"text": text}]
    assert read_rows(lines) == [{"text": text}]


def test_a_row_with_too_many_fields_names_its_line_and_not_its_content(tmp_path: Path) -> None:
    fetched = fetch_file(tmp_path, "a.csv", "text,label\nfine,good\nsecret, personal,good\n")

    with pytest.raises(SourceError, match="row 3 has 3 fields, the header 2") as caught:
        read_rows(fetched)

    assert "personal" not in str(caught.value)


def test_a_quote_that_is_never_closed_is_an_error(tmp_path: Path) -> None:
    fetched = fetch_file(tmp_path, "a.csv", 'text,label\n"fine,good\n' + "more,good\n" * 1_000_000)

    with pytest.raises(SourceError, match=r"line 2: a field begins with a quotation mark, .* close every quote"):
        read_rows(fetched)


def test_a_text_of_a_megabyte_is_read(tmp_path: Path) -> None:
    text = "word " * 250_000
    rows = read_rows(fetch_file(tmp_path, "a.csv", f'text,label\n"{text}",good\n'))
    lines = read_rows(fetch_file(tmp_path, "a.jsonl", json.dumps({"text": text}) + "\n"))

    assert rows[0]["text"] == lines[0]["text"] == text


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_an_empty_file_is_an_error(tmp_path: Path, content: str) -> None:
    with pytest.raises(SourceError, match="is empty"):
        read_rows(fetch_file(tmp_path, "a.csv", content))


@pytest.mark.parametrize(("name", "content"), [("a.csv", "text,label\n"), ("a.jsonl", "\n"), ("a.jsonl", "")])
def test_a_source_that_yields_nothing_is_an_error(tmp_path: Path, name: str, content: str) -> None:
    with pytest.raises(SourceError, match="holds no rows"):
        read_rows(fetch_file(tmp_path, name, content))


def test_a_parquet_file_without_rows_is_an_error(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", {"text": pa.array([], pa.string())})

    with pytest.raises(SourceError, match="holds no rows"):
        read_rows(fetch("a.parquet", Settings(home=tmp_path), base_dir=tmp_path))


@pytest.mark.parametrize("name", ["a.parquet", "a.parquet.gz"])
def test_parquet_keeps_its_types(tmp_path: Path, name: str) -> None:
    write_parquet(tmp_path / "plain", {"text": ["x", None], "n": pa.array([1, 2], pa.int16())})

    (table,) = iter_tables(fetch_file(tmp_path, name, (tmp_path / "plain").read_bytes()), ("n", "text"))

    assert table.schema == pa.schema([("n", pa.int16()), ("text", pa.string())])
    assert table.to_pylist() == [{"n": 1, "text": "x"}, {"n": 2, "text": None}]


@pytest.mark.parametrize("name", ["a.parquet", "a.csv.gz", "a.jsonl.gz", "a.parquet.gz"])
def test_a_file_cut_off_is_an_error(tmp_path: Path, name: str) -> None:
    rows = "".join(f'{{"text": "{random.Random(number).random()}"}}\n' for number in range(2_000))
    write_parquet(tmp_path / "plain", {"text": [str(number) for number in range(1_000)]})
    content = (tmp_path / "plain").read_bytes() if "parquet" in name else rows.replace("{", "").encode()
    fetched = fetch_file(tmp_path, name, content if "csv" in name or "parquet" in name else rows)
    fetched.path.write_bytes(fetched.path.read_bytes()[:-1_000])

    with pytest.raises(SourceError, match=r"cut off or damaged|cannot be read as parquet"):
        read_rows(fetched)


def test_json_lines_have_one_type_over_all_blocks(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"n": None, "day": "2024-01-01", "text": "x" * 1_000} for _ in range(10_000)]
    rows += [{"n": 1, "day": "2024-01-02", "text": "y"}, {"n": 2.5, "day": "soon", "new": ["a"]}]
    fetched = fetch_file(tmp_path, "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))

    tables = list(iter_tables(fetched, ("n", "day", "new"), batch_rows=5_000))

    expected = pa.schema([("n", pa.float64()), ("day", pa.string()), ("new", pa.list_(pa.string()))])
    assert {table.schema for table in tables} == {expected}
    assert tables[-1].to_pylist() == [
        {"n": 1.0, "day": "2024-01-02", "new": None},
        {"n": 2.5, "day": "soon", "new": ["a"]},
    ]


def test_a_json_column_of_two_types_is_an_error_only_when_it_is_wanted(tmp_path: Path) -> None:
    fetched = fetch_file(tmp_path, "a.jsonl", '{"text": "a", "id": 1}\n{"text": "b", "id": "two"}\n')

    assert read_rows(fetched, ("text",)) == [{"text": "a"}, {"text": "b"}]
    with pytest.raises(SourceError, match="lines 1 to 2: column 'id' holds values of more than one type"):
        read_rows(fetched, ("text", "id"))


def test_a_json_column_whose_type_changes_in_a_later_block_is_an_error(tmp_path: Path) -> None:
    # A line longer than a block ends the block before it.
    rows = [{"id": 1}, {"text": "x" * 5_000_000}, {"id": "two"}]
    fetched = fetch_file(tmp_path, "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))

    with pytest.raises(SourceError, match="column 'id' is int64 in some rows and string in others"):
        read_rows(fetched, ("id",))


@pytest.mark.parametrize(
    ("line", "expected"),
    [('{"text": "secret"', "line 2, column 18: not JSON"), ("[1, 2]", "line 2: a list, not an object")],
)
def test_a_line_that_is_no_object_is_named_without_its_content(tmp_path: Path, line: str, expected: str) -> None:
    fetched = fetch_file(tmp_path, "a.jsonl", f'{{"text": "a"}}\n{line}\n')

    with pytest.raises(SourceError, match=expected) as caught:
        read_rows(fetched)

    assert "secret" not in str(caught.value)


LARGE = [2595465807489641083, 11611419085129123283, 5, 2**64 - 1, -(2**63), 2**53 + 1]


def write_lines(*values: str) -> str:
    return "".join(f'{{"text": "a", "id": {value}}}\n' for value in values)


@pytest.mark.parametrize(
    ("values", "numbers"),
    [
        ([str(number) for number in LARGE], LARGE),
        (["2595465807489641083", "7.0", "null", "1e3"], [2595465807489641083, 7, None, 1000]),
        (["11611419085129123283", "0.5"], [11611419085129123283, Decimal("0.5")]),
        ([str(10**37), "1"], [10**37, 1]),
        (["11611419085129123283", "NaN"], [11611419085129123283, None]),
        (["2595465807489641083", "NaN"], [2595465807489641083, None]),
    ],
)
def test_large_whole_numbers_of_json_lines_are_exact(tmp_path: Path, values: list[str], numbers: list[object]) -> None:
    fetched = fetch_file(tmp_path, "a.jsonl", write_lines(*values))

    assert [row["id"] for row in read_rows(fetched, ("id",))] == numbers


def test_large_whole_numbers_stay_exact_when_another_block_or_file_has_smaller_ones(tmp_path: Path) -> None:
    small, long = write_lines("1", "2"), f'{{"text": "{"x" * 5_000_000}"}}\n'
    whole = [2595465807489641083, 11611419085129123283]
    large, short = write_lines(str(whole[0])), write_lines("3.0")
    first = fetch_file(tmp_path, "a.jsonl", large + long + short)
    folder = fetch_folder(tmp_path, {"1.jsonl": small, "2.jsonl": write_lines(str(whole[1])), "3.jsonl": large})

    assert [row["id"] for row in read_rows(first, ("id",))] == [whole[0], None, 3]
    assert [row["id"] for row in read_rows(folder, ("id",))] == [1, 2, whole[1], whole[0]]


def test_parquet_shards_with_and_without_a_sign_keep_all_bits(tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    write_parquet(tmp_path / "shards" / "1.parquet", {"n": pa.array([2**64 - 1], pa.uint64())})
    write_parquet(tmp_path / "shards" / "2.parquet", {"n": pa.array([-1, None], pa.int64())})

    fetched = fetch("shards", Settings(home=tmp_path / "home"), base_dir=tmp_path)

    assert [row["n"] for row in read_rows(fetched, ("n",))] == [2**64 - 1, -1, None]


def test_large_whole_numbers_inside_an_object_are_exact(tmp_path: Path) -> None:
    lines = "".join(f'{{"by": {{"id": {number}, "name": "a"}}}}\n' for number in LARGE)

    rows = read_rows(fetch_file(tmp_path, "a.jsonl", lines), ("by.id",))

    assert [row["by.id"] for row in rows] == LARGE


def test_numbers_that_are_no_large_whole_ones_keep_their_types(tmp_path: Path) -> None:
    lines = '{"n": 1700000000123456789, "x": 0.5, "y": 5.0}\n{"n": 1, "x": 1, "y": 4.0}\n'

    (table,) = iter_tables(fetch_file(tmp_path, "a.jsonl", lines), None)

    assert table.schema.types == [pa.int64(), pa.float64(), pa.float64()]


def test_half_of_a_surrogate_pair_in_json_lines_is_replaced(tmp_path: Path) -> None:
    lines = ['"cut \\ud83d"', '"whole \\ud83d\\ude00"', '"\\ude00 \\\\ud83d"']

    texts = [row["id"] for row in read_rows(fetch_file(tmp_path, "a.jsonl", write_lines(*lines)), ("id",))]

    assert texts == ["cut \ufffd", "whole \U0001f600", "\ufffd \\ud83d"]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"text": "a", "text": "b"}', "line 2: the key 'text' stands twice in one object"),
        ('{"text": "a", "id": {"b": 1, "b": 2}}', "line 2: the key 'b' stands twice in one object"),
        ('{"text": NaN}', "line 2: column 'text' is NaN, which JSON does not have"),
        ('{"text": "a", "id": ["x", NaN]}', "line 2: column 'id' is NaN, which JSON does not have"),
        ('{"text": -Infinity}', "line 2: column 'text' is -Infinity, which JSON does not have"),
        ('{"text": "a", "id": 1e400}', "line 2: column 'id' is too large a number"),
        (f'{{"text": {"9" * 5000}}}', "line 2: has a number of thousands of digits"),
    ],
)
def test_what_is_wrong_with_a_line_of_json_is_said_with_its_number(tmp_path: Path, line: str, problem: str) -> None:
    fetched = fetch_file(tmp_path, "a.jsonl", f'{{"text": "fine", "id": null}}\n{line}\n')

    with pytest.raises(SourceError, match=problem) as caught:
        read_rows(fetched, ("text", "id"))

    assert "more than one type" not in str(caught.value)


def test_nan_is_a_missing_number_and_keys_that_nobody_asked_for_may_repeat(tmp_path: Path) -> None:
    fetched = fetch_file(tmp_path, "a.jsonl", '{"n": NaN, "x": 1, "x": 2}\n{"n": 1, "x": 1}\n')
    alone = fetch_file(tmp_path, "b.jsonl", '{"n": NaN}\n')

    first, second = (row["n"] for row in read_rows(fetched, ("n",)))
    (only,) = (row["n"] for row in read_rows(alone))

    assert isinstance(first, float) and math.isnan(first)
    assert second == 1
    assert isinstance(only, float) and math.isnan(only)


def test_a_folder_of_shards_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    files = {"2.csv": "label,text\nbad,two\n", "1.csv": "text,label\none,good\n", "README.md": "# x\n", "_SUCCESS": ""}

    fetched = fetch_folder(tmp_path, files)

    assert read_rows(fetched) == [{"text": "one", "label": "good"}, {"text": "two", "label": "bad"}]


def test_parquet_shards_of_different_types_get_the_wider(tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    write_parquet(tmp_path / "shards" / "1.parquet", {"n": pa.array([None, 1], pa.int32())})
    write_parquet(tmp_path / "shards" / "2.parquet", {"n": [0.5]})

    fetched = fetch("shards", Settings(home=tmp_path / "home"), base_dir=tmp_path)

    assert read_rows(fetched) == [{"n": None}, {"n": 1.0}, {"n": 0.5}]
    assert {table.schema.field("n").type for table in iter_tables(fetched, None, batch_rows=1)} == {pa.float64()}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"a.csv": CSV, "b.jsonl": "{}\n"}, "more than one format in this folder: csv, jsonl"),
        ({"a.txt": "x"}, r"no table in this folder\. There are: a\.txt"),
        ({"a.csv": CSV, "b.csv": "text\nx\n"}, r"no column 'label' in b\.csv"),
    ],
)
def test_a_folder_that_is_no_table_says_why(tmp_path: Path, files: dict[str, str], expected: str) -> None:
    with pytest.raises(SourceError, match=expected):
        read_rows(fetch_folder(tmp_path, files), ("text", "label"))


def test_a_file_whose_name_does_not_say_what_it_is_can_be_told(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"'u\.data' does not say what it is.*#format="):
        read_rows(fetch_file(tmp_path, "u.data", "user\titem\n1\t2\n"))

    assert read_rows(fetch_file(tmp_path, "u.data", "user\titem\n1\t2\n", "#format=tsv")) == [
        {"user": "1", "item": "2"}
    ]


def test_text_per_class_gives_a_row_a_line(tmp_path: Path) -> None:
    classes = {
        "pos": fetch_file(tmp_path, "pos.txt", "\ufeffgreat\r\n\r\nline\u2028separator\n"),
        "neg": fetch_file(tmp_path, "neg.txt.gz", 'a "quoted, one'),
    }

    rows = [row for table in iter_class_tables(classes, batch_rows=1) for row in table.to_pylist()]

    assert rows == [
        {"text": "great", "label": "pos"},
        {"text": "line\u2028separator", "label": "pos"},
        {"text": 'a "quoted, one', "label": "neg"},
    ]


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_a_class_without_a_line_is_an_error(tmp_path: Path, content: str) -> None:
    with pytest.raises(SourceError, match="holds no line of class 'pos'"):
        list(iter_class_tables({"pos": fetch_file(tmp_path, "pos.txt", content)}))


def test_a_class_that_is_a_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="class 'pos' needs a text file"):
        list(iter_class_tables({"pos": fetch_folder(tmp_path, {"a.txt": "x"})}))


def test_a_class_file_that_is_not_utf_8_needs_its_encoding_named(tmp_path: Path) -> None:
    content = b"good\na touching caf\xe9\n"

    with pytest.raises(SourceError, match=r"pos\.txt, line 2, byte 20: not UTF-8, found byte 0xe9"):
        list(iter_class_tables({"pos": fetch_file(tmp_path, "pos.txt", content)}))
    (table,) = iter_class_tables({"pos": fetch_file(tmp_path, "pos.txt", content, "#encoding=latin-1")})
    assert table.column("text").to_pylist() == ["good", "a touching café"]


MEASURE = r"""
import re, sys
from pathlib import Path
from launchyard.settings import Settings
from launchyard.sources.resolve import fetch
from launchyard.sources.forms.tables import iter_tables
path = Path(sys.argv[1])
fetched = fetch(path.name, Settings(home=path.parent / "home"), base_dir=path.parent)
assert sum(table.num_rows for table in iter_tables(fetched, ("text",))) == int(sys.argv[2])
# Not getrusage, whose maximum a process inherits from the one that started it.
print(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1])
"""


def write_large(path: Path, num_rows: int) -> None:
    texts = [f"row {number} " + "x" * 200 for number in range(num_rows)]
    if path.suffix == ".parquet":
        # One row group, as some writers make.
        pq.write_table(pa.table({"text": texts}), path, row_group_size=num_rows, use_dictionary=False)
        return
    with path.open("w") as file:
        if path.suffix == ".csv":
            file.write("text,label\n")
            file.writelines(f"{text},a\n" for text in texts)
        else:
            file.writelines(f'{{"text": "{text}", "label": "a"}}\n' for text in texts)


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, suffix: str) -> None:
    peaks_mib = []
    for num_rows in (300_000, 900_000):
        path = tmp_path / f"large.{suffix}"
        write_large(path, num_rows)
        command = [sys.executable, "-c", MEASURE, str(path), str(num_rows)]
        peak_kib = subprocess.run(command, check=True, capture_output=True, timeout=120).stdout
        peaks_mib.append(int(peak_kib) / 1024)

    # 124 MB more of file. What readers hold ahead varies by some tens of MB with the load of the machine.
    assert peaks_mib[1] - peaks_mib[0] < 80
