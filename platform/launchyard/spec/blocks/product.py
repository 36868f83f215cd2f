"""Whole specs: those of kinds with and without training, and how their blocks are found."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal, Self

from pydantic import Field

from launchyard.spec.blocks.block import Block, Ineffective
from launchyard.spec.blocks.data import Data, RowData
from launchyard.spec.blocks.evaluate import Evaluate
from launchyard.spec.blocks.model import Model
from launchyard.spec.blocks.resources import Resources
from launchyard.spec.blocks.serve import Serve
from launchyard.spec.blocks.train import GradientTrain, Train
from launchyard.spec.blocks.tune import Tune

MAX_PRODUCT_LENGTH = 40
"""Characters of a product's name: it becomes part of Kubernetes names, which end at 63."""
TrainsBy = Literal["gradients", "fit"]
"""How a model learns: step by step by gradient descent, or by one computation in one process."""


class ProductHead(Block):
    """What a product is made from. The blocks of a spec stand in the order in which a product comes about."""

    api: Literal["launchyard/v1"] = Field(description="Version of this format.")
    product: str = Field(
        pattern=rf"^[a-z]([-a-z0-9]{{0,{MAX_PRODUCT_LENGTH - 2}}}[a-z0-9])?$",
        description=f"Name: a letter, then letters, digits and '-'; lower case, up to {MAX_PRODUCT_LENGTH} characters.",
    )
    kind: str = Field(description="What sort of product it is.")
    data: Data = Field(description="Where the rows come from and what they must fulfil.")
    model: Model = Field(description="What is trained.")


class Learning(ProductHead):
    """The blocks of a spec that say how its model learns."""

    train: Train = Field(description="How the model learns.")
    tune: Tune | None = Field(None, description="Search over keys of model and train.")


class Product(ProductHead):
    """One start-up product, from its rows to its endpoint: the content of ``product.yaml``.

    The spec class of a kind without training derives from it and narrows ``data`` and ``model``; that of a kind with
    training derives from :class:`TrainedProduct`.
    """

    evaluate: Evaluate = Field(Evaluate(), description="Measures and gates.")
    serve: Serve = Field(Serve(), description="How the endpoint answers.")
    resources: Resources = Field(Resources(), description="What each step and replica gets.")

    @property
    def trains_by(self) -> TrainsBy | None:
        """How this spec's model learns; None when there is nothing to train, and the pipeline has no train step."""
        return None

    @property
    def subject(self) -> str | None:
        """Column of examples, and field of a parsed input, with the id of whom each is about; None: of nobody.

        Nothing but a pseudonym of it is kept, by which a person is found and forgotten.
        """
        return self.data.subject if isinstance(self.data, RowData) else None

    def iter_ineffective(self) -> Iterator[Ineffective]:
        """Yield each key that was changed from its default although nothing reads it in this spec."""
        yield from self.data.iter_ineffective()
        repeated = [name for place, name in enumerate(self.evaluate.slices) if name in self.evaluate.slices[:place]]
        if repeated:
            yield ("evaluate", "slices"), f"'{repeated[0]}' is named twice"

    def iter_conflicts(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """Yield each key, by its path, that a run would fail on whatever the rows are, and what is wrong.

        These are problems of a spec that is to be run; a version that was made of one answers all the same.
        """
        served, measured = self.resources.serve.gpus, self.resources.evaluate.gpus
        if served > measured:
            text = f"must be at least resources.serve.gpus, {served:g}, got {measured}: what serves is what is measured"
            yield ("resources", "evaluate", "gpus"), text
        if self.subject is not None and self.subject in self.evaluate.slices:
            text = f"'{self.subject}' says whom a row is about, and a report names nobody. Remove it"
            yield ("evaluate", "slices"), text

    def name_labels(self) -> dict[str, str]:
        """Return the labels that the spec names, by the key that does: those of metrics such as ``f1[spam]``."""
        metrics = {f"evaluate.gates.{name}": name for name in self.evaluate.gates}
        for key in ("beat_baseline", "beat_champion"):
            if (wanted := getattr(self.evaluate, key)) is not None:
                metrics[f"evaluate.{key}.metric"] = wanted.metric
        tune = find_tune(self)
        if tune is not None:
            metrics["tune.metric"] = tune.metric
        return {key: name[:-1].partition("[")[2] for key, name in metrics.items() if name.endswith("]")}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Return the spec that plain values describe, read strictly: ``'3'`` is not 3, and true is not 1.

        Raises:
            pydantic.ValidationError: values are missing, unknown or wrong.
        """
        return cls.model_validate_json(json.dumps(document), strict=True)  # in JSON a list may become a tuple


class TrainedProduct(Product, Learning):
    """A product whose model learns from its rows. A kind's spec class narrows ``data``, ``model`` and ``train``."""

    @property
    def trains_by(self) -> TrainsBy | None:
        """How this spec's model learns: by gradients, where ``train`` has the keys of them."""
        return "gradients" if isinstance(self.train, GradientTrain) else "fit"


def find_train(spec: Product) -> Train | None:
    """Return the ``train`` block; None in the spec of a kind without training."""
    return spec.train if isinstance(spec, TrainedProduct) else None


def find_gradient_train(spec: Product) -> GradientTrain | None:
    """Return the ``train`` block of a spec whose model learns by gradients, else None."""
    train = find_train(spec)
    return train if isinstance(train, GradientTrain) and spec.trains_by == "gradients" else None


def find_tune(spec: Product) -> Tune | None:
    """Return the ``tune`` block; None without a search, as in every spec of a kind without training."""
    return spec.tune if isinstance(spec, TrainedProduct) else None
