"""What the launch report shows of a text classifier's answers.

Shapes: B rows, C classes, K confidence bins, N points of a curve.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from launchyard.contract.predictor import Output
from launchyard.evaluation.figures import (
    BarFigure,
    Caption,
    ConfusionMatrixFigure,
    Figure,
    LineFigure,
    Series,
    TableFigure,
)
from launchyard.evaluation.metrics.classification import NUM_CONFIDENCE_BINS, ClassificationScores, confidence_bins
from launchyard.evaluation.results import Measure

NUM_TABLE_ROWS = 10
MAX_TEXT = 300
"""Characters of a text that a table shows."""
MAX_CURVES = 6
"""Labels that get a curve of their own: the commonest."""
MAX_WORDS = 6
"""Words of a text that an explanation shows: the ones that weigh most."""
CURVE_POINTS_N = np.linspace(0.0, 1.0, 51)
CONFIDENCE = Caption(en="Confidence", zh="置信度")
ROW_COLUMNS = (
    Caption(en="Text", zh="文本"),
    Caption(en="Truth", zh="真实标签"),
    Caption(en="Answer", zh="回答"),
)


def draw(scores: ClassificationScores, texts: Sequence[str], measures: Mapping[str, Measure]) -> list[Figure]:
    """Return every figure of these answers; ``measures`` holds F1 per label with its interval."""
    return [
        draw_confusion(scores),
        draw_f1(scores, measures),
        draw_precision_recall(scores),
        draw_reliability(scores),
        draw_confidence(scores),
        draw_worst(scores, texts),
        draw_unsure(scores, texts),
    ]


def draw_confusion(scores: ClassificationScores) -> ConfusionMatrixFigure:
    """Return how often each label was answered for each true label."""
    num_classes = len(scores.labels)
    counts_CC = np.bincount(scores.truth_B * num_classes + scores.predicted_B, minlength=num_classes**2)
    return ConfusionMatrixFigure(
        name="confusion",
        title=Caption(en="Confusion matrix", zh="混淆矩阵"),
        help=Caption(
            en="Each row is a true label, each column an answer. What is off the diagonal is a mistake.",
            zh="每行是真实标签，每列是模型的回答。对角线以外的都是错误。",
        ),
        labels=scores.labels,
        counts=tuple(tuple(row) for row in counts_CC.reshape(num_classes, num_classes).tolist()),
    )


def draw_f1(scores: ClassificationScores, measures: Mapping[str, Measure]) -> BarFigure:
    """Return F1 per label that occurs, lowest first."""
    found = [(label, measures[f"f1[{label}]"]) for label in scores.labels if f"f1[{label}]" in measures]
    found.sort(key=lambda pair: pair[1].value)
    return BarFigure(
        name="f1_per_label",
        title=Caption(en="F1 per label", zh="各标签的 F1"),
        help=Caption(
            en="How well each label is found, lowest first; the line is the interval that the number of rows allows.",
            zh="各标签的识别效果，从低到高；线段为样本量所允许的置信区间。",
        ),
        y_label=Caption(en="F1", zh="F1"),
        categories=tuple(label for label, _ in found),
        values=tuple(measure.value for _, measure in found),
        intervals=tuple((measure.low, measure.high) for _, measure in found),
    )


def draw_precision_recall(scores: ClassificationScores) -> LineFigure:
    """Return the best precision at each recall, for the commonest labels."""
    counts_C = np.bincount(scores.truth_B, minlength=len(scores.labels))
    commonest = [int(column) for column in np.argsort(-counts_C, kind="stable")[:MAX_CURVES] if counts_C[column]]
    return LineFigure(
        name="precision_recall",
        title=Caption(en="Precision and recall", zh="精确率与召回率"),
        help=Caption(
            en="To find more of a label's rows (recall), more wrong ones have to be accepted (precision falls).",
            zh="想找回更多某标签的样本（召回率），就要接受更多误判（精确率下降）。",
        ),
        x_label=Caption(en="Recall", zh="召回率"),
        y_label=Caption(en="Precision", zh="精确率"),
        series=tuple(
            Series(
                name=scores.labels[column],
                x=tuple(CURVE_POINTS_N.tolist()),
                y=tuple(trace_precision(scores.truth_B == column, scores.probabilities_BC[:, column]).tolist()),
            )
            for column in commonest
        ),
    )


def trace_precision(positive_B: NDArray[np.bool_], score_B: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the highest precision at a recall of at least each of ``CURVE_POINTS_N``; equal scores stay together."""
    order_B = np.argsort(-score_B, kind="stable")
    is_last_B = np.append(np.diff(score_B[order_B]) < 0, True)
    hits_B = np.cumsum(positive_B[order_B])
    recall_N = hits_B[is_last_B] / hits_B[-1]
    precision_N = (hits_B / np.arange(1, len(order_B) + 1))[is_last_B]
    best_N = np.maximum.accumulate(precision_N[::-1])[::-1]
    return np.asarray(best_N[np.searchsorted(recall_N, CURVE_POINTS_N, side="left")])


def draw_reliability(scores: ClassificationScores) -> LineFigure:
    """Return the accuracy of the answers in each bin of confidence."""
    bins_B = confidence_bins(scores.confidence_B)
    count_K = np.bincount(bins_B, minlength=NUM_CONFIDENCE_BINS)
    used_K = count_K > 0
    mean_K = np.bincount(bins_B, scores.confidence_B, NUM_CONFIDENCE_BINS)[used_K] / count_K[used_K]
    accuracy_K = np.bincount(bins_B, scores.correct_B, NUM_CONFIDENCE_BINS)[used_K] / count_K[used_K]
    return LineFigure(
        name="reliability",
        title=Caption(en="Is the confidence true?", zh="置信度可信吗？"),
        help=Caption(
            en="Of the answers given with 80 % confidence, 80 % should be right: then the curve is on the diagonal.",
            zh="在置信度为 80% 的回答中，应有 80% 正确：此时曲线落在对角线上。",
        ),
        x_label=CONFIDENCE,
        y_label=Caption(en="Share that is right", zh="正确的比例"),
        series=(Series(name="model", x=tuple(mean_K.tolist()), y=tuple(accuracy_K.tolist())),),
        diagonal=True,
    )


def draw_confidence(scores: ClassificationScores) -> BarFigure:
    """Return how many answers have which confidence."""
    count_K = np.bincount(confidence_bins(scores.confidence_B), minlength=NUM_CONFIDENCE_BINS)
    first = int(np.flatnonzero(count_K)[0])
    edges_K = np.arange(NUM_CONFIDENCE_BINS + 1) / NUM_CONFIDENCE_BINS
    return BarFigure(
        name="confidence",
        title=Caption(en="How sure the answers are", zh="回答的置信度分布"),
        help=Caption(en="Number of test rows per confidence.", zh="各置信度区间的测试样本数。"),
        y_label=Caption(en="Rows", zh="样本数"),
        categories=tuple(
            f"{low:.2f}–{high:.2f}" for low, high in zip(edges_K[first:-1], edges_K[first + 1 :], strict=True)
        ),
        values=tuple(map(float, count_K[first:])),
    )


def draw_worst(scores: ClassificationScores, texts: Sequence[str]) -> TableFigure:
    """Return the wrong answers that the model was surest of: mistakes of the model, or of whoever labelled."""
    wrong = [int(index) for index in np.argsort(-scores.loss_B, kind="stable") if not scores.correct_B[index]]
    return _draw_rows(
        scores,
        texts,
        wrong[:NUM_TABLE_ROWS],
        name="worst",
        captions=(
            Caption(en="Worst mistakes", zh="最严重的错误"),
            Caption(
                en="Wrong answers, the surest first. Look whether the label is right: often it is not.",
                zh="错误的回答，按置信度从高到低排列。请检查标签是否正确：常常是标签有误。",
            ),
        ),
    )


def draw_unsure(scores: ClassificationScores, texts: Sequence[str]) -> TableFigure:
    """Return the answers that the model was least sure of: rows worth labelling more of."""
    unsure = [int(index) for index in np.argsort(scores.confidence_B, kind="stable")]
    return _draw_rows(
        scores,
        texts,
        unsure[:NUM_TABLE_ROWS],
        name="unsure",
        captions=(
            Caption(en="Least sure answers", zh="最不确定的回答"),
            Caption(
                en="Texts like these teach the model most when more of them are labelled.",
                zh="多标注一些类似的文本，对模型帮助最大。",
            ),
        ),
    )


def _draw_rows(
    scores: ClassificationScores,
    texts: Sequence[str],
    index: Sequence[int],
    *,
    name: str,
    captions: tuple[Caption, Caption],
) -> TableFigure:
    return TableFigure(
        name=name,
        title=captions[0],
        help=captions[1],
        columns=(
            *ROW_COLUMNS,
            CONFIDENCE,
        ),
        rows=tuple(
            (
                shorten(texts[row]),
                scores.labels[scores.truth_B[row]],
                scores.labels[scores.predicted_B[row]],
                round(float(scores.confidence_B[row]), 4),
            )
            for row in index
        ),
    )


def draw_explanations(labels: Sequence[str], explained: Sequence[Output]) -> TableFigure:
    """Return the words that weighed most in each answer; ``labels`` are the true ones."""
    return TableFigure(
        name="explanations",
        title=Caption(en="Why it answered so", zh="为什么这样回答"),
        help=Caption(
            en="The surest mistakes, then the surest right answers. Words with + spoke for the answer, words with − "
            "against it; the number is how much each moved the model's score (integrated gradients).",
            zh="先列最有把握的错误，再列最有把握的正确回答。带 + 的词支持该回答，带 − 的词反对；"
            "数字表示该词使模型得分改变了多少（积分梯度）。",
        ),
        columns=(*ROW_COLUMNS, Caption(en="Words that decided", zh="起决定作用的词")),
        rows=tuple(
            (
                shorten(output["explanation"]["text"]),
                label,
                output["label"],
                list_words(output["explanation"]["words"]),
            )
            for label, output in zip(labels, explained, strict=True)
        ),
    )


def list_words(words: Sequence[Mapping[str, Any]]) -> str:
    """Return the words that weigh most, the heaviest first, with their weights.

    >>> list_words([{"word": "not", "attribution": -1.204}, {"word": "funny", "attribution": 2.5}])
    'funny +2.50, not −1.20'
    """
    heaviest = sorted(words, key=lambda word: -abs(word["attribution"]))[:MAX_WORDS]
    return ", ".join(
        f"{word['word']} {'+' if word['attribution'] >= 0 else '−'}{abs(word['attribution']):.2f}" for word in heaviest
    )


def shorten(text: str) -> str:
    """Return at most 300 characters of ``text``.

    >>> len(shorten("a" * 1000))
    300
    """
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
