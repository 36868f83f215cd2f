"""Tables as people have them: other delimiters, quotation marks that are text, no header line, arrays, archives."""

from __future__ import annotations

import base64
import gzip
import io
import json
import zipfile
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from launchyard.errors import SourceError
from launchyard.settings import Settings
from launchyard.sources.forms.layout import Layout, SampleValues, find_stray_quote
from launchyard.sources.forms.tables import iter_tables
from launchyard.sources.resolve import fetch
from launchyard_pipelines.batch.output import open_output

ROWS = [{"text": "a, b", "label": "good"}, {"text": "c", "label": "bad"}, {"text": "d", "label": "bad"}]


def read(path: Path, columns: tuple[str, ...] | None = None, options: str = "") -> list[dict[str, object]]:
    fetched = fetch(path.name + options, Settings(home=path.parent / "home"), base_dir=path.parent)
    return [row for table in iter_tables(fetched, columns) for row in table.to_pylist()]


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def make_zip(members: dict[str, str]) -> bytes:
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return raw.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("excel.csv", "text;label\na, b;good\nc;bad\nd;bad\n"),
        ("tabs.csv", "text\tlabel\na, b\tgood\nc\tbad\nd\tbad\n"),
        ("pipes.csv", "text|label\r\na, b|good\r\nc|bad\r\nd|bad\r\n"),
        ("sep.csv", "sep=;\ntext;label\na, b;good\nc;bad\nd;bad\n"),
        ("sep-bom.csv", '\ufeff"sep=,"\r\ntext,label\r\n"a, b",good\r\nc,bad\r\nd,bad\r\n'),
        ("commas.tsv", 'text,label\n"a, b",good\nc,bad\nd,bad\n'),
    ],
)
def test_the_delimiter_is_found_in_the_header_line(tmp_path: Path, name: str, content: str) -> None:
    assert read(write(tmp_path, name, content)) == ROWS


def test_a_file_of_one_column_whose_texts_hold_semicolons_keeps_it(tmp_path: Path) -> None:
    assert read(write(tmp_path, "a.csv", "text\na;b\nc\n")) == [{"text": "a;b"}, {"text": "c"}]


@pytest.mark.parametrize(
    ("options", "content"),
    [
        ("#delimiter=;", "text, all;label\na, b;good\nc;bad\nd;bad\n"),
        ("#delimiter=%01&header=text,label", "a, b\x01good\nc\x01bad\nd\x01bad\n"),
        ("#header=text,label", '"a, b",good\nc,bad\nd,bad\n'),
        ("#quote='", "text,label\n'a, b',good\nc,bad\nd,bad\n"),
    ],
)
def test_options_say_how_a_table_is_written(tmp_path: Path, options: str, content: str) -> None:
    rows = read(write(tmp_path, "a.csv", content), options=options)

    assert [list(row.values()) for row in rows] == [list(row.values()) for row in ROWS]


def test_names_given_for_a_file_that_has_them_are_no_row(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "text,label\na,good\n")

    with pytest.raises(SourceError, match="Remove #header= from the source"):
        read(path, options="#header=text,label")


@pytest.mark.parametrize("content", ["text:label\na:good\n", "text label\na good\n", "text;label\na;good\nb;bad;x\n"])
def test_a_header_that_is_split_at_another_character_asks_for_the_delimiter(tmp_path: Path, content: str) -> None:
    path = write(tmp_path, "a.csv", content)

    with pytest.raises(SourceError, match=r"split at ',', though the name stands in it. .*#delimiter=semicolon"):
        read(path, ("text", "label"))


def test_columns_without_names_are_numbered(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "c,bad\nd,bad\n")

    assert read(path, ("2", "1"), "#header=false") == [{"2": "bad", "1": "c"}, {"2": "bad", "1": "d"}]


def test_only_the_columns_that_the_source_names_are_read(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "text,label,note\na,good,x\n")

    assert read(path, None, "#columns=label,text") == [{"label": "good", "text": "a"}]
    with pytest.raises(SourceError, match="'note' is not among the #columns"):
        read(path, ("note",), "#columns=label,text")


def test_quotation_marks_of_a_tsv_that_open_no_field_are_text(tmp_path: Path) -> None:
    texts = ['"begins with one', "plain", 'a 5" disk', '"another', '"closed in" the middle', 'ends with "one"']
    path = write(tmp_path, "a.tsv", "text\tlabel\n" + "".join(f"{text}\tx\n" for text in texts))

    assert [row["text"] for row in read(path)] == texts


def test_quotes_of_a_tsv_that_has_them_are_no_text(tmp_path: Path) -> None:
    path = write(tmp_path, "a.tsv", 'text\tlabel\n"two\nlines"\tgood\n"a\ttab"\tbad\n"say ""hi"""\tbad\n')

    assert [row["text"] for row in read(path)] == ["two\nlines", "a\ttab", 'say "hi"']


def test_a_quotation_mark_that_would_swallow_rows_of_a_csv_is_an_error_with_its_line(tmp_path: Path) -> None:
    content = 'text,label\nfine,good\n"begins with one,good\nb,bad\nc,bad\n"again,good\n'
    path = write(tmp_path, "a.csv", content)

    with pytest.raises(SourceError, match=r"line 3: .* the next 3 lines .*#quote=none"):
        read(path)
    assert len(read(path, options="#quote=none")) == 5


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('a,b\n"x\ny",1\n"z ""q"" w",2\n', None),
        ('a,b\n1,"x\n\n"\n', None),
        ('a,b\n1,5" disk\n2,6" disk\n', None),
        ('a,b\n"x" y,1\n', None),
        ('a,b\n"x,1\ny,2\n"z,3\n', (2, 2)),
        ('a,b\nk,1\n"x,1\ny,2\nz,3\n', (3, 3)),
        ('a,b,c,d,e\n1,2,3,4,"x\n1,2,3,4,y\n1,2,3,4,z"\n', (2, 2)),
        # It ends by chance at a right place: the label shows that it holds a row, or two.
        ('a,b\n"x,good\n20",bad\nk,good\nl,good\n', (2, 1)),
        ('a,b\r\ngood,"x\r\nbad,k\r\ngood,20"\r\ngood,l\r\nbad,m\r\ngood,m\r\nbad,k\r\n', (2, 2)),
        ('a,b\n101,"x\n102,20"\n103,k\n104,l\n', (2, 1)),
        ('a,b\n"Dear Bob, hello\nyours",good\nk,good\nl,bad\n', None),
        ('a,b\n"eggs, 3\nmilk, 1\ntea",good\nk,good\nl,bad\n', None),
        ('a,b\n7,"1, eggs\n2, milk"\n8,k\n9,l\n', None),
    ],
)
def test_a_stray_quotation_mark_is_told_from_a_quoted_field(
    text: str, expected: tuple[int, int] | None, size: int
) -> None:
    pieces = [text[start : start + size] for start in range(0, len(text), size)]

    found = find_stray_quote(
        pieces, Layout(","), text.partition("\n")[0].count(",") + 1, SampleValues(text, Layout(",")), in_line=False
    )

    assert (found and (found.line, found.num_lines)) == expected


@pytest.mark.parametrize(
    "content",
    [
        "The film was far better than anybody who had read the book would have thought.\tgood\nBad.\tbad\n",
        "0\ttcp\tftp\n1\tudp\tprivate\n",
        "Sport\tA win\nSport\tA loss\nBusiness\tShares\n",
        "u17\ti3\nu4\ti90\nu230\ti1\n",
        "a@example.com\ti\nb@example.com\tk\n",
        "Sports\tRed Sox win!\nWorld\tPeace\n",
        "体育\t马晓旭意外受伤让国奥警惕无奈大雨格外青睐殷家军\n财经\t好\n",
    ],
)
def test_a_row_is_not_printed_as_names_of_columns(tmp_path: Path, content: str) -> None:
    path = write(tmp_path, "a.tsv", content)

    with pytest.raises(SourceError, match="#header=<name>") as caught:
        read(path, ("text", "label"))

    first = content.splitlines()[0].split("\t")
    assert not [field for field in first if len(field) > 1 and field in str(caught.value)]


def test_names_of_columns_are_still_listed_when_one_is_missing(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "review,stars\ngood,5\nbad,1\n")

    with pytest.raises(SourceError, match=r"no column 'text' in a.csv. There are: review, stars"):
        read(path, ("text",))


def test_an_array_of_objects_is_a_table(tmp_path: Path) -> None:
    rows = [{"id": 2**63 + number, "text": f'[{number}], {{x}}\n"q"', "nested": {"n": number}} for number in range(50)]
    path = write(tmp_path, "a.json", json.dumps(rows, indent=1))

    assert [row["text"] for row in read(path, ("text",))] == [row["text"] for row in rows]
    assert [row["nested.n"] for row in read(path, ("nested.n",))] == list(range(50))


def test_lines_of_objects_are_read_whatever_the_file_is_called(tmp_path: Path) -> None:
    assert read(write(tmp_path, "a.json", '{"text": "a"}\n{"text": "b"}\n')) == [{"text": "a"}, {"text": "b"}]


@pytest.mark.parametrize("content", ['[{"text": "a"}, {"text": ', '[{"text": "a"} x]', '[{"text": "a"}'])
def test_an_array_that_is_cut_off_is_an_error(tmp_path: Path, content: str) -> None:
    with pytest.raises(SourceError, match=r"object \d of the array"):
        read(write(tmp_path, "a.json", content))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('[,{"text": "a"}]', "object 1 of the array: an object was expected, found ','"),
        ('[{"text": "a"}{"text": "b"}]', "object 2 of the array: a comma before it was expected, found '{'"),
        ('[{"text": "a"},, {"text": "b"}]', "object 2 of the array: an object was expected, found ','"),
        ('[{"text": "a"},\n]', "object 2 of the array: an object was expected, found ']'"),
        ("[,]", "object 1 of the array: an object was expected, found ','"),
    ],
)
def test_commas_stand_between_the_objects_of_an_array_and_nowhere_else(
    tmp_path: Path, content: str, expected: str
) -> None:
    with pytest.raises(SourceError, match=expected):
        read(write(tmp_path, "a.json", content))


def test_a_key_inside_a_column_is_named_with_a_dot(tmp_path: Path) -> None:
    row = {"review": {"text": "a", "by": {"name": "b"}}, "label": "good", "a.b": 1}
    lines = write(tmp_path, "a.jsonl", json.dumps(row) + "\n")
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "a.parquet")

    for path in (lines, tmp_path / "a.parquet"):
        found = read(path, ("review.by.name", "label", "review.text", "a.b"))
        assert found == [{"review.by.name": "b", "label": "good", "review.text": "a", "a.b": 1}]
        with pytest.raises(SourceError, match=r"no column 'review.txt' .* Did you mean 'review.text'"):
            read(path, ("review.txt",))


def test_white_space_around_the_names_of_columns_is_not_theirs(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", " text , label,\tid\na, good,1\n")

    assert read(path, ("label", "text")) == [{"label": " good", "text": "a"}]
    # These two would become one.
    assert read(write(tmp_path, "b.csv", "id,id \n1,2\n")) == [{"id": "1", "id ": "2"}]


@pytest.mark.parametrize("ending", ["zip", "csv.zip"])
def test_a_zip_archive_of_one_table_is_read(tmp_path: Path, ending: str) -> None:
    members = {
        "README.md": "Rows of ours.",
        "data/rows.csv": 'text,label\n"a, b",good\nc,bad\nd,bad\n',
        "data/LICENSE": "CC0",
        "__MACOSX/._rows.csv": "x",
    }

    assert read(write(tmp_path, f"a.{ending}", make_zip(members))) == ROWS


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"a.csv": "a\n1\n", "b.csv": "a\n1\n"}, r"2 files \(a.csv, b.csv\)"),
        ({"a.md": "", "b.txt": ""}, "2 files"),
        ({}, "0 files"),
    ],
)
def test_a_zip_archive_of_several_tables_is_an_error(tmp_path: Path, members: dict[str, str], expected: str) -> None:
    with pytest.raises(SourceError, match=expected):
        read(write(tmp_path, "a.csv.zip", make_zip(members) if members else make_zip({"x/": ""})))


def test_a_zip_archive_with_a_flipped_byte_is_an_error(tmp_path: Path) -> None:
    content = bytearray(make_zip({"a.csv": "text\n" + "abcdefgh\n" * 1000}))
    content[60] ^= 0xFF

    with pytest.raises(SourceError, match=r"a\.csv"):
        read(write(tmp_path, "a.csv.zip", bytes(content)))


def test_a_gzip_file_may_be_padded_with_zeros_and_hold_several_members(tmp_path: Path) -> None:
    content = gzip.compress(b"text,label\n") + gzip.compress(b"a,b\n") + b"\0" * 512

    assert read(write(tmp_path, "a.csv.gz", content)) == [{"text": "a", "label": "b"}]


def test_a_gzip_file_with_something_behind_it_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="damaged"):
        read(write(tmp_path, "a.csv.gz", gzip.compress(b"text,label\na,b\n") + b"rest"))


def test_folders_of_editors_and_jobs_are_not_data(tmp_path: Path) -> None:
    write(tmp_path, "data/part/a.csv", "text\nright\n")
    for name in (".ipynb_checkpoints/a-checkpoint.csv", "_temporary/0/b.csv", "part/.c.csv", "part/_d.csv", "~$e.csv"):
        write(tmp_path, f"data/{name}", "text\nwrong\n")

    assert read(tmp_path / "data") == [{"text": "right"}]


def test_a_text_is_a_text_however_each_part_encodes_it(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    kinds = (pa.string(), pa.dictionary(pa.int8(), pa.string()), pa.large_string(), pa.string_view())
    for number, kind in enumerate(kinds):
        column = pa.array(["good"]).cast(kind)
        pq.write_table(pa.table({"label": column}), tmp_path / "parts" / f"{number}.parquet")

    assert read(tmp_path / "parts", ("label",)) == [{"label": "good"}] * len(kinds)


def test_a_parquet_column_that_is_there_twice_is_an_error(tmp_path: Path) -> None:
    table = pa.table([pa.array(["a"]), pa.array(["x"]), pa.array(["y"])], names=["text", "label", "label"])
    pq.write_table(table, tmp_path / "a.parquet")

    with pytest.raises(SourceError, match="names column 'label' twice"):
        read(tmp_path / "a.parquet", ("text", "label"))
    assert read(tmp_path / "a.parquet", ("text",)) == [{"text": "a"}]


RAW = b"\xfb\xff\x00"
"""Bytes whose base64 holds both of the signs by which the spelling for URLs differs."""


def test_json_lines_hold_bytes_and_maps_whose_keys_repeat(tmp_path: Path) -> None:
    kind = pa.map_(pa.string(), pa.int64())
    rows = pa.table(
        {
            "raw": [RAW],
            "map": pa.array([[("a", 1), ("a", 2)]], kind),
            "parts": [[{"raw": RAW}]],
            "few": pa.array([RAW]).dictionary_encode(),
            "digest": pa.array([RAW], pa.binary(3)),
            "number": [float("nan")],
        }
    )
    with open_output(tmp_path / "o.jsonl") as append:
        append(rows)
        append(pa.table({"map": pa.array([[("a", 1), ("b", 2)]], kind)}))
        append(pa.table({"map": pa.array([[(RAW, RAW)]], pa.map_(pa.binary(), pa.large_binary()))}))

    first, second, third = (json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines())

    said = base64.b64encode(RAW).decode()
    assert said == "+/8A"
    assert (first["raw"], first["few"], first["digest"]) == (said, said, said)
    assert (first["parts"], first["number"], third["map"]) == ([{"raw": said}], None, {said: said})
    assert (first["map"], second["map"]) == ([["a", 1], ["a", 2]], {"a": 1, "b": 2})


@pytest.mark.parametrize("content", ["null\n", 'null\n"{"\n', "[null]"])
def test_a_file_of_nulls_is_an_error_and_not_the_end_of_the_process(tmp_path: Path, content: str) -> None:
    with pytest.raises(SourceError, match=r"no column 'text'|not an object"):
        read(write(tmp_path, "a.json", content), ("text",))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("[" * 100_000, "object 1 of the array: .* nested too deeply"),
        ('[{"a": ' + "9" * 5000 + "}]", "object 1 of the array: has a number of thousands of digits"),
        ('[{"a": 1}]\n[{"a": 2}]\n', "after object 1: the array ends, and more follows"),
    ],
)
def test_an_array_that_is_not_read_whole_is_an_error(tmp_path: Path, content: str, expected: str) -> None:
    with pytest.raises(SourceError, match=expected):
        read(write(tmp_path, "a.json", content))


def test_what_lies_beside_tables_is_not_read_twice(tmp_path: Path) -> None:
    content = 'text,label\n"a, b",good\nc,bad\nd,bad\n'
    write(tmp_path, "data/rows.csv", content)
    write(tmp_path, "data/rows.zip", make_zip({"rows.csv": content}))
    write(tmp_path, "data/notes.zip", make_zip({"a.txt": "", "b.txt": ""}))
    write(tmp_path, "data/dataset-metadata.json", "{}")

    assert read(tmp_path / "data") == ROWS


def test_names_inside_an_archive_reach_no_terminal_as_they_are(tmp_path: Path) -> None:
    path = write(tmp_path, "a.zip", make_zip({"a\x1b[31m.csv": "", "b.csv": ""}))

    with pytest.raises(SourceError, match=r"a\\x1b\[31m\.csv, b\.csv"):
        read(path)


def test_text_of_two_bytes_a_character_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "text\tlabel\na, b\tgood\nc\tbad\nd\tbad\n".encode("utf-16"))

    with pytest.raises(SourceError, match="such as #encoding=utf-16"):
        read(path)
    assert read(path, options="#encoding=utf-16") == ROWS


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (pa.array(["a"]).dictionary_encode(), pa.array(["b"], pa.large_string()), ["a", "b"]),
        (pa.array([["a"]], pa.list_(pa.dictionary(pa.int8(), pa.string()))), pa.array([["b"]]), [["a"], ["b"]]),
        (pa.array([1], pa.int8()), pa.array([2**40]), [1, 2**40]),
        (pa.array(["1.5"]).cast(pa.decimal128(10, 2)), pa.array([2]), [Decimal("1.50"), Decimal("2.00")]),
        (pa.nulls(1), pa.array(["b"]).dictionary_encode(), [None, "b"]),
    ],
)
def test_parts_that_store_one_column_in_other_ways_are_read(
    tmp_path: Path, first: pa.Array, second: pa.Array, expected: list[object]
) -> None:
    (tmp_path / "data").mkdir()
    pq.write_table(pa.table({"a": first}), tmp_path / "data" / "0.parquet")
    pq.write_table(pa.table({"a": second, "more": ["x"]}), tmp_path / "data" / "1.parquet")

    rows = read(tmp_path / "data")

    assert ([row["a"] for row in rows], [row["more"] for row in rows]) == (expected, [None, "x"])


def test_parts_whose_common_type_would_lose_a_value_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    pq.write_table(pa.table({"a": [2**60 + 1]}), tmp_path / "data" / "0.parquet")
    pq.write_table(pa.table({"a": [1.5]}), tmp_path / "data" / "1.parquet")

    with pytest.raises(SourceError, match="column 'a' is int64 in some rows and double in others, which does not hold"):
        read(tmp_path / "data", ("a",))


def test_a_name_that_is_a_column_here_and_a_key_there_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, "data/0.jsonl", '{"review": {"text": "a"}}\n')
    write(tmp_path, "data/1.jsonl", '{"review.text": "b"}\n')

    with pytest.raises(SourceError, match=r"'review\.text' is a column in some files and a key inside one in 0\.jsonl"):
        read(tmp_path / "data", ("review.text",))


def test_csv_parts_without_a_column_have_none_of_its_values(tmp_path: Path) -> None:
    write(tmp_path, "data/0.csv", "a\nx\n")
    write(tmp_path, "data/1.csv", "a,b\ny,z\n")

    assert read(tmp_path / "data") == [{"a": "x", "b": None}, {"a": "y", "b": "z"}]


def test_json_lines_hold_maps_by_objects_and_refuse_what_is_no_text(tmp_path: Path) -> None:
    keys = pa.map_(pa.struct([("k", pa.int64())]), pa.int64())
    with open_output(tmp_path / "o.jsonl") as append:
        append(pa.table({"map": pa.array([[({"k": 1}, 2)]], keys)}))
    no_text = pa.StringArray.from_buffers(1, pa.array([0, 1], pa.int32()).buffers()[1], pa.py_buffer(b"\xff"))

    with pytest.raises(SourceError, match="a value that is no text"), open_output(tmp_path / "p.jsonl") as append:
        append(pa.table({"a": no_text}))

    assert json.loads((tmp_path / "o.jsonl").read_text()) == {"map": [[{"k": 1}, 2]]}
    assert not (tmp_path / "p.jsonl").exists()
