"""The tune step: a search over the spec's ``tune.parameters``."""

from __future__ import annotations

import shutil
from pathlib import Path

from launchyard.evaluation.results import TrialResult
from launchyard.files.atomic import write_text
from launchyard.settings import load_settings
from launchyard.sources.resolve import fetch
from launchyard.training.search import list_bases
from launchyard_pipelines.code_version import compute_code_version
from launchyard_pipelines.ray_train.tune import require_tune
from launchyard_pipelines.ray_train.tune import search as run_search
from launchyard_pipelines.run_events import reported_step
from launchyard_pipelines.steps import STARTED_S
from launchyard_pipelines.steps.reference import Artifact, SpecReference
from launchyard_pipelines.steps.train import find_storage, make_job, name_inputs


def tune(reference: SpecReference, fingerprint: str, dataset: Artifact, search: Artifact) -> None:
    """Search within the budget and leave the record of all trials; an interrupted search is continued."""
    settings = load_settings()
    with reported_step("tune", settings, started_s=STARTED_S.get()) as report:
        spec = reference.load()
        budget = require_tune(spec).trials or 0
        bases = {
            uri: fetch(uri, settings, base_dir=Path.cwd(), on_progress=report.download) for uri in list_bases(spec)
        }
        inputs = f"{name_inputs(fingerprint, *bases.values())}-tune"
        storage_dir = find_storage(settings, spec, inputs, compute_code_version())
        job = make_job(spec, dataset, storage_dir / "best", None)
        base_dirs = {uri: base.path for uri, base in bases.items()}
        finished: list[TrialResult] = []

        def show(trial: TrialResult) -> None:
            finished.append(trial)
            report.progress(len(finished), max(budget, len(finished)), describe_trial(trial), lasting=True)

        record = run_search(job, bases=base_dirs, storage_dir=storage_dir, on_trial=show)
        write_text(Path(search.path), record.model_dump_json(indent=2))
        # A search that is done must not be taken for an interrupted one: `--from tune` searches anew.
        shutil.rmtree(storage_dir, ignore_errors=True)
        report.message = f"{len(record.trials)} trials, best {record.metric} {record.best_metric:.4f}"
        report.data = {"best": record.best}


def describe_trial(trial: TrialResult) -> str:
    """Return one line of the table of trials: number, best metric, epochs, how it ended, what was tried."""
    metric = "     -" if trial.metric is None else f"{trial.metric:.4f}"
    values = "  ".join(f"{key.split('.')[-1]} {_format(value)}" for key, value in trial.parameters.items())
    return f"trial {trial.number:>3}  {metric}  {trial.epochs:4.1f} epochs  {trial.status:<9}  {values}"


def _format(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
