"""The block ``train``: how a model learns."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from launchyard.spec.blocks.block import Block, Unit


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
