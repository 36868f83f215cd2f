"""A recommender with a version and the files of a run, for everything that tests forgetting."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from bundle_samples import make_dataset, write_content
from launchyard.bundle.manifest import write_manifest
from launchyard.bundle.store import BundleStore
from launchyard.kinds.recommendation.spec import Recommendation
from launchyard.privacy.pseudonyms import pseudonymise
from launchyard.records.events import Event, EventLog
from launchyard.records.records import Feedback, Records
from launchyard.settings import Settings
from records_contract import NOW

PRODUCT = "films"
USERS = tuple(f"user-{number}" for number in range(40))
ANN, BOB = USERS[:2]


def make_spec(source: str = "log.csv") -> Recommendation:
    return Recommendation.model_validate(
        {
            "api": "launchyard/v1",
            "product": PRODUCT,
            "kind": "recommendation",
            "data": {"source": source, "interactions": {}},
            "model": {"architecture": "popularity"},
        }
    )


def add_version(settings: Settings, folder: Path, report: str = "") -> int:
    """Register a bundle whose report holds this text; return its version."""
    write_content(folder, product=PRODUCT)
    (folder / "report.html").write_text(report, encoding="utf-8")
    manifest = write_manifest(
        folder, make_spec(), namespace="default", run_id="run-1", code_version="0.1.0", base_model=None
    )
    records = Records(settings)
    version = records.add_version(manifest, BundleStore(settings).add(folder)).version
    records.close()
    return version


def write_run(settings: Settings, users: list[str]) -> Path:
    """Write the prepared data set of a run with a row of each of the users; return its folder."""
    folder = settings.runs_dir(PRODUCT) / "20261122-120000" / "artifacts" / "prepare" / "dataset"
    folder.mkdir(parents=True)
    (folder / "dataset.json").write_text(make_dataset(PRODUCT).model_dump_json(), encoding="utf-8")
    for name in ("train", "validation", "test"):
        pq.write_table(pa.table({"user": users, "item": ["x"] * len(users)}), folder / f"{name}.parquet")
    return folder


def find_pseudonym(settings: Settings, user: str = ANN) -> str:
    records = Records(settings)
    key = records.get_signing_key()
    records.close()
    return pseudonymise(key, PRODUCT, user)


def add_events(settings: Settings, user: str, *items: str) -> None:
    log = EventLog(settings, PRODUCT)
    log.add([Event(find_pseudonym(settings, user), item, NOW) for item in items])
    log.close()


def add_feedback(settings: Settings, user: str, output_id: str, comment: str) -> None:
    records = Records(settings)
    records.add_feedback(
        Feedback(
            output_id=output_id,
            product=PRODUCT,
            version=1,
            predicted_at=NOW,
            comment=comment,
            subject=find_pseudonym(settings, user),
        )
    )
    records.close()


def read_everything(folder: Path) -> bytes:
    """Return the bytes of all files below a folder."""
    return b"\n".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())
