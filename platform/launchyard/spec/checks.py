"""What only a whole spec can answer: which metrics exist, which keys a search may vary, which keys have no effect."""

from __future__ import annotations

import types
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from functools import reduce
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import ValidationError

from launchyard.evaluation.metrics.named import LATENCY
from launchyard.kind import Kind
from launchyard.sources.uri import parse_uri
from launchyard.spec.blocks import (
    Choice,
    Ineffective,
    Product,
    Range,
    RowData,
    ScalableTrain,
    find_gradient_train,
    find_tune,
    is_set,
)
from launchyard.spec.keys import Key, Path, find_key, find_nearest, iter_options, join_path, split_path
from launchyard.spec.problems import Problem, find_problems
from launchyard.spec.uris import locate_uris

WITHOUT_MOMENTUM = {"adamw", "adam"}

SCALARS = (bool, int, float, str, types.NoneType)


def check_product(spec: Product, kind: Kind) -> list[Problem]:
    """Return every problem of a spec whose keys are right one by one."""
    return [
        *_check_secrets(spec),
        *_check_metrics(spec, kind),
        *_check_search(spec, kind),
        *_check_conflicts(spec),
        *_find_ineffective(spec),
        *_find_unbatched(spec, kind),
        *_find_uncompared(spec, kind),
    ]


def _check_secrets(spec: Product) -> Iterator[Problem]:
    """Yield each source that holds a password or token as it is: the spec goes into every bundle, log and database."""
    for path, uri in locate_uris(spec):
        if (found := parse_uri(uri).find_literal_secret()) is not None:
            yield Problem(
                path,
                f"holds {found} as it is, and a spec is kept and shown. Write ${{NAME}} in its place, and set the "
                "environment variable NAME",
            )


def _check_conflicts(spec: Product) -> Iterator[Problem]:
    """Yield what a run would fail on, whatever the rows are."""
    yield from (Problem(path, problem) for path, problem in spec.iter_conflicts())


def _check_metrics(spec: Product, kind: Kind) -> Iterator[Problem]:
    """Yield each metric that is named and that the kind does not report."""
    evaluate = spec.evaluate
    for name in evaluate.gates:
        if name not in LATENCY:
            yield from _check_metric(name, ("evaluate", "gates", name), kind, extra=LATENCY)
    if evaluate.beat_baseline is not None:
        yield from _check_metric(evaluate.beat_baseline.metric, ("evaluate", "beat_baseline", "metric"), kind)
    if evaluate.beat_champion is not None:
        yield from _check_metric(evaluate.beat_champion.metric, ("evaluate", "beat_champion", "metric"), kind)


def _check_metric(name: str, path: Path, kind: Kind, extra: Iterable[str] = ()) -> Iterator[Problem]:
    """Yield a problem when ``name`` is no metric of the kind."""
    if kind.find_direction(kind.resolve_metric(name)) is not None:
        return
    known = [metric.replace("[*]", "[<label>]") for metric in (*kind.metrics, *extra)]
    near = get_close_matches(name, known, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    yield Problem(path, f"'{name}' is not a metric of {kind.name}.{hint} Known metrics: {', '.join(known)}")


def _check_search(spec: Product, kind: Kind) -> Iterator[Problem]:
    """Yield what is wrong with the search as a whole."""
    tune = find_tune(spec)
    if tune is None:
        return
    yield from _check_metric(tune.metric, ("tune", "metric"), kind)
    name = kind.resolve_metric(tune.metric)
    metric = kind.find_metric(name)
    if metric is not None and metric.measured_late:
        known = ", ".join(known for known, one in kind.metrics.items() if not one.measured_late)
        yield Problem(("tune", "metric"), f"'{name}' is measured after training only. Take one of: {known}")
    if metric is not None and tune.mode not in ("auto", metric.better):
        better = "more" if metric.better == "max" else "less"
        yield Problem(("tune", "mode"), f"{better} {name} is better, got {tune.mode}. Write mode: {metric.better}")
    for key, candidates in tune.parameters.items():
        path = ("tune", "parameters", key)
        yield from (Problem(path, text) for text in _check_parameter(spec, key, candidates))


def _check_parameter(spec: Product, name: str, candidates: Range | Choice) -> Iterator[str]:
    """Yield what is wrong with one searched key: it cannot be searched, has no such range, or a candidate is wrong."""
    path = split_path(type(spec), name)
    key = find_key(type(spec), path)
    if key is None:
        nearest = find_nearest(type(spec), path)
        yield f"'{name}' is not a key of the spec" + (f". Did you mean '{nearest}'?" if nearest else "")
        return
    types_ = _scalar_types(key)
    problem = _tell_unsearchable(spec, path, types_) or _tell_wrong_range(name, candidates, types_)
    if problem is not None:
        yield problem
        return
    extremes = _list_extremes(candidates, is_whole=float not in types_)
    yield from dict.fromkeys(text for value in extremes for text in _check_candidate(spec, path, value))


def _tell_unsearchable(spec: Product, path: tuple[str, ...], types_: set[type]) -> str | None:
    """Return why a key cannot be searched, or None."""
    off = next((path[:depth] for depth in range(1, len(path)) if _value_at(spec, path[:depth]) is None), None)
    if off is not None:
        return f"'{join_path(off)}' is null, so it has no '{path[-1]}' to search. Write '{join_path(off)}: {{}}'"
    if not types_ - {types.NoneType}:
        return f"'{join_path(path)}' is not a single value, so it cannot be searched. Name one of the keys inside it"
    return None


def _tell_wrong_range(name: str, candidates: Range | Choice, types_: set[type]) -> str | None:
    """Return why a key has no such range, or None."""
    if isinstance(candidates, Choice):
        return None
    if not types_ & {int, float}:
        return f"'{name}' is not a number, so it has no range. List candidates: {{values: [...]}}"
    numbers = (candidates.min, candidates.max, candidates.step or 1)
    fractional = [number for number in numbers if number != int(number)]
    if fractional and float not in types_:
        return f"'{name}' takes whole numbers, got {fractional[0]:g}"
    return None


def _list_extremes(candidates: Range | Choice, *, is_whole: bool) -> tuple[Any, ...]:
    """Return the values that must be right for all candidates to be: every choice, or both ends of a range."""
    if isinstance(candidates, Choice):
        return candidates.values
    ends = (candidates.min, candidates.max)
    return tuple(map(int, ends)) if is_whole else ends


def _check_candidate(spec: Product, path: tuple[str, ...], value: Any) -> Iterator[str]:
    """Yield why the spec would be wrong with ``value`` at the searched key, or no other than without it."""
    document: dict[str, Any] = spec.model_dump(mode="json")
    node = document
    for parent in path[:-1]:
        node = node[parent]
    node[path[-1]] = value
    try:
        trial = type(spec).from_document(document)
    except ValidationError as err:
        for problem in find_problems(err, document, type(spec)):
            yield f"a candidate {problem.text}"
    else:
        yield from (_ineffective(path, reason).text for given, reason in trial.iter_ineffective() if given == path)


def _value_at(spec: Product, path: tuple[str, ...]) -> Any:
    """Return what stands at a path of the spec."""
    return reduce(getattr, path, spec)


def _scalar_types(key: Key) -> set[type]:
    """Return the types of single value that a key may have."""
    found: set[type] = set()
    for option in iter_options(key.field.annotation):
        inner = get_args(option)[0] if get_origin(option) is Annotated else option
        found |= {type(value) for value in get_args(inner)} if get_origin(inner) is Literal else {inner}
    return found & set(SCALARS)


def _find_ineffective(spec: Product) -> Iterator[Problem]:
    """Yield each key that was changed from its default although nothing reads it in this spec."""
    told = dict(spec.iter_ineffective())
    yield from (_ineffective(path, reason) for path, reason in told.items())
    yield from (_ineffective(path, reason) for path, reason in _iter_untrained(spec) if path not in told)
    yield from _find_ineffective_momentum(spec)
    if spec.trains_by is not None and find_tune(spec) is None and is_set(spec.resources, "tune"):
        yield _ineffective(("resources", "tune"), "there is no 'tune' block")
    resources = spec.resources
    trained = () if spec.trains_by is None else (("tune", resources.tune), ("train", resources.train))
    for name, resource in (*trained, ("evaluate", resources.evaluate)):
        if resource.gpus == 0 and is_set(resource, "gpu_type"):
            yield _ineffective(("resources", name, "gpu_type"), "gpus is 0")


def _iter_untrained(spec: Product) -> Iterator[Ineffective]:
    """Yield what only gradient descent, or only training, reads where there is none."""
    if spec.trains_by is None:
        for name in ("tune", "train"):
            if is_set(spec.resources, name):
                yield ("resources", name), "nothing is trained"
    elif spec.trains_by == "fit" and is_set(spec.resources.train, "workers"):
        yield ("resources", "train", "workers"), "the model is fitted in one process"
    if spec.trains_by == "fit" and (tune := find_tune(spec)) is not None:
        for name in ("grace_epochs", "reduction_factor"):
            if is_set(tune, name):
                yield ("tune", name), "the model is fitted at once, so no trial is stopped early"
    train = find_gradient_train(spec)
    if isinstance(train, ScalableTrain) and is_set(train, "sharding") and spec.resources.train.workers == 1:
        yield ("train", "sharding"), "resources.train.workers is 1"


def _find_unbatched(spec: Product, kind: Kind) -> Iterator[Problem]:
    """Yield the size of batches where a kind makes none."""
    if kind.answers != "batched" and is_set(spec.serve, "max_batch_size"):
        yield _ineffective(("serve", "max_batch_size"), f"{kind.name} computes no batches of rows")


def _find_uncompared(spec: Product, kind: Kind) -> Iterator[Problem]:
    """Yield what is to happen to near copies where the rows are not compared by their words."""
    # The recipe is loaded, which may take a library, only for a spec that sets the key.
    if (
        isinstance(spec.data, RowData)
        and is_set(spec.data.checks, "near_duplicates")
        and kind.load_recipe(spec).policy.near_copies == "none"
    ):
        yield _ineffective(
            ("data", "checks", "near_duplicates"), f"{kind.name} does not compare these rows by their words"
        )


def _find_ineffective_momentum(spec: Product) -> Iterator[Problem]:
    """Yield ``train.momentum``, given or searched, where no optimizer that may be used has one."""
    tune, train = find_tune(spec), find_gradient_train(spec)
    if train is None:
        return
    searched: Mapping[str, Range | Choice] = tune.parameters if tune else {}
    choice = searched.get("train.optimizer")
    optimizers = choice.values if isinstance(choice, Choice) else (train.optimizer,)
    if not set(optimizers) <= WITHOUT_MOMENTUM:
        return
    reason = f"the optimizer {' or '.join(map(str, optimizers))} has none"
    if is_set(train, "momentum"):
        yield _ineffective(("train", "momentum"), reason)
    if "train.momentum" in searched:
        yield _ineffective(("tune", "parameters", "train.momentum"), reason)


def _ineffective(path: Path, reason: str) -> Problem:
    """Return the problem of a key without effect."""
    return Problem(path, f"has no effect: {reason}. Remove it")
