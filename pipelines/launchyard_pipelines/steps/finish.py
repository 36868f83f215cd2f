"""The exit handler: tells how a run ended and removes what only the run needed."""

from __future__ import annotations

import shutil
from pathlib import Path

import requests

from launchyard.settings import Settings, load_settings

RUNS_TO_KEEP = 5


def finish(product: str, state: str, error: str) -> None:
    """Post the run's end to the webhook, when one is set, and drop the files of old runs."""
    settings = load_settings()
    remove_old_runs(settings.runs_dir(product), keep=RUNS_TO_KEEP)
    if settings.webhook_url is not None:
        notify(settings, {"product": product, "namespace": settings.namespace, "state": state, "error": error})


def remove_old_runs(runs_dir: Path, *, keep: int) -> None:
    """Remove the artifacts of all but the newest ``keep`` runs; their records and reports' bundles stay."""
    finished = sorted(path for path in runs_dir.glob("*/artifacts") if path.is_dir())
    for folder in finished[:-keep]:
        shutil.rmtree(folder, ignore_errors=True)


def notify(settings: Settings, document: dict[str, str]) -> None:
    """Post ``document`` as JSON to the webhook; a webhook that fails is reported, never a failed run."""
    try:
        requests.post(str(settings.webhook_url), json=document, timeout=settings.timeout_s).raise_for_status()
    except requests.RequestException as err:
        print(f"{settings.webhook_url}: the notification was not delivered: {err}")  # noqa: T201 - the step's log
