"""How replies are measured: by the words they share with the right one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from acme_kinds.replies.predict import split_words
from launchyard.contract.evaluation import Evaluator
from launchyard.contract.predictor import Output
from launchyard.evaluation.figures import Caption, Figure, TableFigure
from launchyard.spec.blocks import Product

NUM_SHOWN = 10


@dataclass(frozen=True)
class ReplyScores:
    """One row of each measure for each question."""

    values_MB: NDArray[np.float64]
    """Measures, in the order of ``names``, by rows."""
    names: tuple[str, ...] = ("word_f1", "exact")

    @property
    def num_rows(self) -> int:
        """Number of questions."""
        return len(self.values_MB[0])

    def metrics(self) -> dict[str, float]:
        """Return the mean of each measure."""
        return dict(zip(self.names, self.values_MB.mean(axis=1).tolist(), strict=True))

    def resample(self, weights_RB: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Return the weighted means."""
        means_RM = weights_RB @ self.values_MB.T / weights_RB.sum(axis=1, keepdims=True)
        return dict(zip(self.names, means_RM.T, strict=True))


class ReplyEvaluator(Evaluator):
    """Nothing cheaper than this is known, so that it is compared with nothing."""

    def __init__(self, spec: Product, dataset_dir: Path) -> None:
        self.spec = spec

    def score(self, rows: pa.Table, outputs: Sequence[Output]) -> ReplyScores:
        pairs = list(zip(rows["reply"].to_pylist(), [output["reply"] for output in outputs], strict=True))
        shared = [share_words(right, given) for right, given in pairs]
        return ReplyScores(np.array([shared, [float(right == given) for right, given in pairs]]))

    def slices(self, rows: pa.Table) -> dict[str, list[str]]:
        lengths = [len(split_words(question)) for question in rows["question"].to_pylist()]
        named = {name: [str(value) for value in rows[name].to_pylist()] for name in self.spec.evaluate.slices}
        return {"length": ["short" if length <= 4 else "long" for length in lengths]} | named

    def figures(self, bundle_dir: Path, rows: pa.Table, outputs: Sequence[Output]) -> list[Figure]:
        scores = self.score(rows, outputs).values_MB[0]
        worst = np.argsort(scores, kind="stable")[:NUM_SHOWN]
        return [
            TableFigure(
                name="worst_replies",
                title=Caption(en="Worst replies", zh="最差的回复"),
                help=Caption(
                    en="The replies that share fewest words with the right one.", zh="与正确回复共同词语最少的回复。"
                ),
                columns=(
                    Caption(en="question", zh="问题"),
                    Caption(en="reply", zh="回复"),
                    Caption(en="right", zh="正确"),
                ),
                rows=tuple(
                    (rows["question"][i].as_py(), outputs[i]["reply"], rows["reply"][i].as_py()) for i in worst.tolist()
                ),
            )
        ]

    def choose_examples(self, rows: pa.Table, outputs: Sequence[Output]) -> list[int]:
        return sorted(range(len(outputs)), key=lambda index: -float(outputs[index]["similarity"]))[:5]


def share_words(right: str, given: str) -> float:
    """Return the harmonic mean of the shares of words that two texts have in common.

    >>> share_words("one two", "two three")
    0.5
    """
    left, other = Counter(split_words(right)), Counter(split_words(given))
    common = sum((left & other).values())
    return 2 * common / max(1, sum(left.values()) + sum(other.values()))
