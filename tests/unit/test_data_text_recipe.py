"""How rows of a text and a label become examples."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from launchyard.data.intake import REDACTED
from launchyard.data.values.columns import ROW_NUMBER
from launchyard.data.values.redact import clean_text
from launchyard.errors import DataError
from launchyard.kinds.text_classification.data import TextRecipe
from launchyard.kinds.text_classification.spec import TextClassification


def _recipe(*, slices: tuple[str, ...] = (), **data: Any) -> TextRecipe:
    return TextRecipe(
        TextClassification.model_validate(
            {
                "api": "launchyard/v1",
                "product": "p",
                "kind": "text-classification",
                "data": {"source": "rows.csv", **data},
                "model": {"base": "unused"},
                "evaluate": {"slices": slices},
            }
        )
    )


def _batch(start: int = 1, **columns: Any) -> pa.Table:
    table = pa.table(columns)
    return table.append_column(ROW_NUMBER, pa.array(range(start, start + table.num_rows), pa.int64()))


def test_texts_are_cleaned_as_serving_cleans_them() -> None:
    raw = ["cafe\u0301 jo@example.org", " kept  as is "]

    examples = _recipe(redact=["email"]).convert(_batch(text=raw, label=["a", "b"]))

    assert examples["text"].to_pylist() == [clean_text(text, ("email",))[0] for text in raw]
    assert sum(examples[f"{REDACTED}email"].to_pylist()) == 1


def test_empty_and_blank_values_become_null() -> None:
    examples = _recipe().convert(_batch(text=["", "  ", None, "x"], label=["a", "b", "c", " "]))

    assert examples["text"].to_pylist() == [None, None, None, "x"]
    assert examples["label"].to_pylist() == ["a", "b", "c", None]


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([1, 2], ["1", "2"]),
        ([1.0, 2.5], ["1", "2.5"]),
        ([True, False], ["true", "false"]),
        ([Decimal("0E-9"), Decimal("1.000000000")], ["0", "1"]),
        ([float("nan"), 1.0], [None, "1"]),
        (["007", " x "], ["007", "x"]),
        (["1.0", "1"], ["1.0", "1"]),
    ],
)
def test_numbers_as_labels_become_text(values: list[Any], labels: list[str]) -> None:
    assert _recipe().convert(_batch(text=["x", "y"], label=values))["label"].to_pylist() == labels


@pytest.mark.parametrize("scores", [[-1.0, 0.0, 0.5, None], ["-1", "0", " 5e-1", ""]])
def test_bins_exclude_their_low_end_and_include_their_high_end(scores: list[Any]) -> None:
    recipe = _recipe(label={"column": "score", "bins": {"bad": [None, 0], "good": [0, None]}})

    examples = recipe.convert(_batch(text=list("abcd"), score=scores))

    assert examples["label"].to_pylist() == ["bad", "bad", "good", None]


def test_a_value_in_no_bin_is_an_error_with_value_and_row() -> None:
    recipe = _recipe(label={"bins": {"low": [0, 1], "high": [1, 5]}})

    with pytest.raises(DataError, match=r"data\.label\.bins: no bin holds the value, found '7\.5' in row 42 of column"):
        recipe.convert(_batch(start=41, text=["a", "b"], label=["1", "7.5"]))


def test_a_value_that_is_no_number_is_an_error_with_value_and_row() -> None:
    with pytest.raises(DataError, match="is not a number, found 'many' in row 2"):
        _recipe(label={"bins": {"low": [None, 1]}}).convert(_batch(text=["a", "b"], label=["1", "many"]))


@pytest.mark.parametrize(
    ("keys", "values"),
    [
        (("True", "False"), pa.array([True, False])),
        (("true", "false"), pa.array([True, False])),
        (("True", "False"), pa.array(["true", "FALSE"])),
        (("1", "0"), pa.array([1.0, 0.0])),
        (("1.0", "0.0"), pa.array([1, 0])),
        (("1", "0"), pa.array([Decimal(1), Decimal(0)], pa.decimal128(38, 9))),
        (("1", "0"), pa.array(["1.000000000", "0.0"])),
        (("0.50", "0.25"), pa.array([0.5, 0.25])),
        (("1", "0"), pa.array([1, 0]).dictionary_encode()),
        (("caf\u00e9", "bar"), pa.array(["cafe\u0301", "bar"])),
    ],
)
def test_a_map_knows_truths_and_numbers_in_whatever_form_they_come(keys: tuple[str, str], values: pa.Array) -> None:
    recipe = _recipe(label={"map": {keys[0]: "good", keys[1]: "bad"}})

    assert recipe.convert(_batch(text=["x", "y"], label=values))["label"].to_pylist() == ["good", "bad"]


def test_a_key_that_is_written_as_the_value_is_goes_before_one_that_means_the_same() -> None:
    recipe = _recipe(label={"map": {"1": "one", "1.0": "version", "true": "low", "True": "high"}})

    examples = recipe.convert(_batch(text=list("abcd"), label=["1", "1.0", "true", "True"]))

    assert examples["label"].to_pylist() == ["one", "version", "low", "high"]


def test_a_value_outside_the_map_is_shown_as_it_is_compared_with_what_cannot_be_seen() -> None:
    recipe = _recipe(label={"map": {"good": "good", "no": "bad"}})

    with pytest.raises(DataError, match=r"found 'true' in row 1"):
        recipe.convert(_batch(text=["a"], label=[True]))
    with pytest.raises(DataError, match=r"found 'good\\u200b' in row 1, 'no\\u0308' in row 2"):
        recipe.convert(_batch(text=["a", "b"], label=["good\u200b", "no\u0308"]))


def test_a_value_outside_the_map_is_an_error_with_value_and_row() -> None:
    recipe = _recipe(label={"map": {"0": "bad", "4": "good"}})

    assert recipe.convert(_batch(text=["a", "b"], label=[0, 4]))["label"].to_pylist() == ["bad", "good"]
    with pytest.raises(DataError, match=r"knows only '0', '4', found '2' in row 2 of column 'label'"):
        recipe.convert(_batch(text=["a", "b"], label=[0, 2]))


def test_an_error_masks_personal_data_in_the_value_it_names() -> None:
    with pytest.raises(DataError, match=r"found '\[email\]' in row 1"):
        _recipe(label={"map": {"0": "bad"}}).convert(_batch(text=["a"], label=["jo@example.org"]))


def test_overlapping_bins_are_refused_by_the_spec() -> None:
    with pytest.raises(ValidationError, match="bins 'a' and 'b' overlap"):
        _recipe(label={"bins": {"b": [1, None], "a": [None, 2]}})


def test_a_text_of_a_megabyte_is_an_error_with_row_and_size() -> None:
    with pytest.raises(DataError, match=r"row 2 has 1,000,000 characters, more than 100,000"):
        _recipe().convert(_batch(text=["a", "x" * 1_000_000], label=["a", "b"]))


def test_a_column_of_lists_is_not_a_text() -> None:
    with pytest.raises(DataError, match=r"column 'text' holds list<.*> values, not text"):
        _recipe().convert(_batch(text=[["a"]], label=["a"]))


def test_slices_are_kept_and_cleaned() -> None:
    recipe = _recipe(slices=("shop",), redact=["email"])

    examples = recipe.convert(_batch(text=["a", "b"], label=["a", "b"], shop=["x@example.org", None]))

    assert recipe.source_columns() == ("text", "label", "shop")
    assert examples["shop"].to_pylist() == ["[email]", None]


def test_a_group_is_kept_as_a_digest_that_names_nobody() -> None:
    examples = _recipe(split={"group": "user"}).convert(
        _batch(text=list("abcd"), label=list("abab"), user=["jo@example.org", "ann", "jo@example.org", " "])
    )

    first, second, third, blank = examples["user"].to_pylist()
    assert first == third != second
    assert "jo" not in first and len(first) == 16
    assert blank is None


@pytest.mark.parametrize(
    "values",
    [
        ["2023-01-01", "2023-01-01T12:00:00+02:00"],
        [datetime(2023, 1, 1), datetime(2023, 1, 1, 10)],
        [datetime(2023, 1, 1, tzinfo=UTC), datetime(2023, 1, 1, 10, tzinfo=UTC)],
        [1672531200, 1672567200],
        ["1672531200", "1672567200.0"],
    ],
)
def test_times_of_every_form_become_seconds(values: list[Any]) -> None:
    examples = _recipe(split={"time": "at"}).convert(_batch(text=["a", "b"], label=["a", "b"], at=values))

    assert examples["at"].to_pylist() == [1672531200.0, 1672567200.0]


def test_dates_become_seconds() -> None:
    examples = _recipe(split={"time": "at"}).convert(_batch(text=["a"], label=["a"], at=[date(2023, 1, 1)]))

    assert examples["at"].to_pylist() == [1672531200.0]


def test_a_time_that_is_none_is_an_error_with_value_and_row() -> None:
    with pytest.raises(DataError, match=r"data\.split\.time: is neither .*, found 'yesterday' in row 1"):
        _recipe(split={"time": "at"}).convert(_batch(text=["a"], label=["a"], at=["yesterday"]))


def test_where_a_batch_ends_makes_no_difference() -> None:
    recipe = _recipe(redact=["phone"], slices=("shop",))
    table = _batch(text=["call 13800138000", "x", None, "y"], label=["1", "2", "1", None], shop=[None, "a", "b", "c"])

    whole = recipe.convert(table).select(["text", "label", "shop"])
    parts = [recipe.convert(table.slice(i, 1)).select(["text", "label", "shop"]) for i in range(4)]

    assert pa.concat_tables(parts).combine_chunks().equals(whole)


def test_chinese_texts_under_english_give_a_warning() -> None:
    chinese = pa.table({"text": ["这家店的服务非常好,老板很热情,下次还会再来"] * 10, "label": ["好评"] * 10})

    (warning,) = _recipe(language="en").inspect(chinese)

    assert "is 'en', but 100% of the letters are of another script, mostly Chinese" in warning
    assert _recipe(language="zh").inspect(chinese) == []


def test_texts_that_spell_out_their_label_give_a_warning() -> None:
    leaking = pa.table({"text": [f"Rating: SPAM, number {i}" for i in range(20)], "label": ["spam"] * 20})
    clean = pa.table({"text": [f"number {i}" for i in range(20)], "label": ["spam"] * 20})

    assert "100% of the texts contain their own label" in _recipe().inspect(leaking)[0]
    assert _recipe().inspect(clean) == []
