"""What a search over spec keys means: the space, and the spec that a trial stands for. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from launchyard.contract.evaluation import Better
from launchyard.errors import SpecError, TrainError
from launchyard.evaluation.results import TrialResult, TuneRecord
from launchyard.kind import Kind
from launchyard.kinds import get_kind
from launchyard.spec.blocks import Choice, GradientTrain, Product, Range, Tune, find_train, find_tune
from launchyard.spec.keys import join_path
from launchyard.spec.problems import find_problems

Value = bool | int | float | str | None
"""One candidate value of a spec key."""
AnyProduct = TypeVar("AnyProduct", bound=Product)


def apply_trial(spec: AnyProduct, parameters: Mapping[str, Value]) -> AnyProduct:
    """Return ``spec`` with the values of a trial in place and without its ``tune`` block, checked as a whole.

    Raises:
        SpecError: a key does not exist or a value does not fit it.
    """
    document = spec.model_dump(mode="json") | {"tune": None}
    # It has no effect without a search, and the spec that was trained is to be valid itself.
    document["resources"].pop("tune")
    for key, value in parameters.items():
        *path, last = key.split(".")
        block: Any = document
        for part in path:
            block = block[part]
        block[last] = value
    form = get_kind(spec.kind).spec
    try:
        return cast(AnyProduct, form.model_validate(document))
    except ValidationError as err:
        found = find_problems(err, document, form)
        problems = "; ".join(f"{join_path(problem.path)}: {problem.text}" for problem in found)
        raise SpecError(f"tune.parameters: a trial does not fit the spec: {problems}. Narrow the search.") from err


def apply_best(spec: AnyProduct, record_path: Path) -> AnyProduct:
    """Return what was trained: ``spec`` with the winner's values of a search's record; ``spec`` itself without one."""
    if not record_path.is_file():
        return spec
    return apply_trial(spec, TuneRecord.model_validate_json(record_path.read_bytes()).best)


def list_bases(spec: Product) -> list[str]:
    """Return every base model that a trial may start from."""
    tune = find_tune(spec)
    candidates = tune.parameters.items() if tune else ()
    trials = [
        apply_trial(spec, {key: value})
        for key, found in candidates
        if isinstance(found, Choice)
        for value in found.values
    ]
    return list(dict.fromkeys(uri for uri in (trial.model.base_uri for trial in (spec, *trials)) if uri is not None))


def count_longest_epochs(spec: Product) -> int:
    """Return the most epochs that a trial may take; a fit counts as one."""
    tune, train = find_tune(spec), find_train(spec)
    if not isinstance(train, GradientTrain):
        return 1
    candidates = tune.parameters.get("train.epochs") if tune else None
    if candidates is None:
        return train.epochs
    if isinstance(candidates, Range):
        return int(candidates.max)
    return max(value for value in candidates.values if isinstance(value, int))


def takes_integers(spec: Product, key: str) -> bool:
    """Return whether the spec key, such as ``train.epochs``, holds whole numbers only."""
    block: Any = spec
    *path, last = key.split(".")
    for part in path:
        block = getattr(block, part)
    adapter: TypeAdapter[Any] = TypeAdapter(type(block).model_fields[last].rebuild_annotation())
    try:
        adapter.validate_python(1.5)
    except ValidationError as err:
        return any(found["type"] == "int_from_float" for found in err.errors())
    return False


def spell_out(tune: Tune, kind: Kind) -> Tune:
    """Return a search that names the metric it goes by, and whether more or less of it is better."""
    metric = kind.resolve_metric(tune.metric)
    mode = (kind.find_direction(metric) or "max") if tune.mode == "auto" else tune.mode
    return tune.model_copy(update={"metric": metric, "mode": mode})


def find_better(kind: str, metric: str) -> Better:
    """Return whether more or less of a validation metric is better, as the kind declares it.

    Raises:
        TrainError: the kind declares no such metric.
    """
    better = get_kind(kind).find_direction(metric)
    if better is None:
        raise TrainError(f"kind: '{kind}' declares no metric '{metric}', by which it trains. Add it to its metrics.")
    return better


def choose_best(trials: Iterable[TrialResult], better: Better) -> TrialResult:
    """Return the trial with the best metric; one that was trained to its end goes before one that was stopped.

    Raises:
        TrainError: no trial has a metric; the message gives the trials' own words.
    """
    measured = [trial for trial in trials if trial.metric is not None]
    completed = [trial for trial in measured if trial.status == "completed"]
    if not measured:
        raise TrainError("tune: no trial came as far as a validation. Widen the budget or narrow tune.parameters.")
    sign = 1 if better == "max" else -1
    return max(completed or measured, key=lambda trial: (sign * float(trial.metric or 0.0), -trial.number))


def make_record(metric: str, better: Better, trials: Iterable[TrialResult]) -> TuneRecord:
    """Return the record of a search for more or less of a metric: all trials in order, and which one won."""
    ordered = tuple(sorted(trials, key=lambda trial: trial.number))
    best = choose_best(ordered, better)
    return TuneRecord(
        metric=metric,
        mode=better,
        best=best.parameters,
        best_metric=float(best.metric or 0.0),
        trials=ordered,
    )
