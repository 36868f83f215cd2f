"""What metrics are called and mean: those that several kinds share, and those that every product has.

A kind takes the ones that its scores report, and may replace a word, such as which rows leave one undefined.
"""

from __future__ import annotations

from collections.abc import Mapping

from launchyard.contract.evaluation import Metric
from launchyard.evaluation.figures import Caption

BITS = Caption(en="bits", zh="比特")
MILLISECONDS = Caption(en="ms", zh="毫秒")

LATENCY: Mapping[str, Metric] = {
    "latency_p50_ms": Metric(
        better="min",
        name=Caption(en="Latency, median", zh="延迟中位数"),
        help=Caption(en="Half of the answers take at most this long.", zh="一半的回答用时不超过此值。"),
        unit=MILLISECONDS,
    ),
    "latency_p99_ms": Metric(
        better="min",
        name=Caption(en="Latency, 99%", zh="延迟 99%"),
        help=Caption(en="99 of 100 answers take at most this long.", zh="99% 的回答用时不超过此值。"),
        unit=MILLISECONDS,
    ),
}
"""Measured for every kind; gates may name them."""

ONE_LABEL = "all test rows have one label"

CLASSIFICATION: Mapping[str, Metric] = {
    "accuracy": Metric(
        better="max",
        name=Caption(en="Accuracy", zh="准确率"),
        help=Caption(en="Share of the rows that are answered right.", zh="回答正确的数据所占比例。"),
        sentence=Caption(en="it was right {value} of the time", zh="它有 {value} 答对"),
    ),
    "precision_macro": Metric(
        better="max",
        name=Caption(en="Precision (macro)", zh="精确率（宏平均）"),
        help=Caption(
            en="Of the answers with a label, the share that is right; the mean over all labels.",
            zh="以某标签作答时答对的比例，对所有标签取平均。",
        ),
    ),
    "recall_macro": Metric(
        better="max",
        name=Caption(en="Recall (macro)", zh="召回率（宏平均）"),
        help=Caption(
            en="Of the rows of a label, the share that is found; the mean over all labels.",
            zh="某标签的数据被找出的比例，对所有标签取平均。",
        ),
    ),
    "f1_macro": Metric(
        better="max",
        name=Caption(en="F1 (macro)", zh="F1（宏平均）"),
        help=Caption(
            en="Harmonic mean of precision and recall; the mean over all labels, rare ones counting as much as common.",
            zh="精确率与召回率的调和平均，对所有标签取平均，少见的标签与常见的同等重要。",
        ),
    ),
    "roc_auc": Metric(
        better="max",
        name=Caption(en="ROC-AUC", zh="ROC 曲线下面积"),
        help=Caption(
            en="How often a row of a label scores above a row of another one; 0.5 is chance.",
            zh="某标签的数据得分高于其他标签数据的概率；0.5 为随机水平。",
        ),
        undefined=ONE_LABEL,
    ),
    "pr_auc": Metric(
        better="max",
        name=Caption(en="PR-AUC", zh="PR 曲线下面积"),
        help=Caption(
            en="Mean precision over all thresholds; for rare labels more telling than ROC-AUC.",
            zh="所有阈值上的平均精确率；对少见标签比 ROC 曲线下面积更能说明问题。",
        ),
        undefined=ONE_LABEL,
    ),
    "log_loss": Metric(
        better="min",
        name=Caption(en="Log loss", zh="对数损失"),
        help=Caption(
            en="Cost of the probability that the right label got: a sure wrong answer costs most.",
            zh="由正确标签所得概率计算的代价：越肯定的错误代价越大。",
        ),
        is_loss=True,
    ),
    "calibration_error": Metric(
        better="min",
        name=Caption(en="Calibration error", zh="校准误差"),
        help=Caption(
            en="How far confidence and share of right answers lie apart on average.",
            zh="置信度与实际答对比例之间的平均差距。",
        ),
    ),
    "precision[*]": Metric(
        better="max",
        name=Caption(en="Precision", zh="精确率"),
        help=Caption(en="Of the answers with this label, the share that is right.", zh="以此标签作答时答对的比例。"),
    ),
    "recall[*]": Metric(
        better="max",
        name=Caption(en="Recall", zh="召回率"),
        help=Caption(en="Of the rows of this label, the share that is found.", zh="此标签的数据被找出的比例。"),
    ),
    "f1[*]": Metric(
        better="max",
        name=Caption(en="F1", zh="F1 值"),
        help=Caption(en="Harmonic mean of precision and recall.", zh="精确率与召回率的调和平均。"),
    ),
}
"""What :class:`launchyard.evaluation.metrics.classification.ClassificationScores` report."""


def _ndcg(k: int) -> Metric:
    return Metric(
        better="max",
        name=Caption(en=f"NDCG of the first {k}", zh=f"前 {k} 项 NDCG"),
        help=Caption(
            en=f"Whether what was taken is among the first {k}, and how far in front.",
            zh=f"用户选择的物品是否在前 {k} 项之中，以及排得多靠前。",
        ),
    )


def _recall(k: int) -> Metric:
    return Metric(
        better="max",
        name=Caption(en=f"Found among the first {k}", zh=f"前 {k} 项命中"),
        help=Caption(
            en=f"Share of what was taken that is among the first {k}.", zh=f"用户选择的物品出现在前 {k} 项中的比例。"
        ),
    )


RANKING: Mapping[str, Metric] = {
    "ndcg@10": _ndcg(10),
    "recall@10": _recall(10),
    "mrr@10": Metric(
        better="max",
        name=Caption(en="Mean 1 / place in the first 10", zh="前 10 项倒数排名均值"),
        help=Caption(
            en="One divided by the place of what was taken; 0 beyond the first 10.",
            zh="用户所选物品名次的倒数；不在前 10 项则为 0。",
        ),
    ),
    "ndcg@20": _ndcg(20),
    "recall@20": _recall(20),
    "coverage@10": Metric(
        better="max",
        name=Caption(en="Catalogue shown in the first 10", zh="前 10 项目录覆盖率"),
        help=Caption(en="Share of the catalogue that anybody is shown.", zh="至少向一人展示过的物品占目录的比例。"),
    ),
    "diversity@10": Metric(
        better="max",
        name=Caption(en="Variety of the first 10", zh="前 10 项多样性"),
        help=Caption(en="How different the categories in one list are.", zh="同一列表中物品类别的差异程度。"),
    ),
    "novelty@10": Metric(
        better="max",
        name=Caption(en="Novelty of the first 10", zh="前 10 项新颖度"),
        help=Caption(en="How rarely others took what is shown.", zh="所展示的物品被他人选择得有多少见。"),
        unit=BITS,
    ),
    "popularity_bias@10": Metric(
        better="min",
        name=Caption(en="Popularity of the first 10", zh="前 10 项热门程度"),
        help=Caption(en="How popular what is shown is on average.", zh="所展示的物品平均有多热门。"),
    ),
}
"""What :class:`launchyard.evaluation.metrics.ranking.RankingScores` report."""
