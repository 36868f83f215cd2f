"""Secrets in URLs are masked wherever a URL is shown, and literal ones are refused in specs."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bundle_samples import write_bundle
from launchyard.adapters.mlflow import Registry
from launchyard.cli.main import build_app
from launchyard.credentials import SecretAddress, SecretUrl, find_literal, mask_text, mask_url
from launchyard.errors import RegistryError, SpecError
from launchyard.records.tables import open_records
from launchyard.settings import Settings, load_settings
from launchyard.spec.load import load_spec
from spec_samples import write_spec

SECRET = "hunter2"

WITH_SECRETS = [
    "postgresql://me:hunter2@host/db",
    "postgresql://me:hunter2/x#y?z@host:5432/db",
    "postgresql://me:1/hunter2@host/db",
    "postgresql://me:hunter2@1@host/db",
    "postgresql+psycopg://host/db?user=me&password=hunter2",
    "postgresql://host/db?sslmode=require&sslpassword=hunter2",
    "mssql+pyodbc:///?odbc_connect=DRIVER%3D%7Bx%7D%3BPWD%3Dhunter2",
    "mysql://host/db?ssl_key_password=hunter2;charset=utf8",
    "redis://:hunter2@host:6379/0",
    "rediss://host:6379/0?password=hunter2",
    "https://me:hunter2@host/@hosts/rows.csv",
    "https://host/rows.csv?page=2&api_token=hunter2",
    "https://host/rows.csv?accessToken=hunter2",
    "https://host/rows.csv?X-Amz-Credential=A&X-Amz-Signature=hunter2",
    "https://host/rows.csv?sv=2024&sig=hunter2%2B",
    "https://host/rows.csv#access_token=hunter2",
    "https://host/rows.csv?apikey=hunter2",
]

WITHOUT_SECRETS = [
    "https://host:8080/a@b.csv",
    "https://user@host:8080/a@b.csv",
    "https://host/rows.csv?mail=a@b.com&keyword=x&author=y&signal=z&design=1",
    "https://[::1]:8080/a@b.csv",
    "https://me:${PASSWORD}@host/@scope/rows.csv?token=${TOKEN}",
    "postgresql://me:${PASSWORD}@host/db",
    "postgresql://one:5432,two:5432/db?target_session_attrs=any",
    "sqlite:////srv/a:b@c.db",
    "s3://bucket/a@b/rows.csv",
]


@pytest.mark.parametrize("url", WITH_SECRETS)
def test_a_secret_is_masked_and_found(url: str) -> None:
    shown = mask_url(url)

    assert SECRET not in shown
    assert "***" in shown
    assert shown.partition("://")[0] == url.partition("://")[0]
    assert "host" in shown or "odbc" in shown
    assert find_literal(url) is not None
    assert SECRET not in str(find_literal(url))
    assert SECRET not in mask_text(f"cannot connect to '{url}': refused")


@pytest.mark.parametrize("url", WITHOUT_SECRETS)
def test_what_is_no_secret_is_shown(url: str) -> None:
    assert mask_url(url) == url
    assert find_literal(url) is None


@pytest.mark.parametrize(
    ("url", "is_refused"),
    [
        ("https://host/get?key=train.csv", False),
        ("https://host/get?key=AIzaSyD-9tSrke72PouQMnMX-a7eZSW0jkFMBWY", True),
        ("https://host/get?code=US", False),
        ("https://host/get?page_token=abc", False),
        ("https://host/get?token_type=bearer", False),
        ("https://ghp_16C7e42F292c6912E7710c838347Ae178B4a@host/rows.csv", True),
        ("https://reviews@host/rows.csv", False),
    ],
)
def test_only_what_surely_is_a_secret_is_refused(url: str, is_refused: bool) -> None:
    assert (find_literal(url) is not None) is is_refused


def test_words_of_other_libraries_are_masked() -> None:
    url = SecretUrl("postgresql://me:hun%2Fter2@host/db")
    text = (
        "HTTPConnectionPool(host='h'): Max retries exceeded with url: /a.csv?token=abc1 (Caused by Timeout) "
        "dsn: host=h password='abc 2' sslpassword=abc3; user hun/ter2, as hun%2Fter2"
    )

    shown = mask_text(text, [url, None])

    assert "Max retries exceeded with url: /a.csv?token=*** (Caused by Timeout)" in shown
    assert not [secret for secret in ("abc1", "abc 2", "abc3", "ter2") if secret in shown]


def test_a_webhook_is_shown_as_its_host() -> None:
    assert str(SecretAddress("https://me:pw@hooks.example/services/T0/x?y=z")) == "https://hooks.example"
    assert str(SecretAddress("hooks.example/T0")) == "***"


def test_settings_hold_secrets_that_nothing_prints() -> None:
    settings = load_settings(
        {
            "LAUNCHYARD_DATABASE_URL": "postgresql://me:hunter2@host/db?sslpassword=hunter2",
            "LAUNCHYARD_TRACKING_URL": "https://me:hunter2@mlflow.example",
            "LAUNCHYARD_ONLINE_STORE": "redis://:hunter2@host:6379/0",
            "LAUNCHYARD_WEBHOOK_URL": "https://hooks.example/hunter2",
        }
    )

    assert SECRET not in repr(settings) + str(settings) + str(settings.model_dump())
    assert str(settings.tracking_url) == "https://me:***@mlflow.example"
    assert settings.mlflow_url == "https://me:hunter2@mlflow.example"
    assert settings.records_url == "postgresql://me:hunter2@host/db?sslpassword=hunter2"
    for copy in (pickle.loads(pickle.dumps(settings)), Settings.model_validate_json(settings.model_dump_json())):
        assert copy == settings


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("DATABASE_URI", "postgresql://me:hunter2@host/db", "is not a variable of Launchyard. Did you mean"),
        ("TOKEN", "hunter2", "LAUNCHYARD_TOKEN: is not a variable of Launchyard"),
        ("PORT", "hunter2", "LAUNCHYARD_PORT: "),
        ("ONLINE_STORE", "http://:hunter2@host", "LAUNCHYARD_ONLINE_STORE: is not a Redis URL. Write redis://"),
        ("ONLINE_STORE", "redis://:hunter2/x@host", "holds a '/' in its password. Write %2F in its place"),
        ("ONLINE_STORE", "redis://me@host:hunter2/0", "has no number as its port"),
        ("DATABASE_URL", "postgresql://me:hunter2#x@host/db", "holds a '#' in its password. Write %23 in its place"),
    ],
)
def test_a_wrong_setting_is_named_without_its_value(name: str, value: str, expected: str) -> None:
    with pytest.raises(SpecError, match=expected) as caught:
        load_settings({f"LAUNCHYARD_{name}": value})

    assert SECRET not in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    "source",
    [
        *(f"sql://{url}{'&' if '?' in url else '?'}query=SELECT 1" for url in WITH_SECRETS if url[0] == "p"),
        *(url for url in WITH_SECRETS if url.startswith("https") and "#" not in url),
    ],
)
def test_a_literal_secret_in_a_spec_is_refused_and_not_shown(tmp_path: Path, source: str) -> None:
    path = write_spec(tmp_path, data={"source": {"train": source, "test": "test.csv"}})

    result = CliRunner().invoke(build_app(), ["validate", str(path)])

    assert isinstance(result.exception, SpecError)
    message = str(result.exception)
    assert "data.source.train: holds the " in message
    assert "Write ${NAME} in its place" in message
    assert SECRET not in message + result.output


@pytest.mark.parametrize(
    "source",
    [
        ["https://host/a.csv?token=hunter2"],
        {"trian": "https://host/a.csv?token=hunter2"},
        "postgresql://me:hunter2@host/db",
        "hf://org/model?token=hunter2",
        "https://host/a.csv?token=hunter2#encoding=nope",
    ],
)
def test_a_wrong_source_is_told_without_its_secrets(tmp_path: Path, source: object) -> None:
    for block in ({"source": source}, source):
        path = write_spec(tmp_path, data=block)
        with pytest.raises(SpecError) as caught:
            load_spec(path)
        assert SECRET not in str(caught.value)


def test_an_override_is_told_without_its_secrets(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"--set data\.source=https://host/a\.csv\?token=\*\*\*") as caught:
        load_spec(write_spec(tmp_path), ["data.source=https://host/a.csv?token=hunter2"])

    assert SECRET not in str(caught.value)


def test_a_pipeline_is_not_compiled_with_a_literal_secret(tmp_path: Path) -> None:
    uri = "https://host/spec.json?token=hunter2"
    arguments = ["compile", str(write_spec(tmp_path)), "--output", str(tmp_path / "p.yaml"), "--spec-uri", uri]

    result = CliRunner().invoke(build_app(), arguments)

    assert "--spec-uri: holds the parameter 'token' as it is" in str(result.exception)
    assert not (tmp_path / "p.yaml").exists()


def test_mlflows_errors_are_told_without_its_secrets(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", tracking_url="nosuchstore://me:hunter2@host/db")

    with pytest.raises(RegistryError, match="LAUNCHYARD_TRACKING_URL: MLflow failed") as caught:
        Registry(settings).register(write_bundle(tmp_path / "bundle"))

    assert "nosuchstore" in str(caught.value)
    assert SECRET not in str(caught.value)
    # Nor does a traceback show what MLflow said.
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://me:x@127.0.0.1:1/db?sslpassword=hunter2&connect_timeout=1",
        "postgresql://me@host:hunter2/db",
        "nosuchdialect://me:hunter2@host/db",
    ],
)
def test_errors_of_the_records_database_are_told_without_its_secrets(url: str) -> None:
    with pytest.raises(RegistryError) as caught:
        open_records(url)

    assert SECRET not in str(caught.value)
