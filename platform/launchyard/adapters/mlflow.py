"""The registry: bundles into the store, versions into the records, and both mirrored into MLflow for people to see.

The records decide which version is which and what serves; MLflow shows parameters, metrics, curves and lineage. A
registration that was cut off anywhere is completed by repeating it. Importing this module imports MLflow (2.5 s), and
the first connection to a new MLflow database builds its tables (2 s): only what registers does either. MLflow reads at
import whether it may report usage, so the entry point calls ``set_process_defaults`` first.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from threading import Thread
from typing import TypeVar

from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException
from pydantic import BaseModel
from sqlalchemy.exc import SQLAlchemyError

from launchyard.bundle.manifest import BundleManifest, find_training, parse_file, read_spec
from launchyard.bundle.store import BundleStore
from launchyard.credentials import mask_text
from launchyard.errors import LaunchyardError, RegistryError
from launchyard.evaluation.results import TUNE_NAME, GradientRecord, TuneRecord
from launchyard.records.records import Records, VersionRecord
from launchyard.settings import Settings

Item = TypeVar("Item")

CHAMPION = "champion"
DIGEST_TAG = "launchyard.digest"
VERSION_TAG = "launchyard.version"
MAX_PARAMS = 100
MAX_PARAM_CHARACTERS = 6000
MAX_METRICS = 1000
"""MLflow's limits of one request, and of one parameter's value."""
MAX_READABLE = 150
"""Characters of a label that a metric's key keeps; MLflow takes keys of 250."""
_UNFIT = re.compile(r"[^\w.\- ]")

MIRROR_TIMEOUT_S = 30.0
"""Longest that a command waits for MLflow after it has changed what serves."""
MIRROR_HINT = "The next promote, rollback, deploy or status tells it."
MLFLOW_WAITS = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}

# It announces on stderr that it creates its tables.
logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)


@dataclass(frozen=True)
class RegisteredVersion:
    """A bundle in the registry."""

    version: int
    path: Path
    digest: str


class Registry:
    """The registry of one namespace."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._store = BundleStore(settings)
        self._records = Records(settings)

    def close(self) -> None:
        """Close the records."""
        self._records.close()

    def register(self, bundle_dir: Path) -> RegisteredVersion:
        """Copy a bundle into the store and give it a version; the same content again gets the same version.

        Raises:
            BundleError: the bundle does not verify, its gates did not pass, or the disk is full.
            RegistryError: it was made for another namespace, or MLflow cannot be reached.
        """
        uri = self._store.add(bundle_dir)
        path, manifest = self._store.open(uri)
        if manifest.namespace != self._settings.namespace:
            raise RegistryError(
                f"{bundle_dir}: was made for namespace '{manifest.namespace}', this is '{self._settings.namespace}'. "
                "Set LAUNCHYARD_NAMESPACE to the one it was made for."
            )
        version = self._records.add_version(manifest, uri)
        with _explaining(self._settings, "Check that it runs, then repeat the step."):
            self._mirror_version(version)
        return RegisteredVersion(version.version, path, manifest.digest)

    def mirror_aliases(self, product: str) -> str | None:
        """Make MLflow's alias ``champion`` name the version that the rollout record names, if MLflow answers in time.

        What serves does not depend on it, so an MLflow that is away is no failure: the next call brings it up to date.

        Returns:
            Why MLflow shows something older, in words for people; None when it shows what serves.
        """
        outcome: Future[None] = Future()
        # A thread that is not waited for: some of MLflow's own waits for a server, or a database, have no end.
        Thread(target=_settle, args=(outcome, partial(self._mirror_champion, product)), daemon=True).start()
        try:
            outcome.result(MIRROR_TIMEOUT_S)
        except (LaunchyardError, OSError, ImportError, ValueError) as err:
            late = f"no answer within {MIRROR_TIMEOUT_S:g} s"
            reason = late if isinstance(err, TimeoutError) else mask_text(str(err), [self._settings.tracking_url])
            return f"MLflow does not show yet what serves {product}: {reason} {MIRROR_HINT}"
        return None

    def _mirror_champion(self, product: str) -> None:
        record = self._records.find_rollout(product)
        if record is None or record.champion is None:
            return
        version = self._records.get_version(product, record.champion.version)
        with _explaining(self._settings, "Check that it runs."), _impatient():
            mirrored = self._mirror_version(version)
            self._client.set_registered_model_alias(self._name(product), CHAMPION, mirrored)
        # After MLflow knows it: what is cut off before is told again by the next command.
        self._records.note_mirrored(record)

    @cached_property
    def _client(self) -> MlflowClient:
        return MlflowClient(self._settings.mlflow_url, self._settings.mlflow_url)

    def _name(self, product: str) -> str:
        return f"{self._settings.namespace}.{product}"

    def _mirror_version(self, version: VersionRecord) -> str:
        """Return MLflow's own number of a version, mirroring it now when it is not there yet."""
        name = self._name(version.product)
        # By digest, because MLflow counts versions by itself and may have lost some.
        found = self._client.search_model_versions(f"name = '{name}' AND tags.`{DIGEST_TAG}` = '{version.digest}'")
        if found:
            return str(found[0].version)
        path, manifest = self._store.open(version.bundle_uri)
        # The version comes last: what is cut off before it is done again, for only the version is looked for.
        run_id = self._log_run(name, version, path, manifest)
        if not self._client.search_registered_models(f"name = '{name}'"):
            self._client.create_registered_model(name)
        tags = {DIGEST_TAG: version.digest, VERSION_TAG: str(version.version)}
        return str(self._client.create_model_version(name, source=path.as_uri(), run_id=run_id, tags=tags).version)

    def _log_run(self, name: str, version: VersionRecord, path: Path, manifest: BundleManifest) -> str:
        """Log how a version came about as one finished MLflow run and return the run's id there."""
        tags = {
            DIGEST_TAG: version.digest,
            VERSION_TAG: str(version.version),
            "launchyard.run_id": manifest.run_id,
            "launchyard.fingerprint": manifest.fingerprint,
            "launchyard.split_hash": manifest.split_hash,
            "launchyard.spec_sha256": manifest.spec_sha256,
            "launchyard.code_version": manifest.code_version,
            "launchyard.base_model": manifest.base_model.uri if manifest.base_model else "",
        }
        if TUNE_NAME in manifest.files:
            tags["launchyard.tuned"] = ", ".join(parse_file(path, TUNE_NAME, TuneRecord).best)
        run_name = f"{version.product} {version.version}"
        run_id: str = self._client.create_run(self._get_experiment(name), tags=tags, run_name=run_name).info.run_id
        for params in _iter_chunks(_iter_params(read_spec(path)), MAX_PARAMS):
            self._client.log_batch(run_id, params=params)
        for metrics in _iter_chunks(_iter_metrics(manifest, path), MAX_METRICS):
            self._client.log_batch(run_id, metrics=metrics)
        self._client.set_terminated(run_id)
        return run_id

    def _get_experiment(self, name: str) -> str:
        experiment = self._client.get_experiment_by_name(name)
        if experiment is not None:
            return str(experiment.experiment_id)
        # Left to itself, embedded MLflow would make a folder in whatever the working folder is; a server knows its own.
        location = None if self._settings.tracking_url else (self._settings.root / "artifacts").as_uri()
        return str(self._client.create_experiment(name, artifact_location=location))


def _iter_params(block: BaseModel, prefix: str = "") -> Iterator[Param]:
    """Yield every key of a spec with its value; a mapping whose keys the user chose is one value, as JSON."""
    for name in type(block).model_fields:
        value = getattr(block, name)
        if isinstance(value, BaseModel):
            yield from _iter_params(value, f"{prefix}{name}.")
        elif value is not None:
            plain = block.model_dump(mode="json", include={name})[name]
            text = plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)
            yield Param(prefix + name, mask_text(text)[:MAX_PARAM_CHARACTERS])


def _iter_metrics(manifest: BundleManifest, bundle_dir: Path) -> Iterator[Metric]:
    """Yield the test metrics with their intervals, and the learning curves of a bundle that was trained."""
    now_ms = time.time_ns() // 1_000_000
    for name, measure in manifest.metrics.items():
        key = f"test.{make_key(name)}"
        yield Metric(key, measure.value, now_ms, 0)
        yield Metric(f"{key}.low", measure.low, now_ms, 0)
        yield Metric(f"{key}.high", measure.high, now_ms, 0)
    training = find_training(bundle_dir)
    if isinstance(training, GradientRecord):
        for curve in training.curves:
            for x, y in zip(curve.x, curve.y, strict=True):
                # MLflow's steps are whole numbers.
                yield Metric(f"curve.{make_key(curve.name)}", y, now_ms, round(x))


def make_key(name: str) -> str:
    """Return the MLflow key of a metric: of characters that MLflow takes, and another for each label.

    MLflow refuses most punctuation, paths such as ``a//b`` and keys above 250 characters. A label with any of these
    keeps what can be read of it, and a digest tells it from labels that would look alike.

    >>> make_key("ndcg@10"), make_key("f1[negative]"), make_key("f1[can't say]")
    ('ndcg_10', 'f1.negative', 'f1.can_t say-f0a40b7d')
    """
    metric, bracket, label = name.partition("[")
    key = _UNFIT.sub("_", metric)
    if not bracket:
        return key
    label = label.removesuffix("]")
    readable = _UNFIT.sub("_", label)[:MAX_READABLE].strip()
    # ".low" and ".high" after a key are the bounds of its interval.
    if readable != label or label.endswith((".low", ".high")):
        readable += "-" + hashlib.sha256(label.encode()).hexdigest()[:8]
    return f"{key}.{readable}"


def _iter_chunks(items: Iterator[Item], size: int) -> Iterator[list[Item]]:
    while chunk := list(islice(items, size)):
        yield chunk


def _settle(outcome: Future[None], call: Callable[[], None]) -> None:
    try:
        call()
        outcome.set_result(None)
    except BaseException as err:  # noqa: BLE001 - it is raised again where the outcome is waited for
        outcome.set_exception(err)


@contextmanager
def _impatient() -> Iterator[None]:
    """Let MLflow ask its server once, instead of for minutes, unless the environment says otherwise."""
    # MLflow (3.17) reads both at each request, and from nowhere but the environment.
    before = {name: os.environ.get(name) for name in MLFLOW_WAITS}
    for name, value in MLFLOW_WAITS.items():
        os.environ.setdefault(name, value)
    try:
        yield
    finally:
        for name, set_before in before.items():
            if set_before is None:
                os.environ.pop(name, None)


@contextmanager
def _explaining(settings: Settings, hint: str) -> Iterator[None]:
    try:
        yield
    except (MlflowException, SQLAlchemyError) as err:
        # No cause: its words hold the URL with its password, and a step's log prints them.
        # The first line alone: SQLAlchemy goes on with the statement and a link.
        reason = mask_text(str(err).partition("\n")[0], [settings.tracking_url])
        where = "LAUNCHYARD_TRACKING_URL" if settings.tracking_url else settings.mlflow_url
        raise RegistryError(f"{where}: MLflow failed: {reason}. {hint}") from None
