"""The process's environment, read once at the entry point, and the folders that follow from it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_serializer, field_validator
from pydantic_core import ErrorDetails

from launchyard.credentials import SecretAddress, SecretUrl, find_raw_character
from launchyard.errors import SpecError
from launchyard.foreign_text import check_path

PREFIX = "LAUNCHYARD_"

PROCESS_DEFAULTS = {
    "DO_NOT_TRACK": "true",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PYTHONSAFEPATH": "1",
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TOKENIZERS_PARALLELISM": "false",
}
"""Set for this process and its children unless the user has set them: nothing reports home, and a child's ``import``
never takes a file of the user's folder (a ``ray.py``, a ``secrets.py``) for the library of that name.

Ray reads ``RAY_AUTH_MODE`` when it is imported, so it is set here and not where Ray is started."""

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
"""Of this machine itself, which no proxy can reach in our place."""


class Settings(BaseModel):
    """What the environment decides; every field is the variable ``LAUNCHYARD_<NAME>``."""

    # An error that quotes its input may quote a password.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    home: Path = Field(Path(".launchyard"), description="Folder of all local state.", validate_default=True)
    # At most 40 characters: the tables of the records keep no longer one.
    namespace: str = Field("default", pattern=r"^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?$", description="Team name.")
    database_url: SecretUrl | None = Field(None, description="SQLAlchemy URL of the records; default SQLite in home.")
    tracking_url: SecretUrl | None = Field(None, description="MLflow tracking URL; default SQLite in home.")
    online_store: SecretUrl | None = Field(
        None, description="Redis URL of the online features; default SQLite in home."
    )
    host: str = Field("127.0.0.1", description="Address that `launchyard serve` listens on.")
    port: int = Field(8000, ge=1, le=65535, description="Port that `launchyard serve` listens on.")
    max_download_bytes: int = Field(20 * 2**30, gt=0, description="Largest download that is accepted, bytes.")
    timeout_s: float = Field(60.0, gt=0, description="Longest wait for one network answer, seconds.")

    image: str = Field("launchyard/launchyard:0.1.0", description="Image of every pipeline step on a cluster.")
    webhook_url: SecretAddress | None = Field(None, description="URL that the end of each run is posted to as JSON.")
    run_dir: Path | None = Field(None, description="Folder of the run that this process is a step of; set by runners.")
    debug: bool = Field(False, description="Show the traceback of an unexpected error.")

    @field_validator("home")
    @classmethod
    def _make_absolute(cls, home: Path) -> Path:
        """Return the folder in a form that means the same in a process that works in another one."""
        return check_path(home.expanduser().resolve())

    @field_validator("database_url", "tracking_url", "online_store")
    @classmethod
    def _is_readable(cls, url: SecretUrl | None) -> SecretUrl | None:
        """Refuse a password that libraries would take for something else, and quote when they fail to."""
        if url is not None and (character := find_raw_character(url.get_secret_value())):
            raise ValueError(f"holds a '{character}' in its password. Write %{ord(character):02X} in its place")
        return url

    @field_validator("online_store")
    @classmethod
    def _is_redis(cls, url: SecretUrl | None) -> SecretUrl | None:
        if url is not None and not url.get_secret_value().startswith(("redis://", "rediss://")):
            raise ValueError("is not a Redis URL. Write redis://host:6379/0, or rediss:// for TLS")
        try:
            # That it is no number is found only when the port is asked for.
            _ = urlsplit(url.get_secret_value()).port if url is not None else None
        except ValueError:
            # Not from the error, which quotes what it takes for the port: it may be a part of a password.
            raise ValueError("has no number as its port. Write redis://host:6379/0") from None
        return url

    @field_serializer("database_url", "tracking_url", "online_store", "webhook_url", when_used="json")
    def _hand_over(self, url: SecretStr | None) -> str | None:
        """Return a URL as it is: JSON is how a process hands its settings on to another."""
        return None if url is None else url.get_secret_value()

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy with other values, which are checked as those of the environment are."""
        # pydantic (2.14) takes over what a copy is updated with unchecked.
        return type(self).model_validate(dict(self) | dict(update or {}))

    @property
    def root(self) -> Path:
        """The absolute home folder of this namespace."""
        return self.home / self.namespace

    @property
    def cache_dir(self) -> Path:
        """Content-addressed downloads: the only folder that holds raw data (mode 0700)."""
        return self.home / "cache"

    @property
    def bundles_dir(self) -> Path:
        """Registered bundles, one folder per bundle digest."""
        return self.root / "bundles"

    @property
    def records_url(self) -> str:
        """SQLAlchemy URL of feedback, rollout records and decisions, to connect with: its password is not masked."""
        return self.database_url.get_secret_value() if self.database_url else self._name_database("records.db")

    @property
    def mlflow_url(self) -> str:
        """MLflow tracking and registry URL, to connect with: its password is not masked."""
        return self.tracking_url.get_secret_value() if self.tracking_url else self._name_database("mlflow.db")

    def _name_database(self, name: str) -> str:
        """Return the SQLAlchemy URL of a SQLite file in the home, whatever characters its folders' names hold."""
        from sqlalchemy import URL  # noqa: PLC0415 - slow to import, and few need it here

        # With its driver's name: by plain sqlite:// MLflow 3.17 makes folders that are named by the encoded path.
        url = URL.create("sqlite+pysqlite", database=str(self.root / name))
        return url.render_as_string(hide_password=False)

    def features_dir(self, product: str) -> Path:
        """Published feature rows of one product, their registry and, without a Redis, the online store."""
        return self.root / "features" / product

    def runs_dir(self, product: str) -> Path:
        """Run folders of one product, one per run id."""
        return self.root / "runs" / product

    def training_rows_dir(self, product: str) -> Path:
        """Keyed digests of the rows that each version of one product was trained on."""
        return self.root / "training_rows" / product

    def training_dir(self, product: str) -> Path:
        """Checkpoints of trainings that have not finished yet, one folder per training key."""
        return self.root / "training" / product


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Return the settings that the environment (default: this process's) describes.

    Raises:
        SpecError: a ``LAUNCHYARD_`` variable is unknown or has a value that does not fit.
    """
    environ = os.environ if environ is None else environ
    values = {name.removeprefix(PREFIX).lower(): value for name, value in environ.items() if name.startswith(PREFIX)}
    try:
        return Settings.model_validate(values)
    except ValidationError as err:
        known = ", ".join(PREFIX + name.upper() for name in Settings.model_fields)
        problems = "\n".join(f"environment: {_explain(found)}" for found in err.errors())
        raise SpecError(f"{problems}\nKnown variables: {known}.") from None


def _explain(error: ErrorDetails) -> str:
    """Return what is wrong with a variable; never its value, which may be a secret under a misspelled name."""
    name = f"{PREFIX}{str(error['loc'][0]).upper()}"
    if error["type"] == "extra_forbidden":
        near = get_close_matches(name, [PREFIX + known.upper() for known in Settings.model_fields], n=1)
        return f"{name}: is not a variable of Launchyard" + (f". Did you mean {near[0]}?" if near else ".")
    return f"{name}: {error['msg'].removeprefix('Value error, ')}."


def set_process_defaults() -> None:
    """Set, for this process and its children, ``PROCESS_DEFAULTS``, and that loopback is never asked of a proxy."""
    for name, value in PROCESS_DEFAULTS.items():
        os.environ.setdefault(name, value)
    # Libraries differ in which of the two they read; where both are set, most look at the lower case alone.
    for name in ("no_proxy", "NO_PROXY"):
        text = os.environ.get(name) or os.environ.get(name.swapcase()) or ""
        known = [entry for entry in text.split(",") if entry.strip()]
        os.environ[name] = ",".join(dict.fromkeys([*known, *LOOPBACK_NAMES]))
