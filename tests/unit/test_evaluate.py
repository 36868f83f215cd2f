"""A candidate becomes a measured bundle: what is in it, what it is compared with, and what stops it."""

from __future__ import annotations

import json
import math
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import load_file, save_file

from launchyard.bundle.manifest import open_bundle
from launchyard.bundle.self_test import self_test
from launchyard.contract.predictor import Device
from launchyard.data.manifest import load_manifest, read_split
from launchyard.errors import BundleError, DataError
from launchyard.evaluation.champion import Champion
from launchyard.evaluation.results import Evaluation
from launchyard.evaluation.run import EvaluateJob, evaluate_candidate
from launchyard.evaluation.training_rows import TrainedOn, TrainingRows
from launchyard.kinds import get_kind
from launchyard.kinds.text_classification.baseline import answer_baseline
from launchyard.kinds.text_classification.evaluate import TextEvaluator, length_thirds
from launchyard.report import Lineage
from launchyard.settings import Settings
from launchyard_pipelines.steps.evaluate import read_inputs
from small_disk import small_files_only
from tiny_candidate import make_spec, write_dataset


def evaluate(
    folder: Path, dataset_dir: Path, candidate_dir: Path, champion: Champion | None = None, **evaluate_block: object
) -> Evaluation:
    spec = make_spec(serve={"runtime": "torch"}, evaluate={"bootstrap": 200} | evaluate_block)
    job = EvaluateJob(
        spec, dataset_dir, candidate_dir, folder / "bundle", threads=1, batch_threads=1, champion=champion
    )
    return evaluate_candidate(job, lambda *_: None)


@pytest.fixture(scope="module")
def evaluation(tiny_bundle: Path) -> Evaluation:
    return Evaluation.model_validate_json((tiny_bundle / "evaluation.json").read_text(encoding="utf-8"))


def test_a_bundle_holds_everything_that_serving_and_the_report_need(tiny_bundle: Path) -> None:
    manifest = open_bundle(tiny_bundle)

    assert {
        "model/predictor.json",
        "model/tokenizer.json",
        "preprocess.json",
        "training.json",
        "dataset.json",
        "evaluation.json",
        "examples.json",
        "baseline/samples.parquet",
        "baseline/histograms.json",
    } <= manifest.files.keys()


def test_the_bundle_passes_its_own_self_test(tiny_bundle: Path) -> None:
    kind = get_kind("text-classification")

    self_test(kind.load_predictor(tiny_bundle, Device(1)), tiny_bundle, kind.load_compare_function())


def test_splits_are_answered_on_all_cores_and_latency_is_taken_on_those_of_a_replica(
    tmp_path: Path, tiny_dataset: Path, tiny_candidate: Path
) -> None:
    spec = make_spec(serve={"runtime": "torch"}, evaluate={"bootstrap": 200})
    job = EvaluateJob(spec, tiny_dataset, tiny_candidate, tmp_path / "bundle", threads=1, batch_threads=2)
    before = torch.get_num_threads()
    threads: dict[str, int] = {}

    evaluate_candidate(job, lambda _done, _all, message: threads.update({message: torch.get_num_threads()}))
    timed_on = torch.get_num_threads()

    torch.set_num_threads(before)
    assert (threads["measuring"], threads["timing single predictions"], timed_on) == (2, 2, 1)


def test_every_figure_has_an_interval_and_its_number_of_rows(evaluation: Evaluation) -> None:
    test, validation = evaluation.metrics["test"], evaluation.metrics["validation"]

    assert {
        "accuracy",
        "f1_macro",
        "roc_auc",
        "pr_auc",
        "log_loss",
        "calibration_error",
        "latency_p99_ms",
    } <= test.keys()
    assert (test["accuracy"].n, validation["accuracy"].n, test["latency_p50_ms"].n) == (120, 80, 500)
    for measures in (test, validation, evaluation.baseline, evaluation.prior):
        assert all(measure.low <= measure.value <= measure.high for measure in measures.values())
    assert test["accuracy"].low < test["accuracy"].value < test["accuracy"].high


def test_what_was_measured_is_what_the_bundle_answers(
    evaluation: Evaluation, tiny_bundle: Path, tiny_dataset: Path
) -> None:
    predictor = get_kind("text-classification").load_predictor(tiny_bundle, Device(1))
    rows = read_split(tiny_dataset, "test")

    outputs = predictor.predict([predictor.parse(text) for text in rows["text"].to_pylist()])

    right = [output["label"] == label for output, label in zip(outputs, rows["label"].to_pylist(), strict=True)]
    assert evaluation.metrics["test"]["accuracy"].value == pytest.approx(sum(right) / 120)


def test_nothing_that_is_served_is_chosen_on_test_rows(
    tmp_path: Path, tiny_bundle: Path, tiny_dataset: Path, tiny_candidate: Path
) -> None:
    poisoned = tmp_path / "poisoned"
    shutil.copytree(tiny_dataset, poisoned)
    rows = pq.read_table(poisoned / "test.parquet")
    swapped = ["negative" if label == "positive" else "positive" for label in rows["label"].to_pylist()]
    place = rows.column_names.index("label")
    pq.write_table(rows.set_column(place, "label", pa.array(swapped)), poisoned / "test.parquet")
    spec = make_spec(serve={"runtime": "onnx"})
    job = EvaluateJob(
        spec, poisoned, tiny_candidate, tmp_path / "bundle", threads=1, batch_threads=1, max_explain_s=math.inf
    )

    evaluation = evaluate_candidate(job, lambda *_: None)

    bundle = tmp_path / "bundle"
    served = [path.relative_to(bundle) for path in bundle.rglob("*") if path.is_file()]
    changed = [str(name) for name in served if (bundle / name).read_bytes() != (tiny_bundle / name).read_bytes()]
    assert len(served) > 8
    assert changed == ["evaluation.json"]
    told = Evaluation.model_validate_json((tiny_bundle / "evaluation.json").read_text(encoding="utf-8"))
    assert evaluation.abstention is not None and told.abstention is not None
    assert evaluation.abstention.threshold == told.abstention.threshold
    assert evaluation.metrics["test"]["accuracy"].value == pytest.approx(1 - told.metrics["test"]["accuracy"].value)
    assert evaluation.metrics["validation"]["accuracy"] == told.metrics["validation"]["accuracy"]


def test_slices_cover_every_row(evaluation: Evaluation) -> None:
    rows: dict[str, int] = {}
    for found in evaluation.slices:
        rows[found.slice] = rows.get(found.slice, 0) + found.metrics["accuracy"].n

    assert rows == {"label": 120, "text length": 120, "country": 120}


def test_the_runtimes_that_were_tried_are_recorded(evaluation: Evaluation) -> None:
    assert [runtime.name for runtime in evaluation.runtimes] == ["torch", "onnx"]
    assert [runtime.name for runtime in evaluation.runtimes if runtime.chosen] == ["onnx"]
    assert all(runtime.reason and runtime.p50_ms and runtime.size_bytes for runtime in evaluation.runtimes)


def test_figures_hold_the_confusion_matrix_and_the_rows_to_look_at(evaluation: Evaluation) -> None:
    figures = {figure.name: figure for figure in evaluation.figures}

    assert set(figures) == {
        "confusion",
        "f1_per_label",
        "precision_recall",
        "reliability",
        "confidence",
        "worst",
        "unsure",
        "explanations",
    }
    confusion, worst = figures["confusion"], figures["worst"]
    assert confusion.type == "confusion_matrix"
    assert worst.type == "table"
    assert sum(map(sum, confusion.counts)) == 120
    assert worst.rows
    assert all(row[1] != row[2] for row in worst.rows)


def test_the_surest_mistakes_and_the_surest_right_answers_are_explained(evaluation: Evaluation) -> None:
    (table,) = [figure for figure in evaluation.figures if figure.name == "explanations"]

    assert table.type == "table"
    assert [row[1] == row[2] for row in table.rows] == [False, False, False, True, True]
    for text, _, _, listed in table.rows:
        words = re.findall(r"(\S+) ([+−])(\d+\.\d\d)(?:, |$)", str(listed))
        weights = [float(size) for _, _, size in words]
        assert len(words) == min(6, len(str(text).split()))
        assert all(word in str(text) for word, _, _ in words)
        assert weights == sorted(weights, reverse=True)


def test_no_further_answer_is_explained_when_the_time_is_up_and_the_report_says_so(
    tiny_dataset: Path, tiny_candidate: Path, tmp_path: Path
) -> None:
    spec = make_spec(serve={"runtime": "torch"}, evaluate={"bootstrap": 200})
    job = EvaluateJob(spec, tiny_dataset, tiny_candidate, tmp_path / "bundle", 1, 1, max_explain_s=0.0)

    evaluation = evaluate_candidate(job, lambda *_: None)

    (table,) = [figure for figure in evaluation.figures if figure.name == "explanations"]
    assert table.type == "table"
    assert len(table.rows) == 1
    assert any(note.startswith("1 of 5 chosen answers are explained") for note in evaluation.notes)


def test_abstention_is_measured_on_the_test_rows(evaluation: Evaluation) -> None:
    found = evaluation.abstention

    assert found is not None
    assert found.n == round(found.coverage * 120)


def test_a_refused_model_still_leaves_its_bundle(tiny_dataset: Path, tiny_candidate: Path, tmp_path: Path) -> None:
    evaluation = evaluate(tmp_path, tiny_dataset, tiny_candidate, gates={"accuracy": ">= 0.999"})

    assert not evaluation.passed
    assert [gate.metric for gate in evaluation.gates if not gate.passed] == ["accuracy"]
    assert (tmp_path / "bundle/evaluation.json").is_file()


def test_the_champion_answers_the_same_rows_and_ties_with_itself(
    tiny_dataset: Path, tiny_candidate: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    evaluation = evaluate(tmp_path, tiny_dataset, tiny_candidate, Champion(3, tiny_bundle))

    gate = next(gate for gate in evaluation.gates if "champion v3" in gate.rule)
    assert evaluation.champion_version == 3
    assert evaluation.champion["accuracy"] == evaluation.metrics["test"]["accuracy"]
    assert gate.passed
    assert gate.difference is not None
    assert (gate.difference.low, gate.difference.value, gate.difference.high, gate.difference.n) == (0, 0, 0, 120)


def test_a_model_that_is_worse_than_its_champion_is_refused(
    tiny_dataset: Path, tiny_candidate: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    worse = shutil.copytree(tiny_candidate, tmp_path / "worse")
    forget(worse)

    evaluation = evaluate(tmp_path, tiny_dataset, worse, Champion(3, tiny_bundle))

    assert failed_rules(evaluation) == ["> prior", ">= TF-IDF + logistic regression", ">= champion v3"]


def write_leaking_dataset(folder: Path, tiny_dataset: Path, num_new: int) -> Path:
    """Write a data set whose test rows are long training rows of ``tiny_dataset`` and short rows new to it."""
    shutil.copytree(tiny_dataset, folder)
    learned = [row for row in read_split(tiny_dataset, "train").to_pylist() if len(row["text"].split()) > 14]
    new = [
        {"text": f"{word} film {number}", "label": label, "country": "fr", "row_id": f"new-{word}-{number}"}
        for word, label in (("great", "positive"), ("awful", "negative"))
        for number in range(num_new // 2)
    ]
    pq.write_table(pa.Table.from_pylist(learned + new), folder / "test.parquet")
    manifest = load_manifest(folder).model_copy(update={"split_hash": "another"})
    (folder / "dataset.json").write_text(manifest.model_dump_json(), encoding="utf-8")
    return folder


def find_trained_on(folder: Path, tiny_dataset: Path) -> TrainedOn | None:
    rows = TrainingRows(Settings(home=folder / "home"), "tiny-reviews")
    rows.keep(make_spec(), tiny_dataset, "digest")
    return rows.find("digest")


def test_a_champion_that_knows_test_rows_by_heart_does_not_refuse_an_honest_model(
    tiny_dataset: Path, tiny_candidate: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    dataset_dir = write_leaking_dataset(tmp_path / "rows", tiny_dataset, num_new=40)
    honest = shutil.copytree(tiny_candidate, tmp_path / "honest")
    read_only_the_beginning(honest, max_length=6)
    champion = Champion(3, tiny_bundle, find_trained_on(tmp_path, tiny_dataset))

    evaluation = evaluate(tmp_path, dataset_dir, honest, champion, beat_baseline=None, beat_prior=False)

    gate = next(gate for gate in evaluation.gates if "champion v3" in gate.rule)
    assert gate.passed
    assert gate.rule.endswith("on the 40 rows new to both")
    assert gate.difference is not None
    assert (gate.difference.n, evaluation.champion["accuracy"].n) == (40, 40)
    assert evaluation.metrics["test"]["accuracy"].n > 80
    assert evaluation.metrics["test"]["accuracy"].value < evaluation.champion["accuracy"].value - 0.05
    assert any("was trained on" in note and "on the other 40" in note for note in evaluation.notes)


@pytest.mark.parametrize(("when_unknown", "passed"), [("skip", True), ("refuse", False)])
def test_a_champion_that_cannot_be_compared_with_is_skipped_or_refuses_as_the_spec_says(
    tiny_dataset: Path, tiny_candidate: Path, tiny_bundle: Path, tmp_path: Path, when_unknown: str, passed: bool
) -> None:
    dataset_dir = write_leaking_dataset(tmp_path / "rows", tiny_dataset, num_new=10)
    champion = Champion(3, tiny_bundle, find_trained_on(tmp_path, tiny_dataset))
    comparison = {"tolerance": 0.005, "when_unknown": when_unknown}

    evaluation = evaluate(tmp_path, dataset_dir, tiny_candidate, champion, beat_champion=comparison)

    gate = next(gate for gate in evaluation.gates if "champion v3" in gate.rule)
    assert gate.passed == passed
    assert "only 10 of" in gate.problem
    assert evaluation.champion_version == 3
    assert evaluation.champion == {}
    assert any(note.startswith("Not compared with version 3, which serves: only 10 of") for note in evaluation.notes)


def failed_rules(evaluation: Evaluation) -> list[str]:
    """Return the rules of the gates that did not pass, without their values."""
    return [gate.rule.split(" 0.")[0] for gate in evaluation.gates if not gate.passed]


def test_a_model_that_does_not_beat_the_class_prior_is_refused(
    tiny_dataset: Path, tiny_candidate: Path, tmp_path: Path
) -> None:
    worthless = shutil.copytree(tiny_candidate, tmp_path / "worthless")
    forget(worthless)

    evaluation = evaluate(tmp_path, tiny_dataset, worthless, beat_baseline=None)

    assert not evaluation.passed
    assert failed_rules(evaluation) == ["> prior"]


def test_a_model_that_the_cheap_baseline_beats_is_refused(
    tiny_dataset: Path, tiny_candidate: Path, tmp_path: Path
) -> None:
    hasty = shutil.copytree(tiny_candidate, tmp_path / "hasty")
    read_only_the_beginning(hasty, max_length=6)

    evaluation = evaluate(tmp_path, tiny_dataset, hasty)

    assert evaluation.metrics["test"]["accuracy"].value < evaluation.baseline["accuracy"].value
    assert not evaluation.passed
    assert failed_rules(evaluation) == [">= TF-IDF + logistic regression"]


def read_only_the_beginning(candidate_dir: Path, *, max_length: int) -> None:
    """Let the model see so little of each text that it often misses the word which decides."""
    path = candidate_dir / "preprocess.json"
    config = json.loads(path.read_text(encoding="utf-8")) | {"max_length": max_length}
    path.write_text(json.dumps(config), encoding="utf-8")


def forget(candidate_dir: Path) -> None:
    """Replace the trained head by one that answers the same to every text."""

    path = candidate_dir / "model/model.safetensors"
    weights = load_file(path)
    weights["classifier.weight"] = 0 * weights["classifier.weight"]
    save_file(weights, path, metadata={"format": "pt"})


def test_a_candidate_without_a_model_is_refused(tiny_dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no trained model here"):
        evaluate(tmp_path, tiny_dataset, tmp_path)

    assert not (tmp_path / "bundle").exists()


def test_a_folder_without_a_data_set_is_refused(tiny_candidate: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no prepared data set"):
        evaluate(tmp_path, tmp_path, tiny_candidate)


def test_a_full_disk_is_said_and_leaves_no_half_bundle(
    tiny_dataset: Path, tiny_candidate: Path, tmp_path: Path
) -> None:
    with small_files_only(20_000), pytest.raises(BundleError, match="the disk is full"):
        evaluate(tmp_path, tiny_dataset, tiny_candidate)

    assert list(tmp_path.iterdir()) == []


def test_test_rows_of_one_label_are_measured_and_what_is_undefined_is_said(
    tiny_candidate: Path, tmp_path: Path
) -> None:
    dataset_dir = write_dataset(tmp_path / "dataset")
    rows = read_split(dataset_dir, "test").to_pylist()
    of_one_label = pa.Table.from_pylist([row for row in rows if row["label"] == "positive"])
    pq.write_table(of_one_label, dataset_dir / "test.parquet")

    evaluation = evaluate(tmp_path, dataset_dir, tiny_candidate, gates={"roc_auc": ">= 0.5"})

    assert "roc_auc" not in evaluation.metrics["test"]
    assert "roc_auc: undefined, as all test rows have one label." in evaluation.notes
    assert not evaluation.gates[0].passed


def test_the_baseline_learns_from_training_rows_alone() -> None:
    train = ["good film", "bad film"] * 20
    probabilities_BC, labels = answer_baseline(train, ["up", "down"] * 20, ["good", "an unseen word"], language="en")

    assert labels == ["down", "up"]
    assert probabilities_BC[0, 1] > 0.8
    assert probabilities_BC[1] == pytest.approx([0.5, 0.5], abs=0.05)


def test_the_baseline_reads_chinese_by_characters() -> None:
    train = ["这个很好用", "质量太差了"] * 20

    probabilities_BC, labels = answer_baseline(train, ["up", "down"] * 20, ["真的很好", "差评"], language="zh")

    assert [labels[column] for column in probabilities_BC.argmax(axis=1)] == ["up", "down"]


def test_a_baseline_without_words_to_count_is_the_prior_and_says_so(tiny_dataset: Path) -> None:
    train = pa.table({"text": [":-)", ":(", ":'-(", ">:("], "label": ["positive"] + ["negative"] * 3})
    evaluator = TextEvaluator(make_spec(), tiny_dataset)

    outputs = evaluator.answer_baseline(train, train.slice(0, 2))

    assert [output["scores"] for output in outputs] == [{"negative": 0.75, "positive": 0.25}] * 2
    assert evaluator.baseline_name == "always the commonest label, as no training text has a word"


def test_the_prior_answers_the_training_rows_frequencies(tiny_dataset: Path) -> None:
    train = pa.table({"text": ["a"] * 4, "label": ["negative", "positive", "positive", "positive"]})
    evaluator = TextEvaluator(make_spec(), tiny_dataset)

    outputs = evaluator.answer_prior(train, train.slice(0, 2))

    assert [output["scores"] for output in outputs] == [{"negative": 0.25, "positive": 0.75}] * 2


LINEAGE = Lineage(
    run_id="run-1", created=datetime(2026, 11, 22, tzinfo=UTC), code_version="0", spec_sha256="0" * 64, base_model=None
)


def test_a_report_shows_what_the_run_recorded(tiny_bundle: Path, evaluation: Evaluation) -> None:
    inputs = read_inputs(make_spec(), tiny_bundle, LINEAGE)

    assert inputs.evaluation == evaluation
    assert inputs.dataset == load_manifest(tiny_bundle)
    assert inputs.training is not None
    assert inputs.tuning is None


@pytest.mark.parametrize(
    ("missing", "error"),
    [("dataset.json", "no prepared data set here"), ("evaluation.json", "evaluation.json is missing")],
)
def test_nothing_is_reported_of_a_run_that_left_no_record(
    tiny_bundle: Path, tmp_path: Path, missing: str, error: str
) -> None:
    bundle = shutil.copytree(tiny_bundle, tmp_path / "bundle")
    (bundle / missing).unlink()

    with pytest.raises((DataError, BundleError), match=error):
        read_inputs(make_spec(), bundle, LINEAGE)


def test_texts_of_one_length_are_one_slice() -> None:
    assert length_thirds(["same", "size"]) == ["any length", "any length"]
