"""The update rule and the course of its learning rate."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from transformers import get_cosine_schedule_with_warmup, get_linear_schedule_with_warmup

from launchyard.spec.blocks import GradientTrain
from launchyard.training.optimizer import build_optimizer, learning_rate_at, set_learning_rate


@pytest.mark.parametrize(
    ("scheduler", "reference"),
    [("linear", get_linear_schedule_with_warmup), ("cosine", get_cosine_schedule_with_warmup)],
)
def test_schedules_equal_those_of_transformers(scheduler: str, reference: object) -> None:
    train = GradientTrain.model_validate({"scheduler": scheduler, "learning_rate": 0.5, "warmup": 0.25})
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.5)
    expected = reference(optimizer, 5, 20)  # type: ignore[operator]

    for step in range(20):
        assert learning_rate_at(train, step, 20) == pytest.approx(expected.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        expected.step()


def test_exponential_ends_at_a_hundredth_of_the_peak() -> None:
    train = GradientTrain(scheduler="exponential", learning_rate=1.0, warmup=0)

    rates = [learning_rate_at(train, step, 100) for step in range(101)]

    assert rates[0] == 1.0
    assert rates[100] == pytest.approx(0.01)
    assert rates[51] / rates[50] == pytest.approx(rates[2] / rates[1])


def test_constant_stays_at_the_peak_after_warm_up() -> None:
    train = GradientTrain(scheduler="constant", learning_rate=1.0, warmup=4)

    assert [learning_rate_at(train, step, 8) for step in range(8)] == [0, 0.25, 0.5, 0.75, 1, 1, 1, 1]


SCHEDULERS = ("constant", "linear", "cosine", "exponential")


@given(
    scheduler=st.sampled_from(SCHEDULERS),
    warmup=st.floats(0, 1) | st.integers(1, 10_000),
    num_steps=st.integers(1, 300),
)
def test_every_training_reaches_its_peak_rate_and_has_one_step_at_0_at_most(
    scheduler: str, warmup: float, num_steps: int
) -> None:
    train = GradientTrain.model_validate({"scheduler": scheduler, "learning_rate": 0.5, "warmup": warmup})

    rates = [learning_rate_at(train, step, num_steps) for step in range(num_steps)]

    assert max(rates) == 0.5
    assert sum(rate <= 0 for rate in rates) <= 1
    assert min(rates) >= 0


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("warmup", [0, 0.06, 0.99, 1, 500])
def test_a_training_of_one_step_changes_the_weights(scheduler: str, warmup: float) -> None:
    train = GradientTrain.model_validate({"scheduler": scheduler, "warmup": warmup, "weight_decay": 0.0})
    model = nn.Linear(2, 1)
    before = model.weight.detach().clone()
    optimizer = build_optimizer(train, model)
    model(torch.ones(1, 2)).sum().backward()

    set_learning_rate(optimizer, learning_rate_at(train, 0, 1))
    optimizer.step()

    assert (model.weight != before).all()


def test_vectors_do_not_decay() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3))

    optimizer = build_optimizer(GradientTrain(weight_decay=0.1), model)

    decayed = [p.ndim for group in optimizer.param_groups if group["weight_decay"] == 0.1 for p in group["params"]]
    kept = [p.ndim for group in optimizer.param_groups if group["weight_decay"] == 0 for p in group["params"]]
    assert (decayed, kept) == ([2], [1, 1, 1])


def test_frozen_weights_are_not_updated() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[0].requires_grad_(False)

    optimizer = build_optimizer(GradientTrain(), model)

    assert sum(len(group["params"]) for group in optimizer.param_groups) == 2


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("adamw", torch.optim.AdamW),
        ("adam", torch.optim.Adam),
        ("rmsprop", torch.optim.RMSprop),
        ("sgd", torch.optim.SGD),
    ],
)
def test_each_optimizer_is_the_one_that_was_asked_for(name: str, expected: type[torch.optim.Optimizer]) -> None:
    optimizer = build_optimizer(GradientTrain.model_validate({"optimizer": name, "momentum": 0.8}), nn.Linear(2, 2))

    assert type(optimizer) is expected
    assert optimizer.param_groups[0].get("momentum", 0.8) == 0.8
