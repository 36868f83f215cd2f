"""A small interaction log with planted tastes: who likes one kind of film takes the next one of it, in order."""

from __future__ import annotations

import csv
import random
from pathlib import Path
from typing import Any

from launchyard.kinds.recommendation.spec import Recommendation

START_S = 1_600_000_000
NUM_USERS = 120
TASTES = {
    taste: tuple(f"{taste[0]}{number}" for number in range(12)) for taste in ("drama", "comedy", "western", "noir")
}
"""Category -> its items, in the order in which people take them."""


def make_spec(**blocks: Any) -> Recommendation:
    """Return a product whose model trains in a second; ``blocks`` replace whole blocks of the spec."""
    spec: dict[str, Any] = {
        "api": "launchyard/v1",
        "product": "tiny-films",
        "kind": "recommendation",
        "data": {
            "source": "events.csv",
            "interactions": {
                "user": "who",
                "item": "what",
                "timestamp": "when",
                "event": "did",
                "weight": "stars",
                "context": ["device"],
            },
            "items": {
                "source": "items.csv",
                "id": "what",
                "title": "name",
                "categories": "kinds",
                "separator": "|",
                "time": "year",
                "price": "price",
            },
            "users": {"source": "users.csv", "id": "who", "attributes": ["country"]},
        },
        "model": {"architecture": "sasrec", "dim": 16, "layers": 1, "heads": 1, "max_length": 20, "dropout": 0.0},
        "train": {"epochs": 12, "batch_size": 32, "learning_rate": 1e-2, "precision": "fp32"},
        "evaluate": {"slices": ["country"], "bootstrap": 200},
    }
    return Recommendation.model_validate(spec | blocks)


def list_events(*, seed: int = 0, num_users: int = NUM_USERS) -> list[dict[str, Any]]:
    """Return the events of users who each follow one taste, one event in six being of another."""
    generator = random.Random(seed)
    events: list[dict[str, Any]] = []
    for user in range(num_users):
        taste = list(TASTES)[user % len(TASTES)]
        place, moment, seen = generator.randrange(12), START_S + generator.randrange(40 * 86_400), set()
        for _ in range(generator.randint(5, 11)):
            item = TASTES[taste][place % 12]
            if generator.random() < 1 / 6:
                item = generator.choice(TASTES[generator.choice(list(TASTES))])
            else:
                place += 1
            if item in seen:
                continue
            seen.add(item)
            moment += generator.randrange(60, 3 * 86_400)
            events.append(
                {
                    "who": user,
                    "what": item,
                    "when": moment,
                    "did": generator.choice(("view", "buy")),
                    "stars": generator.randint(1, 5),
                    "device": generator.choice(("phone", "tv")),
                }
            )
    generator.shuffle(events)
    return events


def write_sources(folder: Path, events: list[dict[str, Any]] | None = None) -> Path:
    """Write the three sources that :func:`make_spec` names, and return their folder."""
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "events.csv", events or list_events())
    items = [
        {
            "what": item,
            "name": f"{taste.title()} {number}",
            "kinds": f"{taste}|film",
            "year": 1990 + number,
            "price": 5 + number,
        }
        for taste, found in TASTES.items()
        for number, item in enumerate(found)
    ]
    items.append({"what": "cold", "name": "Never Taken", "kinds": "noir|film", "year": 2023, "price": 9})
    _write(folder / "items.csv", items)
    users = dict.fromkeys(str(event["who"]) for event in events or list_events())
    _write(folder / "users.csv", [{"who": user, "country": "fr" if len(user) % 2 else "de"} for user in users])
    return folder


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
