"""The command line as a user meets it: what it prints, where, and how it leaves."""

from __future__ import annotations

import errno
import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest
import typer
from typer.main import get_command

from launchyard import __version__
from launchyard.cli.main import build_app, main
from launchyard.errors import GateRefused, LaunchyardError, RunError, SpecError
from spec_samples import write_spec


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str


class Call(Protocol):
    """Run the command with these words; ``build`` stands in for the real command line."""

    def __call__(self, *words: str, build: Callable[[], typer.Typer] = build_app) -> Outcome: ...


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    def call_main(*words: str, build: Callable[[], typer.Typer] = build_app) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["launchyard", *words])
        with pytest.raises(SystemExit) as caught:
            main(build)
        return Outcome(int(caught.value.code or 0), *capsys.readouterr())

    return call_main


def iter_commands(command: Any, path: tuple[str, ...] = ()) -> list[tuple[str, Any]]:
    """Return every command that does something, with the words that call it."""
    inner = getattr(command, "commands", None)
    if inner is None:
        return [(" ".join(path), command)]
    return [found for name, below in inner.items() for found in iter_commands(below, (*path, name))]


COMMANDS = iter_commands(get_command(build_app()))


@pytest.mark.parametrize(("name", "command"), COMMANDS, ids=[name for name, _ in COMMANDS])
def test_every_command_says_what_it_does_and_shows_an_example(name: str, command: Any) -> None:
    assert command.help, "give the function a docstring"
    assert f"launchyard {name}" in (command.epilog or ""), "give the command an epilog with an example"


@pytest.mark.parametrize(("name", "command"), COMMANDS, ids=[name for name, _ in COMMANDS])
def test_every_option_is_explained(name: str, command: Any) -> None:
    assert [parameter.name for parameter in command.params if not getattr(parameter, "help", "")] == []


def test_version_is_that_of_the_package(call: Call) -> None:
    assert call("--version") == Outcome(0, f"launchyard {__version__}\n", "")


def test_a_mistyped_command_names_the_nearest(call: Call) -> None:
    result = call("validat")

    assert (result.code, result.out) == (2, "")
    assert "No such command 'validat'. Did you mean 'validate'?" in result.err


def test_a_mistyped_option_lists_what_is_near(call: Call) -> None:
    result = call("validate", "product.yaml", "--jsn")

    assert result.code == 2
    assert "No such option: --jsn (Possible options: --json" in result.err


def test_validate_says_what_the_product_will_do(call: Call, tmp_path: Path) -> None:
    path = write_spec(
        tmp_path,
        data={"source": {"train": "a.csv#sha256=" + "0" * 64, "test": "b.csv"}},
        tune={"trials": 3, "parameters": {"train.epochs": {"values": [1, 2]}}},
        evaluate={"gates": {"f1_macro": ">= 0.7"}, "beat_baseline": None},
        serve={"replicas": {"max": 4}},
    )

    result = call("validate", str(path), "--set", "train.epochs=7")

    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines() == [
        f"{path} is right: reviews, a product of kind text-classification.",
        "  data    train: a.csv, test: b.csv",
        "          train / validation / test: 80% / 10% / 10%",
        "  model   minilm",
        "  train   7 epochs, batch 32, learning rate 5e-05, after a search over train.epochs",
        "  gates   f1_macro >= 0.7, better than always answering what is commonest, "
        "accuracy at least the champion's - 0.005",
        "  serve   POST /reviews/predict, replicas: 1 to 4",
        f"  next    launchyard run {path}",
    ]


def test_validate_leaves_with_2_and_shows_every_problem_on_stderr(call: Call, tmp_path: Path) -> None:
    path = write_spec(tmp_path, train={"epochs": 0, "batch": 1})

    assert call("validate", str(path)) == Outcome(
        2,
        "",
        f"{path}: train.epochs: must be at least 1, got 0.\n"
        f"{path}: train.batch: is not a key of the spec. Did you mean 'train.batch_size'?\n",
    )


def test_validate_json_is_one_document_for_success_and_failure_alike(call: Call, tmp_path: Path) -> None:
    path = str(write_spec(tmp_path))

    right, wrong = call("validate", path, "--json"), call("validate", path, "--json", "--set", "train.epochs=0")

    assert (right.code, wrong.code) == (0, 2)
    document = json.loads(right.out)
    assert re.fullmatch(r"[0-9a-f]{64}", document.pop("sha256"))
    assert document == {"valid": True, "product": "reviews", "kind": "text-classification", "errors": []}
    assert json.loads(wrong.out) == {"valid": False, "errors": ["--set train.epochs=0: must be at least 1, got 0."]}


def test_init_writes_a_product_that_validates_and_says_what_to_type_next(call: Call, tmp_path: Path) -> None:
    folder = str(tmp_path / "my reviews")

    result = call("init", "text-classification", folder)

    assert (result.code, result.err) == (0, "")
    assert f"next     launchyard validate '{folder}/product.yaml'" in result.out
    assert call("validate", folder).code == 0


def test_init_of_an_unknown_kind_writes_nothing(call: Call, tmp_path: Path) -> None:
    result = call("init", "text-clasification", str(tmp_path / "reviews"))

    assert result.code == 2
    assert "Did you mean 'text-classification'?" in result.err
    assert list(tmp_path.iterdir()) == []


def test_init_in_a_folder_that_cannot_be_made_is_one_line(call: Call) -> None:
    result = call("init", "text-classification", "/proc/reviews")

    assert (result.code, result.out) == (1, "")
    assert result.err.startswith("/proc/reviews: ")
    assert len(result.err.splitlines()) == 1


def test_kinds_lists_each_kind_with_what_it_is_for(call: Call) -> None:
    assert "text-classification      One label per text" in call("kinds").out


def test_kinds_shows_the_guide_of_a_kind_without_links_that_lead_nowhere(call: Call) -> None:
    shown = call("kinds", "text-classification").out

    assert shown.startswith("# A text classifier")
    assert "Training and tuning holds for it" in shown
    assert "](" not in shown


def test_schema_prints_the_committed_schema(call: Call) -> None:
    committed = Path(__file__).resolve().parents[2] / "docs" / "product.schema.json"

    assert call("schema").out == committed.read_text(encoding="utf-8")


def failing_with(error: BaseException) -> Callable[[], typer.Typer]:
    """Return what builds a command line whose only command raises."""

    def build() -> typer.Typer:
        app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)

        @app.command()
        def fail() -> None:
            raise error

        return app

    return build


@pytest.mark.parametrize(
    ("error", "code"), [(SpecError("a: is wrong."), 2), (GateRefused("accuracy: too low."), 3), (RunError("no."), 1)]
)
def test_each_foreseen_error_is_its_message_and_its_exit_code(call: Call, error: LaunchyardError, code: int) -> None:
    assert call(build=failing_with(error)) == Outcome(code, "", f"{error}\n")


def test_a_full_disk_is_told_with_its_path(call: Call) -> None:
    error = OSError(errno.ENOSPC, "No space left on device", "/data/bundle")

    assert call(build=failing_with(error)) == Outcome(1, "", "/data/bundle: No space left on device.\n")


def test_a_bug_says_so_without_a_traceback(call: Call) -> None:
    result = call(build=failing_with(KeyError("weights")))

    assert (result.code, result.out) == (1, "")
    assert result.err.startswith("launchyard: unexpected error: KeyError: 'weights'\nThis is a bug in Launchyard.")
    assert "Traceback" not in result.err


def test_a_bug_shows_its_traceback_on_request(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAUNCHYARD_DEBUG", "1")

    result = call(build=failing_with(KeyError("weights")))

    assert "Traceback (most recent call last)" in result.err


def test_a_wrong_setting_does_not_hide_a_bug(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAUNCHYARD_PORT", "many")

    result = call(build=failing_with(KeyError("weights")))

    assert "unexpected error: KeyError: 'weights'" in result.err


def test_ctrl_c_leaves_with_130_and_no_traceback(call: Call) -> None:
    assert call(build=failing_with(KeyboardInterrupt())) == Outcome(128 + signal.SIGINT, "", "")


def test_ctrl_c_before_any_command_runs_leaves_with_130_too(call: Call) -> None:
    def build() -> typer.Typer:
        raise KeyboardInterrupt

    assert call(build=build) == Outcome(128 + signal.SIGINT, "", "")


def test_a_reader_that_leaves_early_is_no_error() -> None:
    program = "from launchyard.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", program, "schema"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.close()

    process.stdout = None
    _, shown = process.communicate(timeout=60)

    assert shown == ""
    assert process.returncode in (0, 1)
