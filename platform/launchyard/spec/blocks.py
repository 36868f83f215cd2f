"""The parts that product specs are built from, shared by every kind.

Each block is frozen and refuses unknown keys; each field's description is what ``docs/spec.md``,
the JSON schema and the editor's completion show.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from launchyard.sources.uri import parse_uri, show_uri

HEADLINE = "headline"
"""What a spec writes for the metric that its kind leads with."""
MAX_PRODUCT_LENGTH = 40
"""Characters of a product's name: it becomes part of Kubernetes names, which end at 63."""


class Block(BaseModel):
    """One mapping of the spec: immutable, and an unknown key is an error."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True, hide_input_in_errors=True
    )


@dataclass(frozen=True)
class Unit:
    """What a number counts; ``docs/spec.md`` shows it."""

    name: str


def is_set(block: Block, name: str) -> bool:
    """Return whether a key has another value than its default."""
    return bool(getattr(block, name) != type(block).model_fields[name].default)


def check_uri(uri: str) -> str:
    """Return ``uri`` unchanged.

    Raises:
        ValueError: it is empty, malformed, or of a scheme that no resolver exists for.
    """
    parse_uri(uri)
    return uri


SourceUri = Annotated[str, AfterValidator(check_uri)]
"""A path, or a URI: ``file pypi hf s3 https sql``; ``#sha256=<hex>`` pins its content."""


class SplitSources(Block):
    """One source per split; what is not given is split off ``train``."""

    train: SourceUri = Field(description="Rows to learn from.")
    validation: SourceUri | None = Field(None, description="Rows to choose settings on; default: split off train.")
    test: SourceUri | None = Field(None, description="Rows to report on; default: split off train.")


class ClassSources(Block):
    """One text file per class, one row a line."""

    classes: dict[str, SourceUri] = Field(min_length=1, description="Label -> source of its lines.")


Fraction = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
SplitSize = Annotated[Fraction | Count, Unit("rows or fraction")]


class Split(Block):
    """How rows are divided; counts (integers) or fractions of all rows (numbers below 1)."""

    train: SplitSize = Field(0.8, description="Training rows: a count, or a fraction of all rows.")
    validation: SplitSize = Field(0.1, description="Validation rows: a count or a fraction.")
    test: SplitSize = Field(0.1, description="Test rows: a count or a fraction.")
    seed: int = Field(7, ge=0, description="Seed of the shuffle; the same seed gives the same split anywhere.")
    stratify: bool = Field(True, description="Keep each label's share equal in all splits.")
    group: str | None = Field(None, description="Column whose equal values stay in one split.")
    time: str | None = Field(None, description="Column to order by: oldest rows train, newest rows test.")

    @model_validator(mode="after")
    def _is_divisible(self) -> Self:
        sizes = (self.train, self.validation, self.test)
        if len({type(size) for size in sizes}) > 1:
            found = ", ".join(f"{size:g}" for size in sizes)
            raise ValueError(f"train, validation and test must all be counts or all be fractions, got {found}")
        if sizes[0] < 1 and sum(sizes) > 1 + 1e-9:
            raise ValueError(f"the fractions add up to {sum(sizes):g}, more than 1. Lower one of them")
        if self.group and self.time:
            raise ValueError("group and time exclude each other. Remove one of them")
        return self


class Checks(Block):
    """What the rows must fulfil before anything is trained on them."""

    min_rows: Annotated[int, Unit("rows")] = Field(10, ge=1, description="Fewest rows after cleaning, over all splits.")
    min_rows_per_class: Annotated[int, Unit("rows")] = Field(
        3, ge=1, description="Fewest rows of each label, over all splits."
    )
    max_null_fraction: Annotated[float, Unit("fraction")] = Field(
        0.1, ge=0, le=1, description="Largest share of rows with a null or empty field."
    )
    max_duplicate_fraction: Annotated[float, Unit("fraction")] = Field(
        0.5, ge=0, le=1, description="Largest share of exact duplicates."
    )
    near_duplicates: Literal["drop", "fail", "allow"] = Field(
        "drop",
        description="What to do with a training row that nearly equals a held-out row, and with a validation row that "
        "nearly equals a test row.",
    )


Redaction = Literal["email", "phone", "card", "ip"]
"""A pattern of personal data that is replaced by its name in brackets, such as ``[email]``."""


Ineffective = tuple[tuple[str, ...], str]
"""A key by its path, and why nothing reads it."""


class Data(Block):
    """Where the rows come from. A kind adds what its columns mean."""

    def describe_split(self) -> str:
        """Return in a few words how the rows are divided."""
        raise NotImplementedError

    def iter_ineffective(self) -> Iterator[Ineffective]:
        """Yield each key that was changed from its default although nothing reads it."""
        yield from ()


class RowData(Data):
    """Rows that stand for themselves: each is checked, cleaned and given to a split alone."""

    source: SourceUri | SplitSources | ClassSources = Field(
        description="Where the rows are: a path or URI, one for each split, or a text file for each class."
    )
    split: Split = Field(Split(), description="How rows are divided into train, validation and test.")
    checks: Checks = Field(Checks(), description="What the rows must fulfil.")
    redact: tuple[Redaction, ...] = Field((), description="Personal data to mask, in training and serving alike.")

    def describe_split(self) -> str:
        """Return the sizes of the splits."""
        sizes = (self.split.train, self.split.validation, self.split.test)
        shown = " / ".join(f"{size:,}" if size >= 1 else f"{size:.0%}" for size in sizes)
        return f"train / validation / test: {shown}"

    def iter_ineffective(self) -> Iterator[Ineffective]:
        """Yield sizes of splits that have sources of their own, and strata and seed where nothing is drawn."""
        split = self.split
        given = []
        if isinstance(self.source, SplitSources) and split.train < 1:
            given = [name for name in ("validation", "test") if getattr(self.source, name) is not None]
        for name in given:
            if is_set(split, name):
                yield ("data", "split", name), f"data.source.{name} gives these rows"
        if given and is_set(split, "train"):
            yield ("data", "split", "train"), "all rows that are not split off are for training"
        rule = "group" if split.group else "time" if split.time else None
        undrawn = "every split has a source of its own" if len(given) == 2 else None
        by_rule = None if rule is None else f"data.split.{rule} divides the rows"
        if is_set(split, "stratify") and (reason := by_rule or undrawn):
            yield ("data", "split", "stratify"), reason
        if is_set(split, "seed") and (reason := by_rule if rule == "time" else undrawn):
            yield ("data", "split", "seed"), reason


class Model(Block):
    """What is trained. A kind adds its architecture's keys."""

    @property
    def base_uri(self) -> str | None:
        """Where the pretrained model is that training starts from; None when it starts from nothing."""
        return None

    def describe(self) -> str:
        """Return what is trained, in a few words."""
        raise NotImplementedError


class PretrainedModel(Model):
    """A model that starts from another one."""

    base: SourceUri = Field(description="The pretrained model to start from: a path or URI.")

    @property
    def base_uri(self) -> str | None:
        """Where the pretrained model is."""
        return self.base

    def describe(self) -> str:
        """Return where the pretrained model is."""
        return show_uri(self.base)


class EarlyStopping(Block):
    """When to stop before the last epoch."""

    patience: Annotated[int, Unit("evaluations")] = Field(
        2, ge=1, description="Evaluations without improvement before training stops."
    )
    min_delta: float = Field(0.0, ge=0, description="Smallest change of the metric that counts as improvement.")


class Train(Block):
    """What every training has, whatever it learns by. A kind adds the keys of its own."""

    seed: int = Field(7, ge=0, description="Seed of everything random: initial weights, shuffling, dropout, samples.")


class GradientTrain(Train):
    """Optimisation, the same for every kind that learns by gradient descent."""

    epochs: Annotated[int, Unit("epochs")] = Field(3, ge=1, le=1000, description="Passes over the training rows.")
    max_steps: Annotated[int | None, Unit("steps")] = Field(
        None, ge=1, description="Stop after this many optimiser steps."
    )
    batch_size: Annotated[int, Unit("rows")] = Field(
        32, ge=1, le=65536, description="Rows per optimiser step, over all workers."
    )
    gradient_accumulation: Annotated[int, Unit("slices")] = Field(
        1, ge=1, description="Slices that a batch is computed in, to save memory."
    )
    learning_rate: float = Field(5e-5, gt=0, le=10, description="Peak learning rate.")
    optimizer: Literal["adamw", "adam", "rmsprop", "sgd"] = Field("adamw", description="Update rule.")
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum of sgd and rmsprop.")
    weight_decay: float = Field(0.01, ge=0, description="Decay of weights; biases and norms are left out.")
    scheduler: Literal["constant", "linear", "cosine", "exponential"] = Field(
        "linear", description="Course of the learning rate after warm-up; exponential ends at 1 % of the peak."
    )
    warmup: Annotated[float, Unit("steps or fraction")] = Field(
        0.06, ge=0, description="Warm-up steps; below 1: a fraction of all steps."
    )
    max_grad_norm: float = Field(1.0, gt=0, description="Gradients are clipped to this norm.")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="Arithmetic of the forward pass; auto: bf16 where the hardware computes it faster."
    )
    length_grouped: bool = Field(
        False,
        description="Batches of rows of like length: less padding still, faster, often a little less accurate.",
    )
    early_stopping: EarlyStopping | None = Field(EarlyStopping(), description="null trains all epochs.")
    evaluations_per_epoch: int = Field(1, ge=1, description="Validations and checkpoints in each epoch.")


class ScalableTrain(GradientTrain):
    """Optimisation of a model, and of rows, that may outgrow one device.

    A kind takes it whose model is computed by its ``forward`` alone, and whose rows are loaded apart from that.
    """

    sharding: Literal["none", "full"] = Field(
        "none",
        description="full: weights, gradients and optimizer state are divided among the workers (FSDP); none: each "
        "worker holds all of them.",
    )
    activation_checkpointing: bool = Field(
        False, description="Compute activations anew in the backward pass: less memory, about a third more time."
    )
    loader_workers: Annotated[int | None, Unit("processes")] = Field(
        None,
        ge=0,
        le=64,
        description="Processes of each worker that prepare batches ahead; null: as many as pay off, none on a CPU.",
    )


class Range(Block):
    """Numbers to search between."""

    min: float = Field(description="Smallest value.")
    max: float = Field(description="Largest value.")
    log: bool = Field(False, description="Sample orders of magnitude alike.")
    step: float | None = Field(None, gt=0, description="Distance between candidates.")

    @model_validator(mode="after")
    def _is_ordered(self) -> Self:
        if self.min >= self.max:
            raise ValueError(f"min must be below max, got {self.min:g} and {self.max:g}")
        if self.log and (self.min <= 0 or self.step is not None):
            raise ValueError("log needs min above 0 and no step")
        if self.step is not None and self.step > self.max - self.min:
            raise ValueError(f"step {self.step:g} is more than max - min, so there is one candidate. Lower it")
        return self


class Choice(Block):
    """Values to choose from."""

    values: tuple[bool | int | float | str | None, ...] = Field(min_length=2, description="Candidates.")

    @model_validator(mode="after")
    def _is_a_choice(self) -> Self:
        if len({(type(value), value) for value in self.values}) < 2:
            raise ValueError("all values are alike, so every trial would be the same. Give two or more")
        return self


class Tune(Block):
    """A search over keys of ``model`` and ``train``; the best trial becomes the training configuration."""

    metric: str = Field(HEADLINE, description=f"Validation metric to optimise; {HEADLINE}: the kind's own.")
    mode: Literal["auto", "max", "min"] = Field(
        "auto", description="Whether more or less is better; auto: as it is with this metric."
    )
    trials: Annotated[int | None, Unit("trials")] = Field(None, ge=1, description="Budget in trials.")
    minutes: Annotated[float | None, Unit("minutes")] = Field(None, gt=0, description="Budget in minutes.")
    concurrent: Annotated[int, Unit("trials")] = Field(1, ge=1, description="Trials at the same time.")
    grace_epochs: Annotated[int, Unit("epochs")] = Field(1, ge=1, description="Epochs that no trial is stopped before.")
    reduction_factor: int = Field(3, ge=2, description="ASHA keeps one of this many trials at each rung.")
    seed: int = Field(7, ge=0, description="Seed of the search.")
    parameters: dict[str, Range | Choice] = Field(
        min_length=1, description="Spec key such as train.learning_rate -> what to search."
    )

    @model_validator(mode="after")
    def _has_a_budget(self) -> Self:
        if self.trials is None and self.minutes is None:
            raise ValueError("give a budget: trials, minutes, or both")
        for key in self.parameters:
            if not key.startswith(("model.", "train.")):
                raise ValueError(f"'{key}' cannot be tuned. Keys start with 'model.' or 'train.'")
        return self


RULE = re.compile(r"^\s*(>=|<=|>|<)\s*(-?\d+(?:\.\d+)?(?:[eE]-?\d+)?)\s*$")


def check_rule(rule: object) -> object:
    """Return a gate's rule unchanged.

    Raises:
        ValueError: it is not an operator and a number, such as ``>= 0.8``.
    """
    if not isinstance(rule, str) or not RULE.match(rule):
        raise ValueError(f"'{rule}' is not a rule. Write an operator and a number, such as '>= 0.80'")
    return rule


GateRule = Annotated[str, BeforeValidator(check_rule)]


class Comparison(Block):
    """A gate that compares two models on the same test rows."""

    metric: str = Field(HEADLINE, description=f"Metric that is compared; {HEADLINE}: the kind's own.")
    tolerance: float = Field(0.0, ge=0, description="How much worse it may be and still pass.")


class ChampionComparison(Comparison):
    """A gate that compares with the serving model, on the test rows that it was not trained on."""

    when_unknown: Literal["skip", "refuse"] = Field(
        "skip",
        description="What to do when too few test rows are new to the serving model, or nobody knows which are.",
    )


class Evaluate(Block):
    """What is measured on the held-out rows and what a model must reach to be released."""

    gates: dict[str, GateRule] = Field({}, description="Test metric -> rule, such as accuracy: '>= 0.80'.")
    beat_prior: bool = Field(
        True, description="Refuse a model that does not beat always giving the same answer: what is commonest."
    )
    beat_baseline: Comparison | None = Field(
        Comparison(tolerance=0.0), description="Refuse a model that a cheap baseline beats; null switches it off."
    )
    beat_champion: ChampionComparison | None = Field(
        ChampionComparison(tolerance=0.005),
        description="Refuse a model that the serving one beats; null switches it off.",
    )
    slices: tuple[str, ...] = Field((), description="Columns whose values are measured one by one.")
    bootstrap: Annotated[int, Unit("resamples")] = Field(
        1000, ge=100, le=100_000, description="Resamples behind each interval."
    )
    confidence: Annotated[float, Unit("fraction")] = Field(0.95, gt=0.5, lt=1, description="Coverage of each interval.")


class Replicas(Block):
    """How many copies answer requests."""

    min: Annotated[int, Unit("replicas")] = Field(1, ge=1, description="Copies that always run.")
    max: Annotated[int, Unit("replicas")] = Field(1, ge=1, description="Copies under load.")

    @model_validator(mode="after")
    def _is_ordered(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min must not exceed max, got {self.min} and {self.max}")
        return self


Swap = Literal["load-beside", "unload-first"]


class Serve(Block):
    """How the endpoint answers."""

    replicas: Replicas = Field(Replicas(), description="Copies of the model.")
    max_batch_size: Annotated[int, Unit("rows")] = Field(
        32, ge=1, le=4096, description="Most rows in one forward pass."
    )
    max_inputs: Annotated[int, Unit("inputs")] = Field(1000, ge=1, description="Most inputs in one request.")
    max_body_bytes: Annotated[int, Unit("bytes")] = Field(
        4 * 2**20, ge=1024, description="Largest request body, bytes."
    )
    timeout_s: Annotated[float, Unit("seconds")] = Field(
        10.0, gt=0, description="Deadline of one request; of a streamed answer, of each of its events."
    )
    swap: Swap = Field(
        "load-beside",
        description="How a new version takes the old one's place. load-beside: no request waits, and both are in "
        "memory for a moment; unload-first: the old one goes first, and until the new one is loaded the answer is 503.",
    )


class StreamServe(Serve):
    """How an endpoint answers whose kind streams; a kind's spec class puts it in the place of ``Serve``."""

    max_streams: Annotated[int, Unit("streams")] = Field(
        16, ge=1, description="Most inputs that are answered at the same time; more requests are answered 429."
    )


class StepResource(Block):
    """What one step gets."""

    cpus: Annotated[float | None, Unit("cores")] = Field(
        None, gt=0, description="CPU cores that the step's pod asks for."
    )
    memory: Annotated[str | None, Unit("bytes")] = Field(
        None, pattern=r"^\d+(\.\d+)?(Ki|Mi|Gi|Ti)?$", description="Memory limit of the step's pod, such as 4Gi."
    )


class TrialResource(StepResource):
    """What a computation gets that may run on GPUs."""

    cpus: Annotated[float | None, Unit("cores")] = Field(
        None, gt=0, description="CPU cores of each; default: all that are there, shared."
    )
    gpus: Annotated[int, Unit("GPUs")] = Field(0, ge=0, description="GPUs of each.")
    gpu_type: str = Field(
        "nvidia.com/gpu",
        pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-\w.]*[A-Za-z0-9])?$",
        description="Kubernetes resource that the GPUs are asked for as; no effect on a laptop.",
    )


class EvaluateResource(TrialResource):
    """What evaluation gets."""

    cpus: Annotated[float | None, Unit("cores")] = Field(
        None, gt=0, description="CPU cores that the step's pod asks for, and that it computes on."
    )
    gpus: Annotated[int, Unit("GPUs")] = Field(
        0, ge=0, description="GPUs of the step; at least as many as a replica has, for it is timed as it serves."
    )


class Resource(TrialResource):
    """What training gets."""

    workers: Annotated[int, Unit("processes")] = Field(1, ge=1, description="Processes that share the work.")


def check_share(gpus: float) -> float:
    """Return a replica's GPUs unchanged.

    Raises:
        ValueError: more than one, and no whole number.
    """
    if gpus > 1 and gpus != int(gpus):
        raise ValueError(f"must be a whole number, or below 1 for a share of one GPU, got {gpus:g}")
    return gpus


class ReplicaResource(Block):
    """What a replica of the endpoint gets."""

    cpus: Annotated[float | None, Unit("cores")] = Field(
        None, gt=0, description="CPU threads of one forward pass, rounded down; default: an even share of all cores."
    )
    gpus: Annotated[float, Unit("GPUs"), AfterValidator(check_share)] = Field(
        0.0, ge=0, description="GPUs that the model computes on; below 1: a share of one, beside other replicas."
    )


class Resources(Block):
    """What each step and the endpoint get; a step has only the keys that it reads."""

    prepare: StepResource = Field(StepResource(), description="Data preparation.")
    tune: TrialResource = Field(TrialResource(), description="Each trial of the search.")
    train: Resource = Field(Resource(), description="Training: each worker.")
    evaluate: EvaluateResource = Field(EvaluateResource(), description="Evaluation.")
    serve: ReplicaResource = Field(ReplicaResource(), description="Each replica.")


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
