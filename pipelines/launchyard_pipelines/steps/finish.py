"""The exit handler: tells how a run ended and removes what only the run needed."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import requests

from launchyard.credentials import SecretAddress
from launchyard.records.events import EventLog
from launchyard.settings import load_settings
from launchyard_pipelines.plan import PLAN_NAME

RUNS_TO_KEEP = 5
ABANDONED_AFTER_S = 7 * 86_400
"""Age from which on nobody is expected to go on with an interrupted training."""


def finish(product: str, state: str, error: str) -> None:
    """Post the run's end to the webhook, when one is set, and drop the files of old runs and trainings."""
    settings = load_settings()
    remove_old_runs(settings.runs_dir(product), keep=RUNS_TO_KEEP)
    with closing(EventLog(settings, product)) as log:
        forgotten = log.forgotten()
    if forgotten:
        remove_runs_before(settings.runs_dir(product), max(forgotten.values()))
    remove_abandoned(settings.training_dir(product), older_than_s=ABANDONED_AFTER_S)
    if settings.webhook_url is not None:
        notify(
            settings.webhook_url,
            {"product": product, "namespace": settings.namespace, "state": state, "error": error},
            settings.timeout_s,
        )


def remove_old_runs(runs_dir: Path, *, keep: int) -> None:
    """Remove the artifacts of all but the newest ``keep`` runs; their records and reports' bundles stay."""
    finished = sorted(path for path in runs_dir.glob("*/artifacts") if path.is_dir())
    for folder in finished[:-keep]:
        shutil.rmtree(folder, ignore_errors=True)


def remove_runs_before(runs_dir: Path, moment: datetime) -> None:
    """Remove the artifacts of runs that began before ``moment``: somebody was forgotten then, and may be in them."""
    for folder in runs_dir.glob("*/artifacts"):
        began = datetime.fromtimestamp((folder.parent / PLAN_NAME).stat().st_mtime, UTC)
        if began < moment:
            shutil.rmtree(folder, ignore_errors=True)


def remove_abandoned(training_dir: Path, *, older_than_s: float) -> None:
    """Remove the checkpoints of trainings and searches that nobody has written to for ``older_than_s``.

    A younger one stays, whatever other runs of the product came to: its own run may still be continued.
    """
    for folder in training_dir.glob("*"):
        if time.time() - find_last_change(folder) > older_than_s:
            shutil.rmtree(folder, ignore_errors=True)


def find_last_change(folder: Path) -> float:
    """Return when anything below ``folder`` last came, was replaced or went, in seconds since 1970; now if unsure."""
    try:
        return max(Path(inner).stat().st_mtime for inner, _, _ in os.walk(folder))
    except FileNotFoundError:
        # Something went while we looked: somebody trains there at this moment.
        return time.time()


def notify(webhook: SecretAddress, document: dict[str, str], timeout_s: float) -> None:
    """Post ``document`` as JSON to the webhook; a webhook that fails is reported, never a failed run."""
    try:
        response = requests.post(webhook.get_secret_value(), json=document, timeout=timeout_s)
    except requests.RequestException as err:
        # Its own words hold the address.
        problem = f"{type(err).__name__}. Check LAUNCHYARD_WEBHOOK_URL and the network"
    else:
        if response.ok:
            return
        problem = f"{response.status_code} {response.reason}. Check LAUNCHYARD_WEBHOOK_URL"
    print(f"{webhook}: the notification was not delivered: {problem}.")  # noqa: T201 - the step's log
