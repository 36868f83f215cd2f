"""How text classifiers are measured.

Shapes: B rows, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from launchyard.contract.evaluation import Evaluator
from launchyard.contract.predictor import Output
from launchyard.data.manifest import load_manifest
from launchyard.evaluation.figures import Figure
from launchyard.evaluation.metrics.bootstrap import Bootstrap, measure
from launchyard.evaluation.metrics.classification import ClassificationScores
from launchyard.evaluation.results import Abstention
from launchyard.kinds.text_classification import baseline, charts
from launchyard.kinds.text_classification.predict import PredictorConfig
from launchyard.kinds.text_classification.spec import TextClassification
from launchyard.spec.blocks import Product

NUM_EXAMPLES = 8
"""The self-test answers them at each load, so they are few."""
NUM_EXPLAINED_WRONG, NUM_EXPLAINED_RIGHT = 3, 2


class TextEvaluator(Evaluator):
    """Scores, rivals, slices and figures of a text classification product."""

    prior_metric = "recall_macro"
    baseline_name = baseline.NAME

    def __init__(self, spec: Product, dataset_dir: Path) -> None:
        """Measure against the labels of a prepared data set."""
        self.spec = cast(TextClassification, spec)
        self.labels = load_manifest(dataset_dir).labels

    def score(self, rows: pa.Table, outputs: Sequence[Output]) -> ClassificationScores:
        """Return the scores of ``outputs`` against the labels in ``rows``; a label that an output lacks has 0."""
        number = {label: index for index, label in enumerate(self.labels)}
        truth_B = np.array([number[label] for label in rows["label"].to_pylist()])
        probabilities_BC = np.array([[output["scores"].get(label, 0.0) for label in self.labels] for output in outputs])
        return ClassificationScores(truth_B, probabilities_BC, self.labels)

    def answer_prior(self, train: pa.Table, rows: pa.Table) -> list[Output]:
        """Return the training labels' frequencies as the answer to every row."""
        frequencies_BC = baseline.answer_prior(train["label"].to_pylist(), self.labels, rows.num_rows)
        return _make_outputs(frequencies_BC, self.labels)

    def answer_baseline(self, train: pa.Table, rows: pa.Table) -> list[Output]:
        """Return the answers of logistic regression on TF-IDF of words, or of characters where words have no spaces."""
        texts, language = train["text"].to_pylist(), self.spec.data.language
        self.baseline_name = baseline.name_baseline(texts, language=language)
        probabilities_BC, labels = baseline.answer_baseline(
            texts, train["label"].to_pylist(), rows["text"].to_pylist(), language=language
        )
        return _make_outputs(probabilities_BC, labels)

    def slices(self, rows: pa.Table) -> dict[str, list[str]]:
        """Return each row's label, its third by text length, and the columns that the spec names."""
        named = {name: [str(value) for value in rows[name].to_pylist()] for name in self.spec.evaluate.slices}
        return {"label": rows["label"].to_pylist(), "text length": length_thirds(rows["text"].to_pylist())} | named

    def figures(self, bundle_dir: Path, rows: pa.Table, outputs: Sequence[Output]) -> list[Figure]:
        """Return confusion matrix, per-label F1, precision-recall, reliability, confidence, worst and unsure rows."""
        scores = self.score(rows, outputs)
        bootstrap = Bootstrap(self.spec.evaluate.bootstrap, self.spec.evaluate.confidence)
        return charts.draw(scores, rows["text"].to_pylist(), measure(scores, bootstrap).measures)

    def choose_explained(self, rows: pa.Table, outputs: Sequence[Output]) -> list[int]:
        """Return the surest wrong answers, then the surest right ones."""
        scores = self.score(rows, outputs)
        surest_first = [int(index) for index in np.argsort(-scores.confidence_B, kind="stable")]
        wrong = [index for index in surest_first if not scores.correct_B[index]]
        right = [index for index in surest_first if scores.correct_B[index]]
        return wrong[:NUM_EXPLAINED_WRONG] + right[:NUM_EXPLAINED_RIGHT]

    def draw_explanations(self, rows: pa.Table, explained: Sequence[Output]) -> list[Figure]:
        """Return the table of the words that spoke for and against each answer."""
        return [charts.draw_explanations(rows["label"].to_pylist(), explained)] if explained else []

    def measure_abstention(self, bundle_dir: Path, rows: pa.Table, outputs: Sequence[Output]) -> Abstention | None:
        """Return coverage and accuracy of the rows that the model is sure of; None when it never abstains."""
        config = PredictorConfig.load(bundle_dir)
        if config.min_confidence is None:
            return None
        answered_B = np.array([not output["abstained"] for output in outputs])
        correct_B = self.score(rows, outputs).correct_B[answered_B]
        return Abstention(
            threshold=config.min_confidence,
            temperature=config.temperature,
            coverage=float(answered_B.mean()),
            quality=float(correct_B.mean()) if len(correct_B) else 0.0,
            n=len(correct_B),
        )

    def choose_examples(self, rows: pa.Table, outputs: Sequence[Output]) -> list[int]:
        """Return the surest answers, the first of each label before the second of any."""
        surest_first = sorted(range(rows.num_rows), key=lambda index: -outputs[index]["confidence"])
        num_before: dict[str, int] = {}
        turn: dict[int, int] = {}
        for index in surest_first:
            label = outputs[index]["label"]
            turn[index] = num_before[label] = num_before.get(label, 0) + 1
        return sorted(surest_first, key=lambda index: turn[index])[:NUM_EXAMPLES]


def length_thirds(texts: Sequence[str]) -> list[str]:
    """Return the third by number of characters that each text is in, such as ``up to 54 characters``.

    >>> length_thirds(["a", "bb", "ccc"])
    ['up to 1 characters', '2 to 2 characters', '3 characters or more']
    """
    lengths = [len(text) for text in texts]
    ordered = sorted(lengths)
    low, high = ordered[(len(ordered) - 1) // 3], ordered[2 * (len(ordered) - 1) // 3]
    if low == high:
        return ["any length"] * len(texts)
    names = (f"up to {low} characters", f"{low + 1} to {high} characters", f"{high + 1} characters or more")
    return [names[(length > low) + (length > high)] for length in lengths]


def _make_outputs(probabilities_BC: NDArray[np.float64], labels: Sequence[str]) -> list[Output]:
    return [_make_output(dict(zip(labels, row, strict=True))) for row in probabilities_BC.tolist()]


def _make_output(scores: Mapping[str, float]) -> Output:
    label = max(scores, key=lambda name: scores[name])
    return {"label": label, "scores": scores, "confidence": scores[label], "abstained": False}
