"""The process's environment, read once at the entry point, and the folders that follow from it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from launchyard.errors import SpecError

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

    model_config = ConfigDict(frozen=True, extra="forbid")

    home: Path = Field(Path(".launchyard"), description="Folder of all local state.", validate_default=True)
    namespace: str = Field("default", pattern=r"^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?$", description="Team name.")
    database_url: str | None = Field(None, description="SQLAlchemy URL of the records; default SQLite in home.")
    tracking_url: str | None = Field(None, description="MLflow tracking URL; default SQLite in home.")
    online_store: str | None = Field(
        None, pattern=r"^rediss?://", description="Redis URL of the online features; default SQLite in home."
    )
    host: str = Field("127.0.0.1", description="Address that `launchyard serve` listens on.")
    port: int = Field(8000, ge=1, le=65535, description="Port that `launchyard serve` listens on.")
    max_download_bytes: int = Field(20 * 2**30, gt=0, description="Largest download that is accepted, bytes.")
    timeout_s: float = Field(60.0, gt=0, description="Longest wait for one network answer, seconds.")

    image: str = Field("launchyard/launchyard:0.1.0", description="Image of every pipeline step on a cluster.")
    webhook_url: str | None = Field(None, description="URL that the end of each run is posted to as JSON.")
    run_dir: Path | None = Field(None, description="Folder of the run that this process is a step of; set by runners.")
    debug: bool = Field(False, description="Show the traceback of an unexpected error.")

    @field_validator("home")
    @classmethod
    def _make_absolute(cls, home: Path) -> Path:
        """Return the folder in a form that means the same in a process that works in another one."""
        return home.expanduser().resolve()

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
        """SQLAlchemy URL of feedback, rollout records and decisions."""
        return self.database_url or f"sqlite:///{self.root / 'records.db'}"

    @property
    def mlflow_url(self) -> str:
        """MLflow tracking and registry URL."""
        return self.tracking_url or f"sqlite:///{self.root / 'mlflow.db'}"

    def features_dir(self, product: str) -> Path:
        """Published feature rows of one product, their registry and, without a Redis, the online store."""
        return self.root / "features" / product

    def runs_dir(self, product: str) -> Path:
        """Run folders of one product, one per run id."""
        return self.root / "runs" / product

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
        problems = "\n".join(
            f"environment: {PREFIX}{str(e['loc'][0]).upper()}: {e['msg']}, got {e['input']!r}." for e in err.errors()
        )
        raise SpecError(f"{problems}\nKnown variables: {known}.") from err


def set_process_defaults() -> None:
    """Set, for this process and its children, ``PROCESS_DEFAULTS``, and that loopback is never asked of a proxy."""
    for name, value in PROCESS_DEFAULTS.items():
        os.environ.setdefault(name, value)
    # Libraries differ in which of the two they read; where both are set, most look at the lower case alone.
    for name in ("no_proxy", "NO_PROXY"):
        text = os.environ.get(name) or os.environ.get(name.swapcase()) or ""
        known = [entry for entry in text.split(",") if entry.strip()]
        os.environ[name] = ",".join(dict.fromkeys([*known, *LOOPBACK_NAMES]))
