"""What a product will do, in a few lines."""

from __future__ import annotations

import shlex
from pathlib import Path

from launchyard.spec.blocks import ClassSources, Product


def summarise(spec: Product, path: Path) -> list[str]:
    """Return what a product will do, one line for each stage."""
    split, train, replicas = spec.data.split, spec.train, spec.serve.replicas
    sizes = " / ".join(
        f"{size:,}" if size >= 1 else f"{size:.0%}" for size in (split.train, split.validation, split.test)
    )
    searched = f", after a search over {', '.join(spec.tune.parameters)}" if spec.tune else ""
    copies = str(replicas.min) if replicas.min == replicas.max else f"{replicas.min} to {replicas.max}"
    return [
        f"{path} is right: {spec.product}, a product of kind {spec.kind}.",
        f"  data    {_describe_source(spec)}",
        f"          train / validation / test: {sizes}",
        f"  model   {_hide_pin(spec.model.base)}",
        f"  train   {train.epochs} epochs, batch {train.batch_size}, learning rate {train.learning_rate:g}{searched}",
        f"  gates   {', '.join(_describe_gates(spec)) or 'none: every model is released'}",
        f"  serve   POST /{spec.product}/predict, replicas: {copies}",
        f"  next    launchyard run {shlex.quote(str(path))}",
    ]


def _describe_source(spec: Product) -> str:
    """Return where the rows come from."""
    source = spec.data.source
    if isinstance(source, str):
        return _hide_pin(source)
    uris = source.classes if isinstance(source, ClassSources) else source.model_dump(exclude_none=True)
    return ", ".join(f"{name}: {_hide_pin(uri)}" for name, uri in uris.items())


def _hide_pin(uri: str) -> str:
    """Return a source without its digest, which says nothing to a reader."""
    return uri.partition("#")[0]


def _describe_gates(spec: Product) -> list[str]:
    """Return every rule that a model must pass, in words."""
    evaluate = spec.evaluate
    gates = [f"{metric} {rule}" for metric, rule in evaluate.gates.items()]
    if evaluate.beat_prior:
        gates.append("better than the commonest label")
    if evaluate.beat_baseline:
        gates.append(f"{evaluate.beat_baseline.metric} at least the cheap baseline's")
    if evaluate.beat_champion:
        gates.append(f"{evaluate.beat_champion.metric} at least the champion's - {evaluate.beat_champion.tolerance:g}")
    return gates
