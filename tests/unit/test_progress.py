"""What a person sees of a run, and what they are told to type next."""

from __future__ import annotations

import io
from typing import Any

import pytest

from launchyard.cli.console import PlainConsole
from launchyard.evaluation.results import GateResult
from launchyard.kinds.text_classification import KIND
from launchyard_pipelines.local.progress import RunDisplay, build_metrics_table, list_next_commands, print_summary
from launchyard_pipelines.run_events import RunEvent
from launchyard_pipelines.run_record import RunFailure, RunRecord, RunStatus

ARGUMENTS = ["my product/product.yaml", "--set", "train.epochs=150"]


def make_console() -> PlainConsole:
    return PlainConsole(file=io.StringIO(), width=80)


def read(console: PlainConsole) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def make_event(step: str, type_: str, **fields: Any) -> RunEvent:
    return RunEvent.model_validate({"step": step, "type": type_, **fields})


def test_each_step_is_a_line_and_reused_ones_say_so() -> None:
    console = make_console()

    with RunDisplay(console, ["prepare", "train", "evaluate"]) as display:
        display.show(make_event("train", "started"))
        display.show(make_event("train", "progress", message="loss 0.3", data={"done": 1, "total": 2}))
        display.show(make_event("train", "succeeded", seconds=12.34, message="126 steps", data={"warnings": ["slow"]}))

    lines = [line for line in read(console).splitlines() if line]
    assert [line.split()[:2] for line in lines] == [["prepare", "reused"], ["train", "done"], ["note", "slow"]]
    assert "12.3 s  126 steps" in lines[1]


def test_a_finished_trial_stays_on_the_screen() -> None:
    console = make_console()

    with RunDisplay(console, ["tune"]) as display:
        display.show(make_event("tune", "started"))
        display.show(make_event("tune", "progress", message="trial 1", data={"done": 1, "total": 3, "lasting": True}))

    assert "trial 1" in read(console)


def test_of_many_labels_the_worst_ten_and_what_a_gate_names_are_shown() -> None:
    metrics = {"accuracy": 0.9} | {f"{name}[{label}]": label / 27 for name in ("f1", "recall") for label in range(27)}
    gate = GateResult(metric="f1[26]", rule=">= 0.5", value=26 / 27, passed=True)
    record = RunRecord(
        run_id="r",
        product="p",
        metrics={"test": metrics},
        intervals={"test": {name: (value, value) for name, value in metrics.items()}},
        n={"test": dict.fromkeys(metrics, 9)},
        gates=[gate],
    )
    console = make_console()

    console.print(build_metrics_table(record, KIND))

    shown = read(console)
    assert [f"f1[{label}]" for label in range(27) if f"f1[{label}]" in shown] == [
        *map("f1[{}]".format, range(5)),
        "f1[26]",
    ]
    assert "accuracy" in shown
    assert "The 10 worst of 53 metrics of single labels" in " ".join(shown.split())
    assert len(shown.splitlines()) < 25


def test_the_metrics_table_names_labels_and_every_gate() -> None:
    record = RunRecord(
        run_id="r",
        product="p",
        metrics={"test": {"f1[negative]": 0.5}, "validation": {"f1[negative]": 0.6}},
        intervals={"test": {"f1[negative]": (0.4, 0.6)}},
        n={"test": {"f1[negative]": 1000}},
        gates=[
            GateResult(metric="f1[negative]", rule=">= 0.4", value=0.5, passed=True),
            GateResult(metric="latency_p99_ms", rule="<= 5", value=None, passed=False),
        ],
    )
    console = make_console()

    console.print(build_metrics_table(record, KIND))

    text = read(console)
    assert "f1[negative]" in text and "1,000" in text and "0.400-0.600" in text
    assert "pass >= 0.4" in text and "FAIL <= 5" in text


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("failed", "launchyard run 'my product/product.yaml' --set train.epochs=150 --from train"),
        ("cancelled", "launchyard run 'my product/product.yaml' --set train.epochs=150 --from train"),
        ("refused", "then: launchyard run 'my product/product.yaml' --set train.epochs=150"),
    ],
)
def test_the_next_command_can_be_typed_as_it_stands(status: RunStatus, expected: str) -> None:
    record = RunRecord(run_id="r", product="p", status=status, error=RunFailure(step="train", message="why"))

    (command,) = list_next_commands(record, ARGUMENTS, "some text")

    assert command.endswith(expected)


def test_a_model_that_was_not_deployed_can_be_promoted_next() -> None:
    record = RunRecord(run_id="r", product="p", status="succeeded", version=4)

    assert list_next_commands(record, ARGUMENTS, "some text") == ["launchyard promote p 4"]


def test_the_reason_of_a_failure_is_shown_as_it_is() -> None:
    console = make_console()
    failure = RunFailure(step="prepare", message="rows.csv: [line 3] is not UTF-8")

    print_summary(console, RunRecord(run_id="r", product="p", status="failed", error=failure), ARGUMENTS, KIND)

    assert "prepare: rows.csv: [line 3] is not UTF-8" in read(console)


def test_a_released_version_comes_with_an_input_to_try() -> None:
    record = RunRecord(run_id="r", product="p", status="succeeded", version=4, aliases={"champion": 4})

    assert 'launchyard predict p \'{"user": "42"}\'' in list_next_commands(record, ARGUMENTS, '{"user": "42"}')
