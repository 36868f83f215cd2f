"""Train RecTools' SASRec with the full softmax loss and rank each user's target; see `recommendation_rectools.py`.

    rectools_sasrec.py DATASET OUTPUT [--epochs 100] [--patience 10] [--dim 64] ... [--seed 0]
    rectools_sasrec.py DATASET OUTPUT --trials 20 [--trial-seconds 900]
    rectools_sasrec.py DATASET OUTPUT --best [--seed 1]

DATASET is a prepared data set. Trains on its training events, keeps the weights of the epoch with the best NDCG@10 on
the validation targets, and ranks the test targets among all items that the user has not seen, from a history that
includes the validation event. Adds a line to OUTPUT/results.jsonl and writes each user's rank to
OUTPUT/ranks-SEED.parquet, null where no training event has the target.

`--trials` searches settings by validation NDCG@10, one line of OUTPUT/trials.jsonl each; called again it goes on where
it stopped. `--best` takes the best trial's setting.

Array suffixes: U users, L places of a history, N items with extra tokens, D dimensions.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
import warnings
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pytorch_lightning import Callback, LightningModule, Trainer, seed_everything
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel
from rectools_settings import add_line, read_lines, sample_setting

K = 10
UNRANKED = 1_000_000_000
"""The rank of a target that no training event has: it cannot be recommended."""


@dataclass(frozen=True)
class Setting:
    """What the search may choose."""

    learning_rate: float
    dropout: float
    dim: int
    layers: int
    length: int
    batch_size: int
    heads: int


@dataclass(frozen=True)
class Budget:
    """When training ends: after so many epochs, so many of them without a better one, or so many seconds."""

    epochs: int
    patience: int
    seconds: float


@dataclass(frozen=True)
class HeldOut:
    """Users, what they did, and what they did next."""

    users: list[str]
    histories: list[list[str]]
    targets: list[str]
    frame: pd.DataFrame


@dataclass
class Curve:
    """What validation found after each epoch."""

    seconds: list[float] = field(default_factory=list)
    ndcg: list[float] = field(default_factory=list)
    stopped: str = "epochs"

    @property
    def best_epoch(self) -> int:
        """The number of the best epoch, counted from one."""
        return int(np.argmax(self.ndcg)) + 1


class Validation(Callback):
    """Measures each epoch on the validation targets, keeps the best weights and says when enough is enough."""

    def __init__(self, validation: HeldOut, budget: Budget, length: int) -> None:
        self.curve = Curve()
        self.best_weights: dict[str, torch.Tensor] = {}
        self._validation = validation
        self._budget = budget
        self._length = length
        self._started = 0.0
        self._measuring_s = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._started = time.perf_counter()

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Stop in the middle of an epoch when the time is over."""
        if self._count_seconds() > self._budget.seconds:
            self.curve.stopped = "seconds"
            trainer.should_stop = True

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure the epoch; the clock stands still meanwhile."""
        self.curve.seconds.append(round(self._count_seconds(), 2))
        start = time.perf_counter()
        self.curve.ndcg.append(measure_ranks(rank_targets(pl_module, self._validation, self._length))["ndcg@10"])
        if self.curve.best_epoch == len(self.curve.ndcg):
            self.best_weights = {name: value.clone() for name, value in pl_module.state_dict().items()}
        elif len(self.curve.ndcg) - self.curve.best_epoch >= self._budget.patience:
            self.curve.stopped = "patience"
            trainer.should_stop = True
        self._measuring_s += time.perf_counter() - start

    def _count_seconds(self) -> float:
        return time.perf_counter() - self._started - self._measuring_s


def read_held_out(path: Path) -> HeldOut:
    """Return the users of one split, with one target each."""
    table = pd.read_parquet(path)
    events = [
        (user, event["item"], event["weight"], event["timestamp"])
        for user, history in zip(table["user"], table["events"], strict=True)
        for event in history
    ]
    return HeldOut(
        users=list(table["user"]),
        histories=[[event["item"] for event in history] for history in table["events"]],
        targets=[items[0] for items in table["items"]],
        frame=make_frame(pd.DataFrame(events, columns=["user", "item", "weight", "timestamp"])),
    )


def make_frame(events: pd.DataFrame) -> pd.DataFrame:
    """Return events in the columns of RecTools, in the order given: its own sort by time is stable."""
    return pd.DataFrame(
        {
            Columns.User: events["user"].to_numpy(),
            Columns.Item: events["item"].to_numpy(),
            Columns.Weight: events["weight"].to_numpy(),
            Columns.Datetime: pd.to_datetime(events["timestamp"].to_numpy(), unit="s"),
        }
    )


def rank_targets(module: Any, held_out: HeldOut, length: int) -> NDArray[np.int64]:
    """Return the rank of each user's target among all items that are not in the user's history."""
    to_internal = module.data_preparator.item_id_map.to_internal.to_dict()
    known = [[to_internal[item] for item in history if item in to_internal] for history in held_out.histories]
    x_UL = np.zeros((len(known), length), dtype=np.int64)
    for row, items in enumerate(known):
        x_UL[row, length - len(items[-length:]) :] = items[-length:]
    module.eval()
    with torch.no_grad():
        items_ND = module.torch_model.item_model.get_all_embeddings()
        batches = torch.from_numpy(x_UL).split(256)
        users_UD = torch.cat([module.torch_model.encode_sessions({"x": x}, items_ND)[:, -1] for x in batches])
        scores_UN = (users_UD @ items_ND.T).numpy()
    module.train()
    scores_UN[:, : module.data_preparator.n_item_extra_tokens] = -np.inf
    ranks_U = np.full(len(known), UNRANKED)
    for row, target in enumerate(held_out.targets):
        if target in to_internal:
            score = scores_UN[row, to_internal[target]]
            scores_UN[row, known[row]] = -np.inf
            ranks_U[row] = 1 + np.count_nonzero(scores_UN[row] > score)
    return ranks_U


def recommend_ranks(model: SASRecModel, held_out: HeldOut) -> NDArray[np.int64]:
    """Return the same ranks by the library's own way of recommending, with every item asked for."""
    everything = model.recommend(
        users=held_out.users,
        dataset=Dataset.construct(held_out.frame),
        k=len(model.data_preparator.get_known_item_ids()),
        filter_viewed=True,
    )
    targets = pd.DataFrame({Columns.User: held_out.users, Columns.Item: held_out.targets})
    found = targets.merge(everything, how="left", on=[Columns.User, Columns.Item])[Columns.Rank]
    ranks_U: NDArray[np.int64] = found.fillna(UNRANKED).to_numpy(dtype=np.int64)
    return ranks_U


def measure_ranks(ranks_U: NDArray[np.int64]) -> dict[str, float]:
    """Return NDCG, hit rate and mean reciprocal rank, all at 10, of one target a user."""
    hit_U = ranks_U <= K
    ranks = ranks_U[hit_U]
    return {
        "ndcg@10": float(np.sum(1 / np.log2(1 + ranks)) / len(ranks_U)),
        "hr@10": float(np.mean(hit_U)),
        "mrr@10": float(np.sum(1 / ranks) / len(ranks_U)),
    }


def train_model(
    train: pd.DataFrame, validation: HeldOut, setting: Setting, budget: Budget, *, seed: int
) -> tuple[SASRecModel, Curve]:
    """Return a model with the weights of its best epoch, and how it came there."""
    seed_everything(seed, workers=True)

    def make_trainer() -> Trainer:
        return Trainer(
            max_epochs=budget.epochs,
            accelerator="cpu",
            callbacks=[Validation(validation, budget, setting.length)],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )

    model = SASRecModel(
        loss="softmax",
        lr=setting.learning_rate,
        dropout_rate=setting.dropout,
        n_factors=setting.dim,
        n_blocks=setting.layers,
        n_heads=setting.heads,
        session_max_len=setting.length,
        batch_size=setting.batch_size,
        get_trainer_func=make_trainer,
        recommend_torch_device="cpu",
    )
    model.fit(Dataset.construct(train))
    watched = next(callback for callback in model.fit_trainer.callbacks if isinstance(callback, Validation))
    model.lightning_model.load_state_dict(watched.best_weights)
    return model, watched.curve


def search(options: argparse.Namespace, train: pd.DataFrame, validation: HeldOut) -> None:
    """Train every trial that has no line yet and print the best three."""
    path = options.output / "trials.jsonl"
    budget = Budget(options.epochs, options.patience, options.trial_seconds)
    done = {record["trial"] for record in read_lines(path)}
    for trial in range(options.trials):
        if trial in done:
            continue
        setting = Setting(**sample_setting(options.seed, trial, options.heads))
        _, curve = train_model(train, validation, setting, budget, seed=options.seed)
        record = {"trial": trial, "seed": options.seed, "setting": asdict(setting), **describe_curve(curve)}
        add_line(path, record)
        print(json.dumps({name: value for name, value in record.items() if name != "curve"}), flush=True)
    best = sorted(read_lines(path), key=lambda record: -record["validation_ndcg@10"])[:3]
    print("best:", *(f"{record['validation_ndcg@10']:.4f} {record['setting']}" for record in best), sep="\n  ")


def describe_curve(curve: Curve) -> dict[str, Any]:
    """Return what is recorded about one training."""
    return {
        "validation_ndcg@10": max(curve.ndcg),
        "best_epoch": curve.best_epoch,
        "epochs": len(curve.ndcg),
        "stopped": curve.stopped,
        "train_s": curve.seconds[-1],
        "best_s": curve.seconds[curve.best_epoch - 1],
        "curve": {"train_s": curve.seconds, "ndcg@10": curve.ndcg},
    }


def test_once(options: argparse.Namespace, train: pd.DataFrame, validation: HeldOut) -> None:
    """Train one model, rank the test targets, and record both."""
    names = Setting.__dataclass_fields__
    setting = Setting(**{name: getattr(options, name) for name in names})
    if options.best:
        trials = read_lines(options.output / "trials.jsonl")
        setting = Setting(**max(trials, key=lambda record: record["validation_ndcg@10"])["setting"])
    budget = Budget(options.epochs, options.patience, float("inf"))
    model, curve = train_model(train, validation, setting, budget, seed=options.seed)
    test = read_held_out(options.dataset / "test.parquet")
    ranks_U = recommend_ranks(model, test)
    differing = int(np.count_nonzero(ranks_U != rank_targets(model.lightning_model, test, setting.length)))
    if differing > 0.01 * len(ranks_U):
        raise RuntimeError(f"{differing} of {len(ranks_U)} ranks differ between validation's way and the library's.")
    ranks = pd.DataFrame({"user": test.users, "item": test.targets, "rank": pd.array(ranks_U, dtype="Int64")})
    ranks["rank"] = ranks["rank"].where(ranks_U != UNRANKED)
    ranks.to_parquet(options.output / f"ranks-{options.seed}.parquet", index=False)
    record = {
        "seed": options.seed,
        "setting": asdict(setting),
        "threads": options.threads,
        "test": measure_ranks(ranks_U),
        "ranks_differing": differing,
        **describe_curve(curve),
    }
    add_line(options.output / "results.jsonl", record)
    print(json.dumps(record))


def parse_options() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description="Train RecTools' SASRec.")
    parser.add_argument("dataset", type=Path, help="a prepared data set")
    parser.add_argument("output", type=Path, help="folder of results, made when absent")
    parser.add_argument("--epochs", type=int, default=100, help="at most")
    parser.add_argument("--patience", type=int, default=10, help="epochs without a better one")
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--length", type=int, default=200)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--dropout", type=float, default=0.2)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0, help="of the weights, the batches and the search")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--trials", type=int, default=0, help="search so many settings instead of testing one")
    parser.add_argument("--trial-seconds", type=float, default=900, help="training time of one trial, at most")
    parser.add_argument("--best", action="store_true", help="take the setting of the best trial in OUTPUT")
    return parser.parse_args()


def main() -> None:
    """Search or test."""
    options = parse_options()
    warnings.filterwarnings("ignore", module="pytorch_lightning|rectools|pydantic")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    torch.set_num_threads(options.threads)
    options.output.mkdir(parents=True, exist_ok=True)
    train = make_frame(pd.read_parquet(options.dataset / "train.parquet"))
    validation = read_held_out(options.dataset / "validation.parquet")
    if options.trials:
        search(options, train, validation)
    else:
        test_once(options, train, validation)


if __name__ == "__main__":
    main()
