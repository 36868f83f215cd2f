"""What a product will do, in a few lines."""

from __future__ import annotations

import shlex
from pathlib import Path

from launchyard.kind import Kind
from launchyard.kinds import get_kind
from launchyard.sources.uri import show_uri
from launchyard.spec.blocks import Comparison, Product, find_gradient_train, find_tune
from launchyard.spec.uris import name_uris


def summarise(spec: Product, path: Path) -> list[str]:
    """Return what a product will do, one line for each stage."""
    replicas = spec.serve.replicas
    copies = str(replicas.min) if replicas.min == replicas.max else f"{replicas.min} to {replicas.max}"
    return [
        f"{path} is right: {spec.product}, a product of kind {spec.kind}.",
        f"  data    {_describe_sources(spec)}",
        f"          {spec.data.describe_split()}",
        f"  model   {spec.model.describe()}",
        f"  train   {_describe_training(spec)}",
        f"  gates   {', '.join(_describe_gates(spec)) or 'none: every model is released'}",
        f"  serve   POST /{spec.product}/predict, replicas: {copies}",
        f"  next    launchyard run {shlex.quote(str(path))}",
    ]


def _describe_sources(spec: Product) -> str:
    """Return where the rows come from; several sources by the names that the spec gives them."""
    named = name_uris(spec.data)
    return ", ".join((f"{name}: " if name else "") + show_uri(uri) for name, uri in named)


def _describe_training(spec: Product) -> str:
    """Return how the model learns, in a few words."""
    if spec.trains_by is None:
        return "nothing: the model is served as it is"
    train, tune = find_gradient_train(spec), find_tune(spec)
    how = "in one computation, without gradient descent"
    if train is not None:
        how = f"{train.epochs} epochs, batch {train.batch_size}, learning rate {train.learning_rate:g}"
    return how if tune is None else f"{how}, after a search over {', '.join(tune.parameters)}"


def _describe_gates(spec: Product) -> list[str]:
    """Return every rule that a model must pass, in words."""
    evaluate, kind = spec.evaluate, get_kind(spec.kind)
    gates = [f"{metric} {rule}" for metric, rule in evaluate.gates.items()]
    if evaluate.beat_prior:
        gates.append("better than always answering what is commonest")
    if evaluate.beat_baseline:
        gates.append(_describe_comparison(evaluate.beat_baseline, kind, "cheap baseline"))
    if evaluate.beat_champion:
        gates.append(_describe_comparison(evaluate.beat_champion, kind, "champion"))
    return gates


def _describe_comparison(wanted: Comparison, kind: Kind, rival: str) -> str:
    metric = kind.resolve_metric(wanted.metric)
    is_less_better = kind.find_direction(metric) == "min"
    tolerance = f" {'+' if is_less_better else '-'} {wanted.tolerance:g}" if wanted.tolerance else ""
    return f"{metric} at {'most' if is_less_better else 'least'} the {rival}'s{tolerance}"
