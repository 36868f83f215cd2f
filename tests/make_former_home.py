"""Writes ``golden/former_home.tar.xz``: a home as the code at commit 67e49ca left it, with ids in their older forms.

    git worktree add ../former 67e49ca
    PYTHONPATH=../former/platform:../former/pipelines:../former/serving:../former/tests \\
        python tests/make_former_home.py tests/golden/former_home.tar.xz

That code kept an id as its file or request wrote it: ``7000.0`` and ``8000.000000000`` were no 7000 and 8000, and an
accent that combines was another letter than one that is composed.
"""

from __future__ import annotations

import sys
import tarfile
import tempfile
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from launchyard.privacy.pseudonyms import pseudonymise
from launchyard.records.events import Event, EventLog
from launchyard.records.records import Feedback, Records
from launchyard.settings import Settings
from recommendation_samples import PRODUCT, deploy_recommender, make_linear_spec
from tiny_interactions import START_S, TASTES, list_events

USERS = ("7000.0", "8000.000000000", "rene\u0301")
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


def write_home(home: Path) -> None:
    """Release a recommender that these users are in, then give each two events more and one feedback."""
    settings = Settings(home=home)
    own = [
        {"who": user, "what": item, "when": START_S + place, "did": "view", "stars": 1, "device": "tv"}
        for user in USERS
        for place, item in enumerate(TASTES["noir"][:3])
    ]
    folder = settings.runs_dir(PRODUCT) / "20261101-110000"
    folder.mkdir(parents=True)
    deploy_recommender(settings, folder, make_linear_spec(), [*list_events(), *own])
    with closing(Records(settings)) as records, closing(EventLog(settings, PRODUCT)) as log:
        key = records.get_signing_key()
        for user in USERS:
            subject = pseudonymise(key, PRODUCT, user)
            log.add([Event(subject, item, NOON) for item in TASTES["western"][:2]])
            records.add_feedback(
                Feedback(output_id=user, product=PRODUCT, version=1, predicted_at=NOON, rating=5, subject=subject)
            )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        write_home(Path(folder) / "home")
        with tarfile.open(sys.argv[1], "w:xz") as archive:
            archive.add(Path(folder) / "home", "home")
