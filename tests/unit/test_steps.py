"""What the steps of the pipeline do around the parts they call, with stand-ins for KFP's artifacts."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from bundle_samples import PRODUCT, make_evaluation, write_bundle
from launchyard.bundle.manifest import open_bundle, read_spec
from launchyard.bundle.store import BundleStore
from launchyard.data.manifest import SPLITS
from launchyard.errors import RunError, SourceError, SpecError, TrainError
from launchyard.evaluation.figures import Caption, ConfusionMatrixFigure, HeatmapFigure
from launchyard.evaluation.results import TrialResult, TuneRecord
from launchyard.kinds.text_classification import KIND
from launchyard.kinds.text_classification.spec import TextClassification
from launchyard.records.records import Records
from launchyard.rollout.change import release
from launchyard.settings import Settings
from launchyard.spec.blocks import Tune
from launchyard.spec.load import dump_spec, spec_sha256
from launchyard.training.context import TrainJob
from launchyard.training.search import spell_out
from launchyard_pipelines.ray_train.tune import TrialContext, search
from launchyard_pipelines.run_events import EventReader
from launchyard_pipelines.steps.evaluate import EvaluateOutputs, evaluate, show_in_kfp
from launchyard_pipelines.steps.finish import finish, remove_abandoned, remove_old_runs
from launchyard_pipelines.steps.prepare import prepare
from launchyard_pipelines.steps.reference import SpecReference, fetch_base, write_whole_numbers
from launchyard_pipelines.steps.register import check_champion_unchanged
from launchyard_pipelines.steps.train import apply_search, find_storage, name_inputs
from tiny_base import write_base
from tiny_candidate import make_spec
from web_server import Page, WebServer, serve_web

DAY_S = 86_400


@dataclass
class File:
    """An artifact."""

    path: str


@dataclass
class Metrics(File):
    """Stands in for KFP's metrics."""

    logged: dict[str, float] = field(default_factory=dict)

    def log_metric(self, metric: str, value: float) -> None:
        self.logged[metric] = value


@dataclass
class Confusion(File):
    """Stands in for KFP's classification metrics."""

    categories: list[str] = field(default_factory=list)
    matrix: list[list[int]] = field(default_factory=list)

    def log_confusion_matrix(self, categories: list[str], matrix: list[list[int]]) -> None:
        self.categories, self.matrix = categories, matrix


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings that a step started now would load."""
    home, run_dir = tmp_path / "home", tmp_path / "run"
    run_dir.mkdir()
    monkeypatch.setenv("LAUNCHYARD_HOME", str(home))
    monkeypatch.setenv("LAUNCHYARD_RUN_DIR", str(run_dir))
    return Settings(home=home, run_dir=run_dir)


@pytest.fixture
def web() -> Iterator[WebServer]:
    with serve_web() as site:
        yield site


def test_a_changed_base_model_is_not_trained_on_from_old_checkpoints(tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    settings, spec = Settings(home=tmp_path / "home"), make_spec(model={"base": str(base)})
    named = []
    for weights in ("one", "two", "two"):
        (base / "weights").write_text(weights)
        named.append(name_inputs("rows", fetch_base(spec, settings, lambda *_: None)))

    assert named[0] != named[1]
    assert named[1] == named[2]
    assert find_storage(settings, spec, named[0], "code") != find_storage(settings, spec, named[1], "code")


def refer_to(folder: Path, *overrides: str, **blocks: object) -> SpecReference:
    """Write a spec as a run takes it along and return the reference that a step is given."""
    text = dump_spec(make_spec(**blocks))
    (folder / "spec.json").write_text(text)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return SpecReference(str(folder / "spec.json"), digest, overrides, code_version="1")


def test_the_end_of_a_run_is_posted_to_the_webhook(
    settings: Settings, web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    web.pages["/hook"] = Page(b"thanks")
    monkeypatch.setenv("LAUNCHYARD_WEBHOOK_URL", f"{web.url}/hook")

    finish("reviews", "FAILED", "train: no")

    assert [json.loads(body) for body in web.bodies] == [
        {"product": "reviews", "namespace": "default", "state": "FAILED", "error": "train: no"}
    ]


def test_a_webhook_that_refuses_is_told_and_does_not_fail_the_run(
    settings: Settings, web: WebServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LAUNCHYARD_WEBHOOK_URL", f"{web.url}/services/T0/secret")

    finish("reviews", "SUCCEEDED", "")

    told = capsys.readouterr().out
    assert f"{web.url}: the notification was not delivered: 404" in told
    assert "/services/T0/secret" not in told


def test_a_webhook_that_nobody_answers_does_not_fail_the_run(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv("LAUNCHYARD_WEBHOOK_URL", f"http://127.0.0.1:{port}/services/T0/secret")

    finish("reviews", "SUCCEEDED", "")

    told = capsys.readouterr().out
    assert f"http://127.0.0.1:{port}: the notification was not delivered: ConnectionError" in told
    assert "secret" not in told


def test_old_runs_lose_their_artifacts_and_keep_their_records(tmp_path: Path) -> None:
    for day in range(1, 5):
        run_dir = tmp_path / f"2026010{day}-120000-abcd"
        (run_dir / "artifacts" / "train").mkdir(parents=True)
        (run_dir / "run.json").write_text("{}")

    remove_old_runs(tmp_path, keep=3)

    assert [(path / "artifacts").is_dir() for path in sorted(tmp_path.iterdir())] == [False, True, True, True]
    assert len(list(tmp_path.glob("*/run.json"))) == 4


def write_training(training_dir: Path, name: str, *, days_old: float) -> Path:
    """Write an interrupted training whose newest checkpoint is so old."""
    checkpoint = training_dir / name / "run" / "checkpoint-1"
    checkpoint.mkdir(parents=True)
    (checkpoint / "state.pt").write_bytes(b"weights")
    changed_s = time.time() - days_old * DAY_S
    for folder in (checkpoint, checkpoint.parent, training_dir / name):
        os.utime(folder, (changed_s, changed_s))
    return training_dir / name


def test_only_trainings_that_nobody_continued_for_long_are_removed(settings: Settings) -> None:
    training_dir = settings.training_dir("reviews")
    forgotten = write_training(training_dir, "forgotten", days_old=8)
    interrupted = write_training(training_dir, "interrupted", days_old=6)
    goes_on = write_training(training_dir, "goes-on", days_old=30)
    (goes_on / "run" / "checkpoint-2").mkdir()

    finish("reviews", "FAILED", "another configuration failed")

    assert (forgotten.exists(), interrupted.is_dir(), goes_on.is_dir()) == (False, True, True)


def test_a_product_that_was_never_trained_has_nothing_to_remove(tmp_path: Path) -> None:
    remove_abandoned(tmp_path / "absent", older_than_s=0)

    assert list(tmp_path.iterdir()) == []


def test_kfp_is_shown_test_metrics_confusion_matrix_and_report(tmp_path: Path) -> None:
    caption, labels = Caption(en="Confusion", zh="混淆"), ("bad", "good")
    figure = ConfusionMatrixFigure(
        name="confusion", title=caption, help=caption, labels=labels, counts=((8, 2), (1, 9))
    )
    square = HeatmapFigure(
        name="likeness",
        title=caption,
        help=caption,
        x_label=caption,
        y_label=caption,
        columns=labels,
        rows=labels,
        values=((1.0, 0.5), (0.5, 1.0)),
    )
    evaluation = make_evaluation(0.85).model_copy(update={"figures": (figure, square)})
    (tmp_path / "report.html").write_text("<p>may ship</p>")
    metrics, confusion = Metrics(""), Confusion("")
    outputs = EvaluateOutputs(File(""), metrics, confusion, File(str(tmp_path / "shown.html")))

    show_in_kfp(evaluation, tmp_path / "report.html", outputs)

    assert metrics.logged == {"accuracy": 0.85}
    assert (confusion.categories, confusion.matrix) == (["bad", "good"], [[8, 2], [1, 9]])
    assert (tmp_path / "shown.html").read_text() == "<p>may ship</p>"


def test_a_model_that_was_compared_with_another_champion_is_not_registered(settings: Settings, tmp_path: Path) -> None:
    records = Records(settings)
    bundle = write_bundle(tmp_path / "bundle")
    version = records.add_version(open_bundle(bundle), BundleStore(settings).add(bundle)).version
    compared_with_none = make_evaluation(0.9)

    check_champion_unchanged(compared_with_none, records, PRODUCT)
    release(settings, PRODUCT, version, actor="ann")
    check_champion_unchanged(compared_with_none.model_copy(update={"champion_version": version}), records, PRODUCT)

    with pytest.raises(RunError, match=r"version 1 serves now, .* compared with version none\. .*--from evaluate"):
        check_champion_unchanged(compared_with_none, records, PRODUCT)


@pytest.mark.parametrize(
    ("override", "written"),
    [
        ("train.epochs=3.0", "train.epochs=3"),
        ("train.seed=-2.0", "train.seed=-2"),
        ("train.learning_rate=0.5", "train.learning_rate=0.5"),
        ("train.learning_rate=5e-05", "train.learning_rate=5e-05"),
        ("train.optimizer=adamw", "train.optimizer=adamw"),
        ("train.length_grouped=True", "train.length_grouped=True"),
    ],
)
def test_whole_numbers_are_written_as_such(override: str, written: str) -> None:
    assert write_whole_numbers(override) == written


def test_a_step_reads_its_spec_with_the_values_that_a_person_changed(tmp_path: Path, settings: Settings) -> None:
    spec = refer_to(tmp_path, "train.epochs=7.0").load()

    assert isinstance(spec, TextClassification)
    assert (spec.product, spec.train.epochs) == ("tiny-reviews", 7)


def test_a_spec_that_changed_since_the_run_started_is_refused(tmp_path: Path, settings: Settings) -> None:
    reference = refer_to(tmp_path)
    (tmp_path / "spec.json").write_text(dump_spec(make_spec(train={"epochs": 9})))

    with pytest.raises(SourceError, match=f"not the pinned content: expected sha256 {reference.sha256}"):
        reference.load()


def test_a_value_that_does_not_fit_the_spec_is_refused(tmp_path: Path, settings: Settings) -> None:
    with pytest.raises(SpecError, match=r"train\.epochs"):
        refer_to(tmp_path, "train.epochs=2.5").load()


def test_only_the_very_same_training_is_continued(settings: Settings) -> None:
    storage = find_storage(settings, make_spec(), "rows", "code")

    assert storage.parent == settings.training_dir("tiny-reviews")
    assert find_storage(settings, make_spec(), "rows", "code") == storage
    assert find_storage(settings, make_spec(), "rows", "new code") != storage
    assert find_storage(settings, make_spec(), "new rows", "code") != storage
    assert find_storage(settings, make_spec(train={"epochs": 9}), "rows", "code") != storage


def test_training_takes_the_values_of_the_best_trial(tmp_path: Path) -> None:
    tune = {"trials": 1, "parameters": {"train.learning_rate": {"min": 1e-5, "max": 1e-3}}}
    trial = TrialResult(
        number=1, parameters={"train.learning_rate": 2e-4}, metric=0.9, epochs=4, status="completed", seconds=1
    )
    record = TuneRecord(metric="accuracy", mode="max", best=trial.parameters, best_metric=0.9, trials=(trial,))
    (tmp_path / "tune.json").write_text(record.model_dump_json())
    spec = make_spec(tune=tune)

    assert apply_search(spec, None) == spec
    assert apply_search(spec, File(str(tmp_path / "tune.json"))).train.learning_rate == 2e-4


def test_a_trial_counts_as_good_as_the_weights_that_training_keeps(tmp_path: Path) -> None:
    search = {"trials": 1, "parameters": {"train.learning_rate": {"min": 1e-5, "max": 1e-3}}}
    tune = spell_out(Tune.model_validate(search), KIND)
    context = TrialContext(tune, 1, "cpu", tmp_path, epochs=3, evaluations_per_epoch=1)

    # Kept by f1_macro: the second evaluation, though the third has more accuracy.
    for step, best_step, accuracy in ((7, 7, 0.5), (14, 14, 0.7), (21, 14, 0.9)):
        context.keep({"accuracy": accuracy, "step": step, "best_step": best_step})

    assert (context.kept, context.evaluations) == (0.7, 3)


def test_the_bundle_and_the_report_of_a_tuned_model_tell_what_was_trained(
    tmp_path: Path, settings: Settings, tiny_dataset: Path, tiny_candidate: Path
) -> None:
    shutil.copytree(tiny_candidate, tmp_path / "candidate")
    found = {"train.learning_rate": 0.00234, "model.base": str(write_base(tmp_path / "other"))}
    trial = TrialResult(number=1, parameters=found, metric=0.9, epochs=4, status="completed", seconds=1)
    record = TuneRecord(metric="accuracy", mode="max", best=found, best_metric=0.9, trials=(trial,))
    (tmp_path / "candidate/tune.json").write_text(record.model_dump_json())
    (tmp_path / "base").mkdir()
    tune = {"trials": 1, "parameters": {"train.learning_rate": {"min": 1e-5, "max": 1e-2}}}
    reference = refer_to(
        tmp_path, model={"base": str(tmp_path / "base"), "max_length": 32}, tune=tune, serve={"runtime": "torch"}
    )
    bundle = tmp_path / "bundle"
    outputs = EvaluateOutputs(File(str(bundle)), Metrics(""), Confusion(""), File(str(tmp_path / "shown.html")))

    evaluate(reference, "run-1", File(str(tiny_dataset)), File(str(tmp_path / "candidate")), outputs)

    spec, manifest = read_spec(bundle), open_bundle(bundle)
    assert isinstance(spec, TextClassification)
    assert (spec.train.learning_rate, spec.model.base_uri, spec.tune) == (0.00234, str(tmp_path / "other"), None)
    assert manifest.spec_sha256 == spec_sha256(spec)
    assert manifest.base_model is not None
    assert manifest.base_model.uri.endswith("/other")
    assert "train.learning_rate = 0.00234" in (bundle / "report.html").read_text(encoding="utf-8")


def test_gpus_for_trials_that_are_not_there_are_refused_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    tune = {"trials": 4, "concurrent": 2, "parameters": {"train.learning_rate": {"min": 1e-5, "max": 1e-3}}}
    job = TrainJob(
        spec=make_spec(tune=tune, resources={"tune": {"gpus": 1}}),
        dataset_dir=tmp_path,
        base_dir=tmp_path,
        output_dir=tmp_path / "output",
    )

    with pytest.raises(TrainError, match=r"resources\.tune\.gpus: 2 asked for .*2 at the same time.* 1 found"):
        search(job, bases={}, storage_dir=tmp_path / "search", on_trial=lambda _: None)

    assert list(tmp_path.iterdir()) == []


def write_rows(dataset_dir: Path) -> bytes:
    """Return the rows of a prepared data set as a table that could have been its source."""
    rows = [row for split in SPLITS for row in pq.read_table(dataset_dir / f"{split}.parquet").to_pylist()]
    return "".join(json.dumps({"text": row["text"], "label": row["label"]}) + "\n" for row in rows).encode()


def list_messages(settings: Settings) -> list[str]:
    assert settings.run_dir is not None
    return [event.message for event in EventReader(settings.run_dir).read_new() if event.type == "progress"]


def test_preparing_tells_how_many_rows_it_has_read(tmp_path: Path, settings: Settings, tiny_dataset: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(write_rows(tiny_dataset))
    reference = refer_to(tmp_path, data={"source": str(tmp_path / "rows.jsonl")}, evaluate={"gates": {}})

    fingerprint = prepare(reference, File(str(tmp_path / "dataset")))

    assert len(fingerprint) == 64
    assert list_messages(settings) == ["520 rows read"]


def test_preparing_tells_how_much_of_a_download_has_come(
    tmp_path: Path, settings: Settings, tiny_dataset: Path, web: WebServer
) -> None:
    rows = write_rows(tiny_dataset)
    web.pages["/rows.jsonl"] = Page(rows)
    reference = refer_to(tmp_path, data={"source": f"{web.url}/rows.jsonl"}, evaluate={"gates": {}})

    prepare(reference, File(str(tmp_path / "dataset")))

    size = f"{len(rows) / 1000:.1f} kB"
    assert f"{size} of {size} fetched" in list_messages(settings)
