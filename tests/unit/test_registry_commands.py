from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bundle_samples import PRODUCT, write_bundle
from launchyard.bundle.manifest import open_bundle
from launchyard.bundle.store import BundleStore
from launchyard.cli.main import build_app
from launchyard.errors import GateRefused, LaunchyardError, RegistryError
from launchyard.records.records import Feedback, Records
from launchyard.settings import Settings


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A home with two versions, nothing released; MLflow counts as not installed."""
    monkeypatch.setenv("LAUNCHYARD_HOME", str(tmp_path / "home"))
    # Python's own way to say that a package is not there.
    monkeypatch.setitem(sys.modules, "mlflow", None)
    settings = Settings(home=tmp_path / "home")
    for weights in ("one", "two"):
        bundle = write_bundle(tmp_path / weights, weights=weights.encode())
        Records(settings).add_version(open_bundle(bundle), BundleStore(settings).add(bundle))
    return settings


def run(*arguments: str) -> str:
    result = CliRunner().invoke(build_app(), arguments, env={"COLUMNS": "200"}, catch_exceptions=False)
    return result.stdout


def read_json(*arguments: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(run(*arguments, "--json"))
    return document


def test_status_of_a_product_says_what_serves_how_good_it_is_and_why(settings: Settings) -> None:
    run("promote", PRODUCT, "1", "--reason", "first launch")

    shown = run("status", PRODUCT)

    assert "version 1 serves since 20" in shown
    for part in (
        "Versions: 1, 2.",
        "accuracy",
        "0.9000",
        "0.8800 to 0.9200",
        "1000",
        ">= 0.80",
        "passed",
        "first launch",
    ):
        assert part in shown


def test_brackets_in_what_people_write_are_shown_as_they_are(settings: Settings) -> None:
    run("promote", PRODUCT, "--reason", "f1[negative] is up")

    assert "f1[negative] is up" in run("status", PRODUCT)
    assert "f1[negative] is up" in run("history", PRODUCT)


def test_status_as_json_is_one_document(settings: Settings) -> None:
    run("promote", PRODUCT)
    said = {"output_id": "a", "product": PRODUCT, "version": 2, "predicted_at": "2026-11-22T00:00:00Z", "label": "x"}
    Records(settings).add_feedback(Feedback.model_validate(said))

    document = read_json("status", PRODUCT)

    assert document["serves"]["version"] == 2
    assert document["serves"]["metrics"]["accuracy"]["n"] == 1000
    assert (document["versions"], document["num_feedback"], document["revision"]) == ([1, 2], 1, 1)
    assert [decision["action"] for decision in document["decisions"]] == ["promote"]
    assert read_json("status")["products"][0]["serves"]["version"] == 2


def test_status_before_any_release_says_how_to_make_one(settings: Settings) -> None:
    assert f"nothing serves. Versions: 1, 2. Next: launchyard promote {PRODUCT}" in run("status", PRODUCT)
    assert "none serves" in run("status")
    assert read_json("status", PRODUCT)["serves"] is None


def test_status_of_an_empty_home_says_where_to_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAUNCHYARD_HOME", str(tmp_path))

    assert "launchyard run PATH" in run("status")
    assert read_json("status") == {"products": []}


def test_promote_takes_the_newest_version_and_rollback_the_one_before(settings: Settings) -> None:
    run("promote", PRODUCT, "1")

    assert "version 2 serves (revision 2)" in run("promote", PRODUCT)
    assert "version 1 serves (revision 3)" in run("rollback", PRODUCT, "--reason", "complaints")

    history = run("history", PRODUCT)
    assert "2 -> 1" in history
    assert "complaints" in history
    assert [found["after"]["version"] for found in read_json("history", PRODUCT)["decisions"]] == [1, 2, 1]


def give_feedback(settings: Settings, output_id: str, **said: Any) -> None:
    known = {"output_id": output_id, "product": PRODUCT, "version": 2}
    Records(settings).add_feedback(Feedback.model_validate(known | said))


def test_feedback_shows_the_newest_answer_first_with_all_that_was_said(settings: Settings) -> None:
    give_feedback(settings, "new", predicted_at="2026-11-22T09:00:00Z", rating=4.5, comment="[bold] but right")
    give_feedback(settings, "old", predicted_at="2026-11-21T09:00:00Z", label="negative")
    give_feedback(settings, "old", predicted_at="2026-11-21T09:00:00Z", comment="too kind")

    shown = run("feedback", PRODUCT)
    document = read_json("feedback", PRODUCT)

    assert shown.index("2026-11-22 09:00 UTC") < shown.index("2026-11-21 09:00 UTC")
    for part in ("4.5", "[bold] but right", "negative", "too kind"):
        assert part in shown
    assert [(said["output_id"], said["label"], said["rating"], said["comment"]) for said in document["feedback"]] == [
        ("new", None, 4.5, "[bold] but right"),
        ("old", "negative", None, "too kind"),
    ]


def test_feedback_that_nobody_gave_says_how_it_arrives(settings: Settings) -> None:
    assert f"POST /{PRODUCT}/feedback" in run("feedback", PRODUCT)
    assert read_json("feedback", PRODUCT) == {"product": PRODUCT, "feedback": []}


def test_rollback_to_a_version(settings: Settings) -> None:
    for version in ("1", "2"):
        run("promote", PRODUCT, version)

    assert "version 1 serves" in run("rollback", PRODUCT, "--to", "1")
    with pytest.raises(RegistryError, match="no earlier version"):
        run("rollback", PRODUCT)


@pytest.mark.parametrize("command", ["status", "promote", "rollback", "history", "feedback"])
def test_an_unknown_product_names_the_nearest(settings: Settings, command: str) -> None:
    with pytest.raises(RegistryError, match=f"Did you mean '{PRODUCT}'"):
        run(command, "review-sentimnt")


def test_promote_refuses_a_version_that_failed_a_gate(settings: Settings, tmp_path: Path) -> None:
    refused = open_bundle(write_bundle(tmp_path / "bad", accuracy=0.6), require_gate=False)
    Records(settings).add_version(refused, "bundles/bad")

    with pytest.raises(GateRefused, match="version 3 may not be released") as caught:
        run("promote", PRODUCT, "3")

    assert caught.value.exit_code == 3
    assert issubclass(GateRefused, LaunchyardError)


@pytest.mark.parametrize("command", ["status", "promote", "rollback", "history", "feedback"])
def test_help_shows_an_example(command: str) -> None:
    assert f"launchyard {command}" in run(command, "--help")


def test_the_commands_start_without_mlflow(settings: Settings) -> None:
    program = (
        "import sys; from launchyard.cli import main; sys.argv[1:] = ['status'];\n"
        "try: main()\nfinally: sys.exit(bool({'mlflow', 'torch', 'ray'} & set(sys.modules)))"
    )

    child = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60, check=False)

    assert child.returncode == 0
    assert PRODUCT in child.stdout.decode()
