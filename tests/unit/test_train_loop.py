"""The training loop: exact resume, exact data parallelism, early stopping, best weights, curves."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

import tiny_task
from launchyard.contract.evaluation import Better
from launchyard.errors import TrainError
from launchyard.spec.blocks import GradientTrain, ScalableTrain
from launchyard.testing import LocalContext
from launchyard.training.loader import count_loaders
from launchyard.training.loop import TrainingLoop
from launchyard.training.precision import choose_precision
from launchyard.training.recorder import MAX_CURVE_POINTS
from tiny_task import TinyTask, train_worker

Weights = Mapping[str, torch.Tensor]


def make_train(**values: Any) -> GradientTrain:
    return GradientTrain.model_validate(
        {"epochs": 4, "batch_size": 16, "learning_rate": 0.01, "precision": "fp32", "early_stopping": None} | values
    )


def run(
    folder: Path, train: GradientTrain, task: TinyTask | None = None, *, better: Better = "max", **context: Any
) -> TrainingLoop:
    folder.mkdir(exist_ok=True, parents=True)
    loop = TrainingLoop(LocalContext(folder, **context), train, task or TinyTask(), better=better)
    loop.run(folder / "events")
    return loop


def largest_difference(one: Weights, other: Weights) -> float:
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)


class Killed(Exception):  # noqa: N818 - no fault of the code
    """Stands for the end of a process."""


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "rmsprop", "sgd"])
def test_a_resumed_training_equals_an_uninterrupted_one(tmp_path: Path, optimizer: str) -> None:
    train = make_train(optimizer=optimizer, evaluations_per_epoch=2, max_grad_norm=0.5)
    whole = run(tmp_path / "whole", train, TinyTask(dropout=0.3))

    def kill_at_step_10(metrics: Mapping[str, float]) -> None:
        if metrics["step"] == 10:
            raise Killed

    with pytest.raises(Killed):
        run(tmp_path / "killed", train, TinyTask(dropout=0.3), on_report=kill_at_step_10)
    resumed = run(tmp_path / "killed", train, TinyTask(dropout=0.3))

    assert resumed.history.resumed_from_step == 10
    assert largest_difference(whole.task.model.state_dict(), resumed.task.model.state_dict()) == 0
    assert resumed.history.losses == whole.history.losses
    assert resumed.history.validations == whole.history.validations
    assert resumed.history.num_samples == whole.history.num_samples


def train_together(
    folder: Path, train: GradientTrain, name: str = "tiny", *, last_step: int = -1
) -> list[dict[str, Any]]:
    """Return what two processes ended with that train together; nothing when they end after ``last_step``."""
    (folder / "meeting").unlink(missing_ok=True)
    command = [sys.executable, tiny_task.__file__, str(folder)]
    workers = [
        subprocess.Popen([*command, str(rank), "2", train.model_dump_json(), name, str(last_step)]) for rank in range(2)
    ]
    codes = [worker.wait(timeout=120) for worker in workers]
    assert codes == [0, 0]
    results = [folder / f"result-{rank}.pt" for rank in range(2)]
    return [torch.load(path, weights_only=True) for path in results if path.is_file()]


@pytest.mark.parametrize(("name", "optimizer"), [("tiny", "adamw"), ("deep", "sgd"), ("deep", "rmsprop")])
def test_two_workers_with_divided_weights_train_as_one(tmp_path: Path, name: str, optimizer: str) -> None:
    # Batches of 17 of 101 rows in 9 slices: the workers' slices and validation batches differ in number.
    train = ScalableTrain.model_validate(
        make_train(epochs=2, batch_size=17, gradient_accumulation=9, max_grad_norm=0.5).model_dump()
        | {"sharding": "full", "optimizer": optimizer}
    )
    alone = train_worker(tmp_path, 0, 1, train, name=name)

    results = train_together(tmp_path, train, name)

    assert largest_difference(results[0]["weights"], alone.task.model.state_dict()) < 1e-4
    assert results[0]["metrics"] == pytest.approx(alone.history.best_metrics, abs=1e-4)
    assert results[0]["metrics"]["ordered"] == 1
    np.testing.assert_allclose(results[0]["losses"], alone.history.losses, atol=1e-4)
    assert {type(weight) for weight in results[0]["weights"].values()} == {torch.Tensor}


def test_a_resumed_training_with_divided_weights_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    train = ScalableTrain.model_validate(make_train(epochs=3).model_dump() | {"sharding": "full"})
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()

    uninterrupted = train_together(whole, train, "deep")
    ended = train_together(killed, train, "deep", last_step=7)
    resumed = train_together(killed, train, "deep")

    assert (ended, [result["resumed"] for result in resumed]) == ([], [7, 7])
    assert largest_difference(uninterrupted[0]["weights"], resumed[0]["weights"]) == 0
    assert resumed[0]["losses"] == uninterrupted[0]["losses"]


def test_answers_of_any_length_are_gathered_in_the_order_of_the_rows(tmp_path: Path) -> None:
    train = make_train(epochs=1)

    alone = train_worker(tmp_path, 0, 1, train, name="ragged")
    results = train_together(tmp_path, train, "ragged")

    assert [alone.history.best_metrics["accuracy"], *(result["metrics"]["accuracy"] for result in results)] == [1, 1, 1]


def test_of_a_metric_that_is_an_error_less_is_better(tmp_path: Path) -> None:
    class Erring(TinyTask):
        scores = iter([0.9, 0.4, 0.5, 0.6, 0.1])

        def measure(self, answers: Any) -> dict[str, float]:
            return {"accuracy": next(self.scores), "loss": 1.0}

    loop = run(tmp_path, make_train(epochs=5, early_stopping={"patience": 2}), Erring(), better="min")

    assert (loop.stopped_early, loop.history.step, loop.history.best_step) == (True, 28, 14)
    assert loop.history.best_metrics["accuracy"] == 0.4


def test_batches_are_the_same_however_many_processes_load_them(tmp_path: Path) -> None:
    class Loading(TinyTask):
        def __init__(self) -> None:
            super().__init__(dropout=0.3)
            self.loaded: list[tuple[int, list[int]]] = []

        def load(self, rows_B: NDArray[np.intp]) -> Any:
            return torch.tensor([os.getpid(), *rows_B.tolist()])

        def compute_loss(self, model: nn.Module, batch: Any) -> torch.Tensor:
            process, *rows = batch.tolist()
            self.loaded.append((process, rows))
            return super().compute_loss(model, np.array(rows))

    train = ScalableTrain.model_validate(make_train(epochs=2, evaluations_per_epoch=2).model_dump())
    tasks = {workers: Loading() for workers in (0, 1, 2)}

    def kill_at_step_4(metrics: Mapping[str, float]) -> None:
        if metrics["step"] == 4:
            raise Killed

    for workers, task in tasks.items():
        run(tmp_path / str(workers), train.model_copy(update={"loader_workers": workers}), task)
    ahead, resumed = train.model_copy(update={"loader_workers": 2}), Loading()
    with pytest.raises(Killed):
        run(tmp_path / "killed", ahead, Loading(), on_report=kill_at_step_4)
    run(tmp_path / "killed", ahead, resumed)

    expected = [rows for _, rows in tasks[0].loaded]
    assert [len({process for process, _ in task.loaded} - {os.getpid()}) for task in tasks.values()] == [0, 1, 2]
    assert all([rows for _, rows in task.loaded] == expected for task in tasks.values())
    assert [rows for _, rows in resumed.loaded] == expected[-len(resumed.loaded) :]
    for task in (tasks[1], tasks[2], resumed):
        assert largest_difference(task.model.state_dict(), tasks[0].model.state_dict()) == 0


@pytest.mark.parametrize(
    ("wanted", "device", "num_rows", "expected"),
    [(None, "cpu", 10**6, 0), (None, "cuda:0", 100, 0), (None, "cuda:0", 10**6, 2), (0, "cuda:0", 10**6, 0)],
)
def test_rows_are_loaded_ahead_where_that_pays_off(
    wanted: int | None, device: str, num_rows: int, expected: int
) -> None:
    assert count_loaders(wanted, device=device, num_rows=num_rows, threads=8) == expected


@pytest.mark.parametrize(("slices", "least_passes"), [(1, 2), (3, 3)])
def test_two_workers_train_as_one(tmp_path: Path, slices: int, least_passes: int) -> None:
    # Batches of 17 of 101 rows: odd shares, parts and slices of unlike size, a smaller last batch, class weights.
    train = make_train(epochs=2, batch_size=17, gradient_accumulation=slices, learning_rate=0.05, optimizer="sgd")
    alone = train_worker(tmp_path, 0, 1, train)

    results = train_together(tmp_path, train)

    expected = alone.task.model.state_dict()
    assert largest_difference(results[0]["weights"], results[1]["weights"]) == 0
    assert largest_difference(results[0]["weights"], expected) < 1e-5
    assert results[0]["metrics"] == pytest.approx(alone.history.best_metrics, abs=1e-5)
    assert results[0]["metrics"]["ordered"] == 1
    np.testing.assert_allclose(results[0]["losses"], alone.history.losses, atol=1e-5)
    assert results[0]["num_passes"] > (least_passes - 0.5) * alone.history.step


def test_accumulated_slices_give_the_gradient_of_the_whole_batch(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", make_train())
    sliced = run(tmp_path / "sliced", make_train(gradient_accumulation=5))

    assert largest_difference(whole.task.model.state_dict(), sliced.task.model.state_dict()) < 1e-5


def test_rows_of_like_length_are_computed_together_with_the_gradient_of_the_whole_batch(tmp_path: Path) -> None:
    class EvenTask(TinyTask):
        def __init__(self, lengths_R: NDArray[np.int64]) -> None:
            super().__init__()
            self.train_lengths_R = lengths_R

    train = make_train()
    split, whole = TinyTask(), EvenTask(np.full(tiny_task.NUM_ROWS, 20))
    run(tmp_path / "split", train, split)
    steps = run(tmp_path / "whole", train, whole).history.step

    assert whole.num_passes == steps
    assert split.num_passes > 1.5 * steps
    assert largest_difference(whole.model.state_dict(), split.model.state_dict()) < 1e-5


def test_training_stops_when_validation_no_longer_improves_and_keeps_the_best(tmp_path: Path) -> None:
    class Worsening(TinyTask):
        scores = iter([0.5, 0.8, 0.6, 0.7, 0.9])

        def measure(self, answers_VK: Any) -> dict[str, float]:
            return {"accuracy": next(self.scores), "loss": 1.0}

    weights = []
    task = Worsening()

    loop = run(
        tmp_path,
        make_train(epochs=9, early_stopping={"patience": 2}),
        task,
        on_report=lambda _: weights.append({k: v.clone() for k, v in task.model.state_dict().items()}),
    )

    assert loop.stopped_early
    assert (loop.history.step, loop.history.best_step) == (28, 14)
    assert loop.history.best_metrics["accuracy"] == 0.8
    assert largest_difference(task.model.state_dict(), weights[1]) == 0
    assert largest_difference(task.model.state_dict(), weights[-1]) > 0


def test_each_report_says_which_weights_would_be_kept(tmp_path: Path) -> None:
    class Uneven(TinyTask):
        scores = iter([0.5, 0.8, 0.6])

        def measure(self, answers_VK: Any) -> dict[str, float]:
            return {"accuracy": next(self.scores), "loss": 1.0}

    reported: list[Mapping[str, float]] = []
    run(tmp_path, make_train(epochs=3), Uneven(), on_report=reported.append)

    assert [(metrics["step"], metrics["best_step"]) for metrics in reported] == [(7, 7), (14, 14), (21, 14)]


def test_between_equal_scores_the_lower_loss_is_better(tmp_path: Path) -> None:
    class Plateau(TinyTask):
        losses = iter([1.0, 0.9, 0.95])

        def measure(self, answers_VK: Any) -> dict[str, float]:
            return {"accuracy": 0.97, "loss": next(self.losses)}

    loop = run(tmp_path, make_train(epochs=3), Plateau())

    assert loop.history.best_step == 14


def test_a_gain_below_min_delta_is_no_improvement(tmp_path: Path) -> None:
    class Creeping(TinyTask):
        scores = iter([0.5, 0.501, 0.502])

        def measure(self, answers_VK: Any) -> dict[str, float]:
            return {"accuracy": next(self.scores), "loss": 1.0}

    loop = run(tmp_path, make_train(epochs=9, early_stopping={"patience": 2, "min_delta": 0.01}), Creeping())

    assert (loop.stopped_early, loop.history.best_step) == (True, 7)


def test_a_resumed_training_does_not_forget_its_best_weights(tmp_path: Path) -> None:
    class Falling(TinyTask):
        def __init__(self, *scores: float) -> None:
            super().__init__()
            self.scores = iter(scores)

        def measure(self, answers_VK: Any) -> dict[str, float]:
            return {"accuracy": next(self.scores), "loss": 1.0}

    def kill_at_step_14(metrics: Mapping[str, float]) -> None:
        if metrics["step"] == 14:
            raise Killed

    whole = run(tmp_path / "whole", make_train(epochs=3), Falling(0.9, 0.5, 0.4))
    with pytest.raises(Killed):
        run(tmp_path / "killed", make_train(epochs=3), Falling(0.9, 0.5), on_report=kill_at_step_14)
    resumed = run(tmp_path / "killed", make_train(epochs=3), Falling(0.4))

    assert resumed.history.best_step == 7
    assert largest_difference(whole.task.model.state_dict(), resumed.task.model.state_dict()) == 0


def test_a_diverging_loss_stops_training_and_says_what_to_lower(tmp_path: Path) -> None:
    with pytest.raises(TrainError, match=r"no finite number.*Lower train\.learning_rate \(now 10\)") as caught:
        task = TinyTask()
        task.x[3, 0] = float("inf")
        run(tmp_path, make_train(learning_rate=10), task)

    assert "of 28" in str(caught.value)


def test_gradients_are_clipped(tmp_path: Path) -> None:
    before = TinyTask().model.state_dict()
    train = make_train(
        max_steps=1, optimizer="sgd", momentum=0, learning_rate=1, max_grad_norm=1e-3, warmup=0, weight_decay=0
    )

    after = run(tmp_path, train).task.model.state_dict()

    moved = torch.cat([(after[name] - before[name]).flatten() for name in before]).norm()
    assert moved == pytest.approx(1e-3, rel=0.1)


def test_seeds_change_the_result_and_equal_seeds_repeat_it(tmp_path: Path) -> None:
    one, again, other = (
        run(tmp_path / name, make_train(seed=seed), TinyTask(dropout=0.5)).task.model.state_dict()
        for name, seed in (("one", 1), ("again", 1), ("other", 2))
    )

    assert largest_difference(one, again) == 0
    assert largest_difference(one, other) > 0


def test_progress_is_shown_after_each_step(tmp_path: Path) -> None:
    loop = run(tmp_path, make_train(epochs=2))

    shown = loop.context.shown  # type: ignore[attr-defined]
    assert [progress.step for progress in shown] == list(range(1, 15))
    assert shown[-1].num_steps == 14
    assert shown[-1].epoch == 2
    assert shown[-1].samples_per_second > 0
    assert shown[-1].metrics == loop.history.validations[0][1]


def test_curves_are_short_however_long_the_training(tmp_path: Path) -> None:
    loop = run(tmp_path, make_train(epochs=25, batch_size=4))

    assert loop.history.step == 650
    assert len(loop.history.losses) <= MAX_CURVE_POINTS


def test_tensorboard_shows_a_killed_and_resumed_training_as_one(tmp_path: Path) -> None:
    def kill_at_step_14(metrics: Mapping[str, float]) -> None:
        if metrics["step"] == 14:
            raise Killed

    with pytest.raises(Killed):
        run(tmp_path, make_train(), on_report=kill_at_step_14)
    loop = run(tmp_path, make_train())

    events = EventAccumulator(str(tmp_path / "events")).Reload()
    assert [event.step for event in events.Scalars("train/loss")] == list(range(1, 29))
    assert [event.step for event in events.Scalars("validation/accuracy")] == [7, 14, 21, 28]
    assert events.Scalars("train/loss")[20].value == pytest.approx(loop.history.losses[20][1])


def test_the_last_evaluation_leaves_no_checkpoint_and_of_the_others_the_newest_is_kept(tmp_path: Path) -> None:
    loop = run(tmp_path, make_train(epochs=3))

    assert loop.history.step == 21
    assert [path.name for path in tmp_path.glob("step-*")] == ["step-14"]


def test_precision_is_obeyed_and_auto_follows_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_precision("fp32", "cpu") == "fp32"
    assert choose_precision("bf16", "cpu") == "bf16"

    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    assert choose_precision("auto", "cpu") == "bf16"
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    assert choose_precision("auto", "cpu") == "fp32"


def test_bf16_computes_the_forward_pass_in_bf16(tmp_path: Path) -> None:
    seen = set()

    class Watching(TinyTask):
        def compute_loss(self, model: Any, rows_B: Any) -> torch.Tensor:
            seen.add(model(self.x[rows_B]).dtype)
            return super().compute_loss(model, rows_B)

    loop = run(tmp_path, make_train(precision="bf16", max_steps=2), Watching())

    assert seen == {torch.bfloat16}
    assert {weight.dtype for weight in loop.task.model.state_dict().values()} == {torch.float32}
