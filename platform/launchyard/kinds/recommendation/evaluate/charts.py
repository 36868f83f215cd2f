"""What the launch report shows of a recommender's answers.

Array legend: B users, K places of a list, I items.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from launchyard.contract.predictor import Output
from launchyard.evaluation.figures import BarFigure, Caption, LineFigure, Series, TableFigure
from launchyard.evaluation.metrics.ranking import RankingScores
from launchyard.evaluation.results import Measure
from launchyard.kinds.recommendation.data.histories import HeldOut
from launchyard.kinds.recommendation.predict.item_table import ItemTable

ScoreRows = Callable[[HeldOut, NDArray[np.intp]], NDArray[np.float32]]
"""Scores of all items, (B, I), for some rows of a held-out split."""

NUM_USERS = 8
NUM_LISTED = 5
NUM_BINS = 10
NUM_FEATURES = 3


def draw_cutoffs(scores: RankingScores) -> LineFigure:
    """Return how often the taken item is among the first k."""
    hits_BK = scores.hits_BK
    places = tuple(float(place) for place in range(1, hits_BK.shape[1] + 1))
    found = np.cumsum(hits_BK, axis=1) > 0
    return LineFigure(
        name="cutoffs",
        title=Caption(en="How far down the list", zh="列表要看多长"),
        help=Caption(
            en="Share of the users whose item, the one they really took next, is among the first k of all items.",
            zh="在全部物品中，用户真正选择的下一个物品排在前 k 位的用户比例。",
        ),
        x_label=Caption(en="First k items", zh="前 k 个物品"),
        y_label=Caption(en="Share of users", zh="用户比例"),
        series=(Series(name="hit rate", x=places, y=tuple(found.mean(axis=0).tolist())),),
    )


def draw_popularity(scores: RankingScores, num_events_I: NDArray[np.int64]) -> BarFigure:
    """Return how the shown items spread over the catalogue, from its most popular tenth to its least."""
    places = scores.lists_BK[:, :10]
    tenths = (places[places >= 0] * NUM_BINS) // max(len(num_events_I), 1)
    shares = np.bincount(tenths, minlength=NUM_BINS) / max(len(tenths), 1)
    return BarFigure(
        name="popularity",
        title=Caption(en="Who gets shown", zh="展示了哪些物品"),
        help=Caption(
            en="Share of the recommended places that go to each tenth of the catalogue, the most popular tenth first.",
            zh="推荐位在目录各十分位中的分布，最热门的十分之一在前。",
        ),
        y_label=Caption(en="Share of places", zh="推荐位比例"),
        categories=tuple(f"{10 * part}-{10 * part + 10} %" for part in range(NUM_BINS)),
        values=tuple(shares.tolist()),
    )


def draw_ablation(
    with_features: Mapping[str, Measure], without: Mapping[str, Measure], difference: Measure | None
) -> BarFigure:
    """Return ndcg@10 of the test users with and without re-ranking."""
    pair = (without["ndcg@10"], with_features["ndcg@10"])
    gain = "" if difference is None else f"{difference.value:+.4f} ({difference.low:+.4f} to {difference.high:+.4f})"
    return BarFigure(
        name="features",
        title=Caption(en="What online features add", zh="在线特征带来的提升"),
        help=Caption(
            en=f"ndcg@10 on the test users in the model's own order, and with re-ranking: {gain}.",
            zh=f"测试用户的 ndcg@10：仅模型排序，以及加入在线特征重排：{gain}。",
        ),
        y_label=Caption(en="ndcg@10", zh="ndcg@10"),
        categories=("model order", "re-ranked"),
        values=tuple(measure.value for measure in pair),
        intervals=tuple((measure.low, measure.high) for measure in pair),
    )


def draw_users(rows: pa.Table, outputs: Sequence[Output], item_table: ItemTable) -> TableFigure:
    """Return some real users: the newest of what they took, what they are recommended, what they took next."""
    chosen = np.linspace(0, rows.num_rows - 1, min(NUM_USERS, rows.num_rows)).astype(int).tolist()
    lines = []
    for row in chosen:
        held = rows.slice(row, 1).to_pylist()[0]
        history = [event["item"] for event in held["events"][-NUM_LISTED:]]
        listed = [found["item"] for found in outputs[row]["items"]]
        place = listed.index(held["items"][0]) + 1 if held["items"][0] in listed else None
        lines.append(
            (
                _name(history, item_table),
                _name(listed[:NUM_LISTED], item_table),
                _name(held["items"][:1], item_table),
                "-" if place is None else place,
            )
        )
    return TableFigure(
        name="users",
        title=Caption(en="Real users", zh="真实用户"),
        help=Caption(
            en="Their newest items, the first recommendations, the item they then took and its place in the list.",
            zh="用户最近的物品、排在前面的推荐、用户随后选择的物品及其名次。",
        ),
        columns=(
            Caption(en="Took last", zh="最近的物品"),
            Caption(en="Recommended", zh="推荐"),
            Caption(en="Took next", zh="随后选择"),
            Caption(en="Place", zh="名次"),
        ),
        rows=tuple(lines),
    )


def draw_explanations(explained: Sequence[Output], item_table: ItemTable) -> TableFigure:
    """Return what spoke for the first item of each explained answer."""
    lines = []
    for output in explained:
        if not output["items"]:
            continue
        first = output["items"][0]
        near = output["explanation"]["because_of"].get(first["item"], {})
        added = output["explanation"]["features"].get(first["item"], {})
        strongest = sorted(added, key=lambda name: -abs(added[name]))[:NUM_FEATURES]
        lines.append(
            (
                first["title"],
                first["reason"],
                ", ".join(f"{_name([item], item_table)} ({cosine:.2f})" for item, cosine in near.items()) or "-",
                ", ".join(f"{name} {added[name]:+.2f}" for name in strongest) or "-",
            )
        )
    return TableFigure(
        name="explanations",
        title=Caption(en="Why these", zh="推荐理由"),
        help=Caption(
            en="The first recommendation of some users, the reason they are given, the items of their history that are "
            "most like it, and the features that moved it most.",
            zh="部分用户的首个推荐、给出的理由、历史中最相似的物品，以及影响最大的特征。",
        ),
        columns=(
            Caption(en="Recommended", zh="推荐"),
            Caption(en="Reason given", zh="给出的理由"),
            Caption(en="Most like", zh="最相似"),
            Caption(en="Features", zh="特征"),
        ),
        rows=tuple(lines),
    )


def _name(items: Sequence[str], item_table: ItemTable) -> str:
    return ", ".join(item_table.titles[place] for place in item_table.find(items))
