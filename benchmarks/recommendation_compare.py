"""Compare two models user by user, over the seeds that both were trained with: a paired bootstrap of NDCG@10.

    python benchmarks/recommendation_compare.py OURS THEIRS --at-least -0.005

OURS and THEIRS are folders that `recommendation_models.py` or `recommendation_rectools.py` wrote ranks to. A user's
NDCG is the mean over seeds; users are drawn with replacement. ``time_to_equal`` is how long ours trained until it was
as good on the validation users as theirs ever was, over how long theirs took: the median over seeds. Exit code 1 when
the lower bound of ours minus theirs is below the limit.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

K = 10
RESAMPLES = 10_000


def read_ndcg(path: Path) -> pd.Series:
    """Return the NDCG@10 of each user in a file of ranks, by user."""
    ranks = pd.read_parquet(path).set_index("user")["rank"].astype("float64")
    return (1 / np.log2(1 + ranks)).where(ranks <= K, 0.0)


def read_curves(folder: Path) -> dict[str, dict[str, list[float]]]:
    """Return the newest validation curve of each seed, by the name of its file of ranks."""
    lines = [json.loads(line) for line in (folder / "results.jsonl").read_text(encoding="utf-8").splitlines()]
    return {f"ranks-{line['seed']}.parquet": line["curve"] for line in lines if line["curve"]}


def time_to_equal(ours: dict[str, list[float]], theirs: dict[str, list[float]]) -> float:
    """Return our seconds until their best validation NDCG over theirs; infinite if ours never came there."""
    place = int(np.argmax(theirs["ndcg@10"]))
    there = np.asarray(ours["ndcg@10"]) >= theirs["ndcg@10"][place]
    return ours["train_s"][int(np.argmax(there))] / theirs["train_s"][place] if there.any() else float("inf")


def main() -> None:
    """Compare and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ours", type=Path)
    parser.add_argument("theirs", type=Path)
    parser.add_argument("--at-least", type=float, default=0.0)
    options = parser.parse_args()
    seeds = sorted(
        {path.name for path in options.ours.glob("ranks-*.parquet")}
        & {path.name for path in options.theirs.glob("ranks-*.parquet")}
    )
    if not seeds:
        sys.exit("no seed that both were trained with")
    ours, theirs = (
        pd.concat([read_ndcg(folder / name) for name in seeds], axis=1).mean(axis=1).sort_index()
        for folder in (options.ours, options.theirs)
    )
    if list(ours.index) != list(theirs.index):
        sys.exit("the two were measured on different users")
    our_curves, their_curves = read_curves(options.ours), read_curves(options.theirs)
    times = [time_to_equal(our_curves[seed], their_curves[seed]) for seed in seeds]
    difference_U: NDArray[np.float64] = (ours - theirs).to_numpy()
    drawn = np.random.default_rng(0).integers(0, len(difference_U), size=(RESAMPLES, len(difference_U)))
    low, high = np.quantile(difference_U[drawn].mean(axis=1), (0.025, 0.975))
    found = {
        "seeds": len(seeds),
        "users": len(difference_U),
        "ours": float(ours.mean()),
        "theirs": float(theirs.mean()),
        "difference": float(difference_U.mean()),
        "low": float(low),
        "high": float(high),
        "at_least": options.at_least,
        "time_to_equal": float(np.median(times)),
    }
    print(json.dumps(found, indent=2))
    sys.exit(0 if low >= options.at_least else 1)


if __name__ == "__main__":
    main()
