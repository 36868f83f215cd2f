"""A kind from elsewhere says how it is measured: what it leads with, is not compared with, and takes for equal."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from installed_distribution import KIND, PACKAGE, install
from launchyard.bundle.self_test import EXAMPLES_NAME, find_difference, self_test
from launchyard.contract.predictor import Device
from launchyard.errors import BundleError
from launchyard.evaluation.results import Evaluation
from launchyard.evaluation.run import EvaluateJob, evaluate_candidate
from launchyard.kind import Kind
from launchyard.kinds import get_kind, list_installed_kinds
from launchyard.report.verdict import headline_metric, judge
from launchyard.spec.blocks import HEADLINE, Product, Tune, find_tune
from launchyard.spec.load import load_spec
from launchyard.spec.summary import summarise
from launchyard.training.search import spell_out
from launchyard_pipelines.steps.evaluate import read_inputs
from report_samples import full_inputs
from tiny_candidate import make_spec

PARTS = '''
from launchyard.bundle.feedback import LabelFeedback
from launchyard.contract.evaluation import Evaluator
from launchyard.kinds.text_classification.evaluate import TextEvaluator


class NotesEvaluator(TextEvaluator):
    """Compared with nothing cheaper."""

    answer_prior = Evaluator.answer_prior
    answer_baseline = Evaluator.answer_baseline


def compare(expected, given, tolerance):
    return None if expected["label"] == given["label"] else "another label"


class NotesFeedback(LabelFeedback):
    """A number is what was right."""

    correction = float
'''
OWN = f'''
KIND = replace(
    KIND,
    headline="log_loss",
    evaluator="{PACKAGE}.parts:NotesEvaluator",
    compare="{PACKAGE}.parts:compare",
    feedback="{PACKAGE}.parts:NotesFeedback",
)
'''
TEXTS = 'slice:\n  text length: {en: "size of the note", zh: "笔记长度"}\n'


@pytest.fixture(scope="module")
def kind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kind]:
    site = tmp_path_factory.mktemp("site")
    install(site, module=KIND + OWN)
    (site / PACKAGE / "parts.py").write_text(PARTS, encoding="utf-8")
    (site / PACKAGE / "texts.yaml").write_text(TEXTS, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        list_installed_kinds.cache_clear()
        yield get_kind("acme-notes")
    list_installed_kinds.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def spec(kind: Kind) -> Product:
    texts = make_spec(serve={"runtime": "torch"}, evaluate={"bootstrap": 100})
    return kind.spec.from_document(texts.model_dump(mode="json") | {"kind": kind.name})


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, spec: Product, tiny_dataset: Path, tiny_candidate: Path) -> Path:
    folder = tmp_path_factory.mktemp("measured") / "bundle"
    job = EvaluateJob(spec, tiny_dataset, tiny_candidate, folder, threads=1, batch_threads=1)
    evaluate_candidate(job, lambda *_: None)
    return folder


def test_a_kind_without_prior_and_baseline_is_not_judged_by_them_and_says_why(bundle: Path) -> None:
    evaluation = Evaluation.model_validate_json((bundle / "evaluation.json").read_text(encoding="utf-8"))

    assert (evaluation.prior, evaluation.baseline, evaluation.gates) == ({}, {}, ())
    assert evaluation.baseline_omitted == "nothing cheap answers as products of this kind do"
    assert f"Not compared with a cheap baseline: {evaluation.baseline_omitted}." in evaluation.notes
    assert f"Not compared with the prior: {evaluation.prior_omitted}." in evaluation.notes


def test_the_report_leads_with_the_headline_of_the_kind_and_uses_its_words(bundle: Path, spec: Product) -> None:
    inputs = read_inputs(spec, bundle, full_inputs().lineage)

    assert headline_metric(inputs) == "log_loss"
    assert any("its Log loss was" in sentence.en for sentence in judge(inputs).sentences)
    assert inputs.terms.name("slice", "text length").en == "size of the note"


def test_comparisons_and_searches_go_by_the_headline_and_its_direction(
    kind: Kind, spec: Product, tmp_path: Path
) -> None:
    search = {"trials": 1, "parameters": {"train.learning_rate": {"min": 1e-5, "max": 1e-3}}}
    (tmp_path / "product.yaml").write_text(json.dumps(spec.model_dump(mode="json") | {"tune": search}))

    tune = spell_out(Tune.model_validate(search), kind)
    checked = load_spec(tmp_path)

    assert (tune.metric, tune.mode) == ("log_loss", "min")
    assert [one.metric for one in [find_tune(checked)] if one] == [HEADLINE]
    assert any("log_loss at most the cheap baseline's" in line for line in summarise(checked, tmp_path))


def test_the_kind_says_which_answers_its_self_test_takes_for_equal(bundle: Path, kind: Kind, tmp_path: Path) -> None:
    moved = shutil.copytree(bundle, tmp_path / "moved")
    examples: list[dict[str, Any]] = json.loads((moved / EXAMPLES_NAME).read_text())
    for example in examples:
        example["expected"]["confidence"] -= 0.5
    (moved / EXAMPLES_NAME).write_text(json.dumps(examples))
    predictor = kind.load_predictor(moved, Device(1))

    self_test(predictor, moved, kind.load_compare_function())

    with pytest.raises(BundleError, match=r"answer\.confidence"):
        self_test(predictor, moved, find_difference)


def test_a_bundle_whose_answers_differ_to_its_kind_is_refused(bundle: Path, kind: Kind, tmp_path: Path) -> None:
    other = shutil.copytree(bundle, tmp_path / "other")
    examples: list[dict[str, Any]] = json.loads((other / EXAMPLES_NAME).read_text())
    examples[1]["expected"]["label"] = "neither"
    (other / EXAMPLES_NAME).write_text(json.dumps(examples))

    with pytest.raises(BundleError, match="example 1: another label"):
        self_test(kind.load_predictor(other, Device(1)), other, kind.load_compare_function())


def test_the_kind_says_what_a_correction_is(bundle: Path, kind: Kind) -> None:
    rules = kind.load_feedback_rules(bundle)

    assert rules.correction is float
    assert rules.find_refusal(version=1, label="positive", correction=0.5) is None
    refusal = rules.find_refusal(version=1, label="sad", correction=None)
    assert refusal is not None
    assert refusal.detail == (
        "label: 'sad' is none of the labels of version 1, which answered. Use one of: negative, positive."
    )


def test_a_kind_that_leads_with_what_it_does_not_measure_is_refused(kind: Kind) -> None:
    with pytest.raises(ValueError, match="headline: 'mae' is none of its metrics"):
        replace(kind, headline="mae")
