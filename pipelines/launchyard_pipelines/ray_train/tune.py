"""A search on Ray Tune: Optuna proposes, ASHA stops the weak, each trial trains in a process that is kept.

A trial trains in its own process instead of starting a Ray Train run inside it: on two cores that saves the
12 s that each nested run spends on starting its workers, and the search itself is what runs in parallel (see
docs/adr-0005-trials.md).
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, cast

import ray
from optuna.samplers import TPESampler
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search import ConcurrencyLimiter
from ray.tune.search.optuna import OptunaSearch

from launchyard.contract.evaluation import Better
from launchyard.errors import RunError, SpecError
from launchyard.evaluation.results import TrialResult, TuneRecord
from launchyard.kinds import get_kind
from launchyard.spec.blocks import Choice, Product, Range, Tune, find_gradient_train, find_tune
from launchyard.threads import check_gpus, share_threads
from launchyard.training.context import TrainJob, TrainProgress
from launchyard.training.fit import LocalFit, fit_model
from launchyard.training.search import Value, apply_trial, count_longest_epochs, make_record, spell_out, takes_integers
from launchyard_pipelines.local.ray import local_ray

EXPERIMENT = "search"
EPOCH = "epoch"
KEPT = "kept"
FINISHED = "finished"
PLANNED = "planned_epochs"
UNBOUNDED_TRIALS = 10_000
"""Trials that a search with only a time budget may reach."""


@dataclass
class TrialContext:
    """The surroundings of a training that is a trial: alone, without checkpoints, reporting to the search."""

    settings: Tune
    threads: int
    device: str
    scratch_dir: Path
    epochs: int
    evaluations_per_epoch: int
    rank: int = 0
    world_size: int = 1
    evaluations: int = 0
    kept: float | None = None
    """The search's metric of the weights that training would keep now: what training the trial again gives."""

    def latest_checkpoint(self) -> Path | None:
        """Return None: a trial that was cut off starts anew."""
        return None

    def report(self, metrics: Mapping[str, float], checkpoint_dir: Path | None = None) -> None:
        """Give this evaluation's metrics to the search, which may end the trial here."""
        if checkpoint_dir is not None:
            # Nobody goes on from it, see ADR 5; those of all trials would fill the disk.
            shutil.rmtree(checkpoint_dir)
        self.keep(metrics)
        self.tell(finished=False)

    def keep(self, metrics: Mapping[str, float]) -> None:
        """Count an evaluation, and take its value of the search's metric when its weights are the ones to keep.

        Raises:
            SpecError: the search's metric is none that training validates by.
        """
        if self.settings.metric not in metrics:
            known = ", ".join(name for name in metrics if name not in ("step", "best_step"))
            raise SpecError(f"tune.metric: training does not measure '{self.settings.metric}'. It measures: {known}.")
        if metrics["best_step"] == metrics["step"]:
            self.kept = metrics[self.settings.metric]
        self.evaluations += 1

    def tell(self, *, finished: bool) -> None:
        """Report how far the trial is and how good its model is."""
        epoch = self.evaluations / self.evaluations_per_epoch
        tune.report({EPOCH: epoch, PLANNED: self.epochs, KEPT: self.kept, FINISHED: finished})

    def progress(self, progress: TrainProgress) -> None:
        """Leave the steps within a trial untold: the search's table has a line per trial."""


class TrialWatch(tune.Callback):
    """Tells of each trial when it ends.

    A search is saved with its callbacks, so this one holds nothing of the process it was made in: whoever
    continues the search sets ``listener`` anew.
    """

    listener: ClassVar[Callable[[TrialResult], None]]

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Tell of a trial that finished or was stopped."""
        self._tell(trials, trial, failed=False)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Tell of a trial that failed."""
        self._tell(trials, trial, failed=True)

    def _tell(self, trials: list[Trial], trial: Trial, *, failed: bool) -> None:
        TrialWatch.listener(describe_trial(trials.index(trial) + 1, trial.config, trial.last_result, failed=failed))


def describe_trial(
    number: int, config: Mapping[str, Value] | None, result: Mapping[str, Any] | None, *, failed: bool
) -> TrialResult:
    """Return the record of one trial from its last report; a trial that never reported has no metric."""
    result = result or {}
    # A trial in its last epoch is stopped at its end, before it can say that it is finished.
    whole = result.get(FINISHED) or result.get(EPOCH, 0) >= result.get(PLANNED, 1)
    ended = "completed" if whole else "stopped"
    return TrialResult(
        number=number,
        parameters=dict(config or {}),
        metric=result.get(KEPT),
        epochs=result.get(EPOCH, 0.0),
        status="failed" if failed else ended,
        seconds=round(result.get("time_total_s", 0.0), 2),
    )


def search(
    job: TrainJob, *, bases: Mapping[str, Path], storage_dir: Path, on_trial: Callable[[TrialResult], None]
) -> TuneRecord:
    """Search ``job.spec.tune`` and return all trials with the best of them.

    Args:
        job: What a trial trains, but for the searched values and the base model.
        bases: Where each base model is that a trial may start from, by its URI.
        storage_dir: The search is saved here after each trial; called again with the same folder it goes on.
        on_trial: Told of each trial when it ends.

    Raises:
        TrainError: the GPUs are not there, or no trial came as far as a validation.
        RunError: the spec has no ``tune`` block.
    """
    settings = require_tune(job.spec)
    resource = job.spec.resources.tune
    check_gpus(resource.gpus, count=settings.concurrent, key="resources.tune")
    threads = share_threads(resource.cpus, count=settings.concurrent)
    TrialWatch.listener = on_trial
    with local_ray(num_cpus=threads * settings.concurrent, num_gpus=resource.gpus * settings.concurrent):
        results = _make_tuner(job, bases, storage_dir, threads).fit()
        trials = [
            describe_trial(number, result.config, result.metrics, failed=result.error is not None)
            for number, result in enumerate(results, start=1)
        ]
    return make_record(settings.metric, find_mode(job.spec), trials)


def require_tune(spec: Product) -> Tune:
    """Return the spec's search, its metric and direction spelled out.

    Raises:
        RunError: it has none.
    """
    settings = find_tune(spec)
    if settings is None:
        raise RunError(f"{spec.product}: the spec has no tune block, so there is nothing to search.")
    return spell_out(settings, get_kind(spec.kind))


def find_mode(spec: Product) -> Better:
    """Return whether the search is for more or less of its metric."""
    return cast(Better, require_tune(spec).mode)


def _make_tuner(job: TrainJob, bases: Mapping[str, Path], storage_dir: Path, threads: int) -> tune.Tuner:
    """Return the tuner of a new search, or the one that continues what ``storage_dir`` holds."""
    settings, mode = require_tune(job.spec), find_mode(job.spec)
    trainable = tune.with_resources(
        tune.with_parameters(_run_trial, job=job, bases=dict(bases), threads=threads),
        {"CPU": threads, "GPU": job.spec.resources.tune.gpus},
    )
    saved = storage_dir / EXPERIMENT
    if tune.Tuner.can_restore(str(saved)):
        return tune.Tuner.restore(str(saved), trainable, resume_unfinished=True, restart_errored=False)
    sampler = OptunaSearch(metric=KEPT, mode=mode, sampler=TPESampler(seed=settings.seed))
    return tune.Tuner(
        trainable,
        param_space={key: _make_domain(job.spec, key) for key in settings.parameters},
        tune_config=tune.TuneConfig(
            metric=KEPT,
            mode=mode,
            num_samples=settings.trials or UNBOUNDED_TRIALS,
            time_budget_s=None if settings.minutes is None else settings.minutes * 60,
            search_alg=ConcurrencyLimiter(sampler, max_concurrent=settings.concurrent),
            scheduler=make_scheduler(settings, count_longest_epochs(job.spec)),
            # A process loads torch and the rest once, not once a trial (ADR 5).
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(name=EXPERIMENT, storage_path=str(storage_dir), callbacks=[TrialWatch()], verbose=0),
    )


def make_scheduler(settings: Tune, epochs: int) -> ASHAScheduler:
    """Return ASHA over epochs (Li et al. 2020, Algorithm 2)."""
    return ASHAScheduler(
        time_attr=EPOCH,
        # ASHA refuses one that is longer than the longest trial.
        grace_period=min(settings.grace_epochs, epochs),
        max_t=max(epochs, 1),
        reduction_factor=settings.reduction_factor,
    )


def _run_trial(config: dict[str, Value], job: TrainJob, bases: dict[str, Path], threads: int) -> None:
    """Train one trial from the start to where the search ends it."""
    spec = apply_trial(job.spec, config)
    gradients = find_gradient_train(spec)
    with tempfile.TemporaryDirectory(prefix="trial-") as folder:
        context = TrialContext(
            settings=require_tune(job.spec),
            threads=threads,
            device="cuda:0" if ray.get_gpu_ids() else "cpu",
            scratch_dir=Path(folder),
            # A fit is done, and measured, at once.
            epochs=gradients.epochs if gradients else 1,
            evaluations_per_epoch=gradients.evaluations_per_epoch if gradients else 1,
        )
        base_uri = spec.model.base_uri
        base_dir = None if base_uri is None else bases[base_uri]
        _train_trial(context, replace(job, spec=spec, base_dir=base_dir, output_dir=Path(folder) / "output"))
        context.tell(finished=True)


def _train_trial(context: TrialContext, job: TrainJob) -> None:
    """Train in the way that the trial's spec says."""
    if job.spec.trains_by == "fit":
        record = fit_model(LocalFit(context.device, context.threads), job)
        context.keep({**record.validation, "step": 1, "best_step": 1})
        return
    train = get_kind(job.spec.kind).load_train_function()
    if train is None:
        raise RunError(f"{job.spec.kind}: this kind has no training by gradients, so it has nothing to tune.")
    train(context, job)


def _make_domain(spec: Product, key: str) -> Any:
    """Return Ray Tune's search domain of one spec key."""
    candidates: Range | Choice = require_tune(spec).parameters[key]
    if isinstance(candidates, Choice):
        return tune.choice(list(candidates.values))
    if takes_integers(spec, key):
        low, high = int(candidates.min), int(candidates.max)
        if candidates.log:
            # Ray leaves the upper end out here, but counts it in where there is a step (2.60, with Optuna).
            return tune.lograndint(low, high + 1)
        return tune.qrandint(low, high, int(candidates.step or 1))
    if candidates.log:
        return tune.loguniform(candidates.min, candidates.max)
    if candidates.step is not None:
        return tune.quniform(candidates.min, candidates.max, candidates.step)
    return tune.uniform(candidates.min, candidates.max)
