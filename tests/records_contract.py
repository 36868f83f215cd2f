"""What records promise, on whatever database they stand; each tier runs it on its own."""

from __future__ import annotations

import json
import multiprocessing
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import MetaData, Table, select

from bundle_samples import describe_bundle, write_content
from launchyard.bundle.manifest import BundleManifest, GateRecord
from launchyard.errors import RegistryError, RequestError
from launchyard.records.database import RecordDatabase
from launchyard.records.records import MAX_PIECES, SAID, Feedback, Records
from launchyard.records.tables import FEEDBACK, FIRST_SCHEMA, MIGRATIONS, ROLLOUTS, open_records
from launchyard.rollout.rules import Cause, Release, promote, start_rollout
from launchyard.settings import Settings

NOW = datetime(2026, 11, 22, 12, 30, tzinfo=UTC)
ANN = "a1" * 16
SPAWN = multiprocessing.get_context("spawn")

ADD_FEEDBACK_FOREVER = """
import sys
from itertools import count
from records_contract import make_feedback
from launchyard.records.records import Records
from launchyard.settings import Settings

records = Records(Settings.model_validate_json(sys.argv[1]))
for number in count():
    records.add_feedback(make_feedback(f"id-{number}"))
    print(number, flush=True)
"""


def make_feedback(output_id: str, **said: Any) -> Feedback:
    return Feedback.model_validate(
        {"output_id": output_id, "product": "reviews", "version": 1, "predicted_at": NOW} | (said or {"label": "good"})
    )


def make_manifest(folder: Path, weights: str = "weights") -> BundleManifest:
    write_content(folder, weights=weights.encode(), product="reviews")
    return describe_bundle(folder, product="reviews")


def add_feedback_in_process(settings: Settings, worker: int, num_rows: int) -> None:
    records = Records(settings)
    for number in range(num_rows):
        records.add_feedback(make_feedback(f"worker-{worker}-{number}"))


def get_key_in_process(settings: Settings) -> bytes:
    return Records(settings).get_signing_key()


class RecordsContract:
    """Tests of one database; a subclass gives the ``settings`` fixture."""

    @pytest.fixture
    def records(self, settings: Settings) -> Records:
        return Records(settings)

    def test_a_database_of_the_first_release_is_brought_up_with_its_rows(self, settings: Settings) -> None:
        engine = open_records(settings.records_url, MIGRATIONS[:1])
        said = make_feedback("a").model_dump(exclude={"subject", "correction"})
        with engine.begin() as connection:
            row = said | {"namespace": "default", "number": 0, "received_at": NOW}
            connection.execute(FIRST_SCHEMA.tables["launchyard_feedback"].insert(), row)
        engine.dispose()

        records = Records(settings)

        assert records.list_feedback("reviews") == [make_feedback("a")]
        assert records.add_feedback(make_feedback("b", subject=ANN, label="good"))
        assert records.count_feedback_of("reviews", ANN) == 1

    def test_what_an_older_version_released_counts_as_mirrored_and_what_is_released_now_does_not(
        self, settings: Settings, tmp_path: Path
    ) -> None:
        engine = open_records(settings.records_url, MIGRATIONS[:2])
        release = Release(
            version=1, digest="d" * 64, bundle_uri="bundles/d", gate=GateRecord(evaluation_sha256="0" * 64, gates=())
        )
        first = promote(start_rollout("default", "reviews"), release, Cause(actor="ann", reason="", now=NOW))
        with engine.begin() as connection:
            row = {"namespace": "default", "product": "reviews", "revision": 1, "document": first.model_dump_json()}
            connection.execute(ROLLOUTS.insert(), row)
        engine.dispose()
        records = Records(settings)
        second = promote(first, release.model_copy(update={"version": 2}), Cause(actor="ann", reason="better", now=NOW))

        assert records.list_unmirrored() == []
        assert records.write_rollout(second, 1)
        assert records.list_unmirrored() == [second]
        records.note_mirrored(second)
        records.note_mirrored(first)
        assert records.list_unmirrored() == []

    def test_forgetting_a_user_takes_what_was_said_about_the_answers_to_that_user(self, records: Records) -> None:
        records.add_feedback(make_feedback("a", subject=ANN, rating=5))
        records.add_feedback(make_feedback("b", subject=ANN, comment="I am Ann"))
        records.add_feedback(make_feedback("c", rating=1))
        records.add_feedback(make_feedback("a", subject=ANN, label="good"))
        records.add_feedback(make_feedback("d", subject=ANN, label="good", product="other"))

        assert records.count_feedback_of("reviews", ANN) == 3
        assert records.forget_feedback("reviews", ANN) == 3
        assert records.forget_feedback("reviews", ANN) == 0
        assert [feedback.output_id for feedback in records.list_feedback("reviews")] == ["c"]
        assert records.count_feedback("other") == 1

    def test_versions_count_up_and_the_same_content_keeps_its_number(self, records: Records, tmp_path: Path) -> None:
        first, second = make_manifest(tmp_path / "1", "one"), make_manifest(tmp_path / "2", "two")

        numbers = [records.add_version(manifest, "bundles/x").version for manifest in (first, second, first)]

        assert numbers == [1, 2, 1]
        assert [version.digest for version in records.list_versions("reviews")] == [first.digest, second.digest]
        assert records.get_version("reviews", 2).metrics == second.metrics
        assert records.get_version("reviews", 2).created == second.created

    def test_one_content_registered_by_many_at_once_gets_one_number(self, records: Records, tmp_path: Path) -> None:
        manifests = [make_manifest(tmp_path / str(number), str(number)) for number in range(3)] * 6

        with ThreadPoolExecutor(6) as pool:
            numbers = list(pool.map(lambda manifest: records.add_version(manifest, "bundles/x").version, manifests))

        assert sorted(set(numbers)) == [1, 2, 3]
        assert numbers[:3] * 6 == numbers

    def test_an_unknown_product_names_the_nearest_and_an_unknown_version_those_there_are(
        self, records: Records, tmp_path: Path
    ) -> None:
        records.add_version(make_manifest(tmp_path / "1"), "bundles/x")

        with pytest.raises(RegistryError, match=r"Did you mean 'reviews'\? Known products: reviews\."):
            records.list_versions("review")
        with pytest.raises(RegistryError, match=r"no version 7\. Versions: 1\."):
            records.get_version("reviews", 7)

    def test_a_rollout_record_is_written_with_its_decision(self, records: Records, tmp_path: Path) -> None:
        release = records.add_version(make_manifest(tmp_path / "1"), "bundles/x").release
        cause = Cause(actor="ann", reason="better", now=NOW, run_id="run-1")
        changed = promote(start_rollout("default", "reviews"), release, cause)

        assert records.find_rollout("reviews") is None
        assert records.write_rollout(changed, 0)

        assert records.find_rollout("reviews") == changed
        assert records.list_rollouts() == [changed]
        assert records.history("reviews") == [changed.decision]

    def test_of_two_who_change_one_record_the_second_is_told(self, records: Records, tmp_path: Path) -> None:
        start = start_rollout("default", "reviews")
        releases = [records.add_version(make_manifest(tmp_path / name, name), "bundles/x").release for name in "abcdef"]
        rivals = [promote(start, release, Cause(actor="ann", reason="", now=NOW)) for release in releases]

        with ThreadPoolExecutor(6) as pool:
            written = list(pool.map(lambda rival: records.write_rollout(rival, 0), rivals))

        assert sum(written) == 1
        assert records.find_rollout("reviews") == rivals[written.index(True)]
        assert len(records.history("reviews")) == 1

    def test_a_record_that_skips_a_decision_is_a_mistake_of_the_caller(self, records: Records) -> None:
        with pytest.raises(ValueError, match="not one decision after 0"):
            records.write_rollout(start_rollout("default", "reviews"), 0)

    def test_what_was_said_to_the_version_before_stands_and_takes_corrections(self, settings: Settings) -> None:
        former = MetaData()
        engine = open_records(settings.records_url, MIGRATIONS[:4])
        table = Table("launchyard_feedback", former, autoload_with=engine)
        pieces: tuple[tuple[str, int, dict[str, Any]], ...] = (
            ("a", 0, {"label": "good", "comment": "5 %"}),
            ("a", 1, {"label": "bad"}),
            ("b", 0, {"rating": 2.5}),
        )
        with engine.begin() as connection:
            for output_id, number, said in pieces:
                row = make_feedback(output_id, subject=ANN, **said).model_dump(exclude={"correction"})
                kept = {"namespace": "default", "number": number, "received_at": NOW.replace(tzinfo=None)}
                times = {"predicted_at": NOW.replace(tzinfo=None)}
                connection.execute(table.insert(), {**row, "label": None, "rating": None, **said, **kept, **times})
        engine.dispose()

        records = Records(settings)
        correction = {"items": ["b", {"share": 0.5}], "right": None}

        assert records.list_feedback("reviews") == [
            make_feedback("a", subject=ANN, label="bad", comment="5 %"),
            make_feedback("b", subject=ANN, rating=2.5),
        ]
        assert not records.add_feedback(make_feedback("a", subject=ANN, label="bad"))
        assert records.add_feedback(make_feedback("b", subject=ANN, correction=correction))
        assert records.list_feedback("reviews")[1].correction == correction
        assert records.forget_feedback("reviews", ANN) == 4

    def test_feedback_sent_twice_counts_once_and_a_correction_stands_above(self, records: Records) -> None:
        assert records.add_feedback(make_feedback("a", label="good"))
        assert not records.add_feedback(make_feedback("a", label="good"))
        assert records.add_feedback(make_feedback("a", label="bad", comment="after all"))
        assert records.add_feedback(make_feedback("a", label="good"))
        assert records.add_feedback(make_feedback("b", rating=4.5))

        assert records.list_feedback("reviews") == [
            make_feedback("a", label="good", comment="after all"),
            make_feedback("b", rating=4.5),
        ]
        assert records.count_feedback("reviews") == 2

    def test_of_one_answer_the_newest_pieces_are_kept_and_what_stands_is_never_lost(
        self, settings: Settings, records: Records
    ) -> None:
        records.add_feedback(make_feedback("first", comment="kept", rating=2.0))
        records.add_feedback(make_feedback("last", rating=1.0))

        for number in range(200):
            assert records.add_feedback(make_feedback("first", label="good" if number % 2 else "bad"))

        assert records.list_feedback("reviews") == [
            make_feedback("first", comment="kept", rating=2.0, label="good"),
            make_feedback("last", rating=1.0),
        ]
        with RecordDatabase(settings).reading() as connection:
            said = connection.scalars(select(FEEDBACK.c.said).where(FEEDBACK.c.output_id == "first")).all()
        kept = [json.loads(document).get("label") for document in said]
        assert len(kept) == MAX_PIECES
        assert kept[-2:] == ["bad", "good"]

    def test_hundreds_of_pieces_of_an_older_version_are_merged_by_the_next_one(
        self, settings: Settings, records: Records
    ) -> None:
        said = [make_feedback("a", label="good"), *(make_feedback("a", comment=f"{n}") for n in range(700))]
        rows = [
            piece.model_dump(exclude=set(SAID))
            | {"said": json.dumps(piece.said), "namespace": "default", "number": number, "received_at": NOW}
            for number, piece in enumerate(said)
        ]
        with RecordDatabase(settings).writing("feedback/a") as connection:
            connection.execute(FEEDBACK.insert(), rows)

        records.add_feedback(make_feedback("a", rating=3.0))

        assert records.list_feedback("reviews") == [make_feedback("a", label="good", comment="699", rating=3.0)]
        with RecordDatabase(settings).reading() as connection:
            assert len(connection.execute(select(FEEDBACK.c.number)).all()) == MAX_PIECES

    @pytest.mark.parametrize("text", ["a\x00b", "half a smile \ud83d"])
    def test_a_text_that_no_database_keeps_is_refused_by_its_name(self, records: Records, text: str) -> None:
        with pytest.raises(RequestError, match=r"comment: holds the character U\+(0000|D83D), which cannot be kept"):
            records.add_feedback(make_feedback("a", comment=text))

        assert records.add_feedback(make_feedback("a", comment="\x1b[2J \u202e ok"))

    def test_feedback_from_many_processes_and_threads_is_all_kept(self, settings: Settings, records: Records) -> None:
        workers = [SPAWN.Process(target=add_feedback_in_process, args=(settings, w, 50)) for w in range(3)]
        for worker in workers:
            worker.start()
        with ThreadPoolExecutor(4) as pool:
            added = list(pool.map(lambda n: records.add_feedback(make_feedback(f"thread-{n}")), range(100)))
        for worker in workers:
            worker.join(timeout=60)

        assert [worker.exitcode for worker in workers] == [0, 0, 0]
        assert all(added)
        assert records.count_feedback("reviews") == 250

    def test_feedback_acknowledged_before_a_kill_is_there_afterwards(self, settings: Settings) -> None:
        tests_dir = Path(__file__).parent
        with subprocess.Popen(
            [sys.executable, "-c", ADD_FEEDBACK_FOREVER, settings.model_dump_json()],
            stdout=subprocess.PIPE,
            text=True,
            cwd=tests_dir,
        ) as child:
            assert child.stdout is not None
            acknowledged = [int(child.stdout.readline()) for _ in range(20)]
            child.send_signal(signal.SIGKILL)
            acknowledged += [int(line) for line in child.stdout.read().split()]

        kept = {feedback.output_id for feedback in Records(settings).list_feedback("reviews")}

        assert child.returncode == -signal.SIGKILL
        assert {f"id-{number}" for number in acknowledged} <= kept

    def test_a_writer_that_others_keep_waiting_gives_up_in_time_and_readers_never_wait(
        self, settings: Settings
    ) -> None:
        Records(settings).add_feedback(make_feedback("a"))

        with RecordDatabase(settings).writing("feedback/b"):
            started_s = time.monotonic()
            hurried = Records(settings, wait_s=0.2)
            known = hurried.list_feedback("reviews")
            with pytest.raises(RegistryError, match="the records cannot be used"):
                hurried.add_feedback(make_feedback("b"))
            waited_s = time.monotonic() - started_s

        assert waited_s < 2.0
        assert known == [make_feedback("a")]
        assert hurried.add_feedback(make_feedback("b"))

    def test_all_processes_sign_with_one_key(self, settings: Settings) -> None:
        with SPAWN.Pool(3) as pool:
            keys = pool.map(get_key_in_process, [settings] * 6)

        assert len(set(keys)) == 1
        assert len(keys[0]) == 32

    def test_namespaces_see_nothing_of_each_other(self, settings: Settings, records: Records, tmp_path: Path) -> None:
        shared = settings.model_copy(update={"namespace": "other", "database_url": settings.records_url})
        other = Records(shared)
        version = records.add_version(make_manifest(tmp_path / "1"), "bundles/x")
        changed = promote(start_rollout("default", "reviews"), version.release, Cause(actor="ann", reason="", now=NOW))
        records.write_rollout(changed, 0)
        records.add_feedback(make_feedback("a"))

        assert other.list_products() == []
        assert other.find_rollout("reviews") is None
        assert other.list_rollouts() == []
        assert other.history("reviews") == []
        assert other.list_feedback("reviews") == []
        assert other.get_signing_key() != records.get_signing_key()
