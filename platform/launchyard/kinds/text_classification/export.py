"""The end of training: the fastest way of computing the model that keeps its accuracy, and when it is unsure.

Three runtimes are built and measured on validation rows: torch on the trained weights, ONNX Runtime on the exported
graph, and the same graph with int8 matrix products. Shapes: B rows, T tokens, C classes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from launchyard.contract.predictor import Device
from launchyard.contract.rows import Row
from launchyard.contract.training import ExportJob
from launchyard.errors import BundleError
from launchyard.evaluation.metrics.calibration import choose_threshold, fit_temperature, softmax
from launchyard.evaluation.metrics.latency import time_calls
from launchyard.evaluation.results import RuntimeCandidate
from launchyard.kinds.text_classification.predict import (
    PredictorConfig,
    TextPredictor,
    find_unknown_id,
    share_unknown,
)
from launchyard.kinds.text_classification.spec import Abstain, TextClassification
from launchyard.text.graphs import EXPORT_ERRORS, export_graph, quantize_graph
from launchyard.text.preprocess import TextPreprocessor
from launchyard.text.runtimes import GRAPH_NAMES, WEIGHTS_NAME, RuntimeName, load_runtime

MAX_ROWS = 2000
"""Validation rows that runtimes are compared on: enough for 0.002 of accuracy, seconds for a small model."""
WARMUP_CALLS, TIMED_CALLS = 10, 40
MAX_GRAPH_DIFFERENCE = 1e-2
"""Largest difference of a logit between torch and the exported graph, relative to the largest logit."""
NUM_CALIBRATION_ROWS, CALIBRATION_BATCH = 128, 16
MIN_UNKNOWN_SHARE = 0.25
"""Share of unknown tokens that never makes an answer unsure: one emoji in a short text is no other language."""
UNKNOWN_QUANTILE = 0.995
"""Of the validation rows, so many are not unsure for their unknown tokens; a few rows of garbage do not count."""


@dataclass(frozen=True)
class _Trial:
    """One runtime, measured: its record, and its logits when it could be computed."""

    record: RuntimeCandidate
    logits: NDArray[np.float64] | None = None
    """Of the validation rows, shape (B, C); None when the runtime could not be made."""


def export_text_classifier(job: ExportJob) -> tuple[RuntimeCandidate, ...]:
    """Choose the runtime, fit temperature and thresholds, and write ``model/predictor.json``.

    Graphs that are not chosen are removed; the weights stay, explanations need them.

    Raises:
        BundleError: the trained model cannot be loaded, or the runtime that the spec demands cannot be made.
    """
    export = _Export(job)
    trials = export.try_runtimes()
    serve = export.spec.serve
    chosen = choose_runtime([trial.record for trial in trials], serve.runtime, serve.runtime_tolerance)
    records = tuple(chosen)
    name, logits_BC = next(
        (trial.record.name, trial.logits) for trial, record in zip(trials, records, strict=True) if record.chosen
    )
    export.finish(cast(RuntimeName, name), cast(NDArray[np.float64], logits_BC))
    return records


class _Export:
    """Builds and measures the runtimes of one trained model."""

    def __init__(self, job: ExportJob) -> None:
        self.bundle_dir = job.bundle_dir
        self.model_dir = job.bundle_dir / "model"
        self.device = job.device
        self.batch_device = job.batch_device
        self.spec = cast(TextClassification, job.spec)
        self.labels = read_labels(self.model_dir)
        self.preprocessor = TextPreprocessor.load(job.bundle_dir)
        validation = job.validation.slice(0, MAX_ROWS)
        self.rows: list[Row] = [{"text": text} for text in validation["text"].to_pylist()]
        self.truth_B = np.array([self.labels.index(label) for label in validation["label"].to_pylist()])

    def try_runtimes(self) -> list[_Trial]:
        """Return torch, which defines what is right, then the faster ones as far as they can be made."""
        trials = [self._measure("torch")]
        wanted = self.spec.serve.runtime
        if self.device.gpus and wanted == "auto":
            # The others would leave the replica's GPU idle.
            wanted = "torch"
        if wanted != "torch":
            trials.append(self._try("onnx", trials[0]))
        if wanted in ("auto", "onnx-int8") and trials[-1].logits is not None:
            trials.append(self._try("onnx-int8", trials[0]))
        return trials

    def finish(self, name: RuntimeName, logits_BC: NDArray[np.float64]) -> None:
        """Write the predictor's configuration and remove the graphs that are not served."""
        for other, graph in GRAPH_NAMES.items():
            if other != name:
                (self.model_dir / graph).unlink(missing_ok=True)
        config = self._configure(name, fit_temperature(logits_BC, self.truth_B))
        abstain = self.spec.evaluate.abstain
        if abstain is not None:
            config = self._set_thresholds(config, logits_BC, abstain)
        config.save(self.bundle_dir)

    def _try(self, name: RuntimeName, reference: _Trial) -> _Trial:
        try:
            self._build(name)
            trial = self._measure(name)
        except EXPORT_ERRORS as err:
            return _Trial(RuntimeCandidate(name=name, reason=f"could not be made: {_summarise(err)}"))
        difference = _relative_difference(trial.logits, reference.logits)
        if name == "onnx" and difference > MAX_GRAPH_DIFFERENCE:
            reason = f"computes other logits than torch: they differ by {difference:.1%}"
            return _Trial(RuntimeCandidate(name=name, reason=reason))
        return trial

    def _build(self, name: RuntimeName) -> None:
        graph = self.model_dir / GRAPH_NAMES[name]
        if name == "onnx":
            export_graph(self.model_dir, graph)
            return
        texts = [row["text"] for row in self.rows[:NUM_CALIBRATION_ROWS]]
        # Rows of like length share a batch: padding would only be computed.
        ids = sorted(self.preprocessor.encode(texts), key=len)
        starts = range(0, len(ids), CALIBRATION_BATCH)
        batches = [self.preprocessor.pad(ids[start : start + CALIBRATION_BATCH]) for start in starts]
        quantize_graph(self.model_dir / GRAPH_NAMES["onnx"], graph, batches)

    def _measure(self, name: RuntimeName) -> _Trial:
        predictor = self._load(name, self.device)
        milliseconds_B = time_calls(
            lambda row: predictor.predict([row]), self.rows, warmup=WARMUP_CALLS, calls=TIMED_CALLS
        )
        if self.batch_device != self.device:
            predictor = self._load(name, self.batch_device)
        logits_BC = predictor.compute_logits(self.rows)
        path = self.model_dir / (WEIGHTS_NAME if name == "torch" else GRAPH_NAMES[name])
        record = RuntimeCandidate(
            name=name,
            p50_ms=float(np.median(milliseconds_B)),
            quality=float((logits_BC.argmax(axis=1) == self.truth_B).mean()),
            size_bytes=path.stat().st_size,
        )
        return _Trial(record, logits_BC)

    def _load(self, name: RuntimeName, device: Device) -> TextPredictor:
        runtime = load_runtime(name, self.model_dir, device)
        return TextPredictor(self.preprocessor, self._configure(name), runtime, model_dir=self.model_dir)

    def _configure(self, name: RuntimeName, temperature: float = 1.0) -> PredictorConfig:
        return PredictorConfig(
            runtime=name,
            labels=self.labels,
            max_characters=self.spec.data.max_characters,
            temperature=temperature,
        )

    def _set_thresholds(
        self, config: PredictorConfig, logits_BC: NDArray[np.float64], abstain: Abstain
    ) -> PredictorConfig:
        """Return ``config`` with the confidence and the share of unknown tokens that make an answer unsure."""
        probabilities_BC = softmax(logits_BC / config.temperature)
        correct_B = probabilities_BC.argmax(axis=1) == self.truth_B
        min_confidence = choose_threshold(
            probabilities_BC.max(axis=1), correct_B, coverage=abstain.coverage, accuracy=abstain.accuracy
        )
        usual_share = float(np.quantile(self._unknown_shares(), UNKNOWN_QUANTILE))
        return config.model_copy(
            update={"min_confidence": min_confidence, "max_unknown_share": max(MIN_UNKNOWN_SHARE, usual_share)}
        )

    def _unknown_shares(self) -> list[float]:
        ids = self.preprocessor.encode([row["text"] for row in self.rows])
        unknown_id = find_unknown_id(self.preprocessor)
        return [share_unknown(tokens, unknown_id) for tokens in ids]


def choose_runtime(records: Sequence[RuntimeCandidate], wanted: str, tolerance: float) -> tuple[RuntimeCandidate, ...]:
    """Return ``records`` with exactly one chosen and a reason on each.

    The first record is the reference. The fastest is chosen among those that lose at most ``tolerance`` of its
    validation accuracy; ``wanted``, unless it is ``auto``, is chosen whatever it loses.

    Raises:
        BundleError: the wanted runtime could not be made.
    """
    reference = records[0]
    made = {record.name: record for record in records if record.p50_ms is not None}
    if wanted != "auto" and wanted not in made:
        reason = next((record.reason for record in records if record.name == wanted), "onnx could not be made")
        raise BundleError(f"serve.runtime: {wanted}: {reason}. Set serve.runtime to auto or torch.")
    least = cast(float, reference.quality) - tolerance
    good = {name: record for name, record in made.items() if round(cast(float, record.quality) - least, 12) >= 0}
    best = wanted if wanted != "auto" else min(good, key=lambda name: cast(float, good[name].p50_ms))
    return tuple(_explain_choice(record, reference, best, wanted, good) for record in records)


def _explain_choice(
    record: RuntimeCandidate, reference: RuntimeCandidate, best: str, wanted: str, good: dict[str, RuntimeCandidate]
) -> RuntimeCandidate:
    if record.p50_ms is None:
        return record
    change = cast(float, record.quality) - cast(float, reference.quality)
    if record.name == best:
        why = "the spec asks for it" if wanted != "auto" else "the fastest that keeps the accuracy"
    elif record.name not in good:
        why = "loses more accuracy than serve.runtime_tolerance allows"
    else:
        why = "the spec asks for another" if wanted != "auto" else f"slower than {best}"
    reason = f"{record.name}: {why}: {record.p50_ms:.2f} ms a row, validation accuracy {change:+.4f}"
    return record.model_copy(update={"chosen": record.name == best, "reason": reason})


def read_labels(model_dir: Path) -> tuple[str, ...]:
    """Return the label of each logit, as training wrote them into ``config.json``.

    Raises:
        BundleError: there is no such file, or it names no labels.
    """
    path = model_dir / "config.json"
    try:
        names: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))["id2label"]
    except (OSError, ValueError, KeyError) as err:
        raise BundleError(f"{path}: names no labels: {err!r}. Train the model again.") from err
    return tuple(names[str(number)] for number in range(len(names)))


def _summarise(err: BaseException) -> str:
    """Return the first line of what lies at the bottom of ``err``, without terminal colours."""
    while err.__cause__ is not None:
        err = err.__cause__
    lines = re.sub(r"\x1b\[[0-9;]*m", "", str(err)).strip().splitlines()
    return f"{type(err).__name__}: {lines[0]}" if lines else type(err).__name__


def _relative_difference(logits_BC: NDArray[np.float64] | None, reference_BC: NDArray[np.float64] | None) -> float:
    if logits_BC is None or reference_BC is None:
        return float("inf")
    return float(np.abs(logits_BC - reference_BC).max() / max(np.abs(reference_BC).max(), 1e-6))
