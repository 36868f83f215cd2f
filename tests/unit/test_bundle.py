from __future__ import annotations

import json
import os
import pickle
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from bundle_samples import describe_bundle, make_spec, write_bundle, write_content
from launchyard.bundle.manifest import MANIFEST_NAME, BundleManifest, open_bundle, read_spec, seal_manifest
from launchyard.errors import BundleError

WEIGHTS = "model/model.safetensors"


def edit_manifest(folder: Path, **changes: object) -> None:
    path = folder / MANIFEST_NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_written_bundle_opens_with_everything_that_was_recorded(tmp_path: Path) -> None:
    write_content(tmp_path / "b")
    written = describe_bundle(tmp_path / "b")

    opened = open_bundle(tmp_path / "b")

    assert opened == written
    assert opened.metrics["accuracy"].value == 0.9
    assert opened.licences == {"rows.csv": "CC-BY-4.0", "pypi://tiny==1.0/tiny/model": "Apache-2.0"}
    assert set(opened.files) == {
        *("dataset.json", "evaluation.json", "model/config.json", WEIGHTS, "preprocess.json"),
        *("spec.json", "training.json"),
    }
    assert read_spec(tmp_path / "b") == make_spec()


def test_the_digest_is_of_the_content_not_of_the_run_that_wrote_it(tmp_path: Path) -> None:
    write_content(tmp_path / "b")
    first = describe_bundle(tmp_path / "b", run_id="run-1")
    again = describe_bundle(tmp_path / "b", run_id="run-2")
    write_bundle(tmp_path / "c", weights=b"other")

    assert first.digest == again.digest
    assert first.seal != again.seal
    assert open_bundle(tmp_path / "c").digest != first.digest


@pytest.mark.parametrize("name", [WEIGHTS, "spec.json", "preprocess.json", "evaluation.json"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    bundle = write_bundle(tmp_path / "b")
    (bundle / name).unlink()

    with pytest.raises(BundleError, match=f"{name} is listed in bundle.json but missing"):
        open_bundle(bundle)


def test_a_folder_without_a_manifest_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"bundle\.json is missing"):
        open_bundle(tmp_path)


def test_one_flipped_byte_in_any_file_is_found(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b")
    for name in open_bundle(bundle).files:
        path = bundle / name
        sound = path.read_bytes()
        path.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))

        with pytest.raises(BundleError, match=f"{name} was altered"):
            open_bundle(bundle)

        path.write_bytes(sound)
    open_bundle(bundle)


def test_any_flipped_byte_of_the_manifest_is_found(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b")
    path = bundle / MANIFEST_NAME
    sound = path.read_bytes()
    for position in range(0, len(sound), 7):
        # Only white space may change between tokens; any other change means something else.
        altered = sound[:position] + bytes([sound[position] ^ 1]) + sound[position + 1 :]
        if sound[position : position + 1].isspace():
            continue
        path.write_bytes(altered)

        with pytest.raises(BundleError):
            open_bundle(bundle)


def test_a_truncated_file_says_how_many_bytes_are_there(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b")
    (bundle / "preprocess.json").write_bytes(b"{")

    with pytest.raises(BundleError, match=r"preprocess\.json has 1 bytes, 2 were written"):
        open_bundle(bundle)


def test_a_file_that_was_added_is_named(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b")
    (bundle / "model" / "adapter.json").write_text("{}")

    with pytest.raises(BundleError, match=r"model/adapter\.json is not listed"):
        open_bundle(bundle)


def test_a_newer_schema_asks_for_an_upgrade(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b")
    edit_manifest(bundle, schema_version=2, something_new=True)

    with pytest.raises(BundleError, match=r"schema version 2, this launchyard reads up to 1. Upgrade"):
        open_bundle(bundle)


def test_a_bundle_whose_gates_failed_is_refused_with_the_gate_but_may_be_looked_at(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b", accuracy=0.71)

    with pytest.raises(BundleError, match=r"no passing gate record: accuracy 0\.71 is not >= 0\.80"):
        open_bundle(bundle)
    assert not open_bundle(bundle, require_gate=False).gate.passed


def test_a_verdict_that_was_edited_is_found(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b", accuracy=0.71)
    manifest = json.loads((bundle / MANIFEST_NAME).read_text())
    manifest["gate"]["gates"][0]["passed"] = True
    edit_manifest(bundle, gate=manifest["gate"])

    with pytest.raises(BundleError, match="altered after it was written"):
        open_bundle(bundle)


def test_a_manifest_without_gate_record_is_refused(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b")
    manifest = json.loads((bundle / MANIFEST_NAME).read_text())
    del manifest["gate"]
    (bundle / MANIFEST_NAME).write_text(json.dumps(manifest))

    with pytest.raises(BundleError, match="gate: Field required"):
        open_bundle(bundle)


@pytest.mark.parametrize("name", ["../outside.json", "/etc/hostname", "model/../../outside.json"])
def test_a_listing_that_leads_outside_is_refused(tmp_path: Path, name: str) -> None:
    bundle = write_bundle(tmp_path / "b")
    (tmp_path / "outside.json").write_text("{}")
    manifest = open_bundle(bundle)
    entry = manifest.files["preprocess.json"]
    forge(bundle, manifest.model_copy(update={"files": {**manifest.files, name: entry}}))

    with pytest.raises(BundleError, match=f"{name} is listed in bundle.json but missing"):
        open_bundle(bundle)


def forge(bundle: Path, manifest: BundleManifest) -> None:
    """Write ``manifest`` with digests that fit, as somebody who knows the format could."""
    (bundle / MANIFEST_NAME).write_text(seal_manifest(manifest).model_dump_json())


@pytest.mark.parametrize("target", ["file", "folder"])
def test_a_link_is_refused_when_written_and_when_opened(tmp_path: Path, target: str) -> None:
    bundle = write_bundle(tmp_path / "b")
    outside = tmp_path / "outside"
    outside.mkdir()
    link = bundle / "model" / "link.json"
    link.symlink_to(bundle / "preprocess.json" if target == "file" else outside)

    for use in (open_bundle, describe_bundle):
        with pytest.raises(BundleError, match=r"model/link\.json is neither a file nor a folder"):
            use(bundle)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pkl", "modeling_evil.py", "plain"])
def test_a_format_that_may_execute_is_refused(tmp_path: Path, name: str) -> None:
    write_content(tmp_path / "b")
    (tmp_path / "b" / "model" / name).write_bytes(b"")

    with pytest.raises(BundleError, match=f"model/{name}: .* is not a format that a bundle may hold"):
        describe_bundle(tmp_path / "b")


def test_a_pickle_under_a_harmless_name_is_refused(tmp_path: Path) -> None:
    write_content(tmp_path / "b")
    (tmp_path / "b" / WEIGHTS).write_bytes(pickle.dumps({"weight": list(range(100))}))

    with pytest.raises(BundleError, match=r"is not a \.safetensors file"):
        describe_bundle(tmp_path / "b")


def test_arrays_of_numbers_pass_and_arrays_of_objects_do_not(tmp_path: Path) -> None:
    write_content(tmp_path / "b")
    np.savez(tmp_path / "b" / "model" / "items.npz", items=np.arange(3), names=np.array(["a", "b"]))
    describe_bundle(tmp_path / "b")
    np.savez(tmp_path / "b" / "model" / "items.npz", items=np.array([{}, []], dtype=object))

    with pytest.raises(BundleError, match=r"items\.npy holds pickled objects"):
        describe_bundle(tmp_path / "b")


def test_an_archive_of_anything_else_is_no_archive_of_arrays(tmp_path: Path) -> None:
    write_content(tmp_path / "b")
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("data.pkl", pickle.dumps([1]))
    (tmp_path / "b" / "model" / "items.npz").write_bytes(buffer.getvalue())

    with pytest.raises(BundleError, match=r"data\.pkl is not a plain array"):
        describe_bundle(tmp_path / "b")


def test_a_bundle_is_read_again_only_after_a_file_was_touched(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b")
    marks_dir = tmp_path / "marks"

    def open_and_find_mark() -> int:
        open_bundle(bundle, marks_dir=marks_dir)
        return next(marks_dir.iterdir()).stat().st_ino

    first, second = open_and_find_mark(), open_and_find_mark()
    (bundle / WEIGHTS).touch()
    third = open_and_find_mark()

    assert first == second
    assert third != second


def test_a_change_after_the_mark_is_found_even_with_size_and_time_put_back(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b")
    open_bundle(bundle, marks_dir=tmp_path / "marks")
    path = bundle / WEIGHTS
    stat = path.stat()
    sound = path.read_bytes()
    path.write_bytes(sound[:-1] + b"?")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    with pytest.raises(BundleError, match="was altered"):
        open_bundle(bundle, marks_dir=tmp_path / "marks")


def test_a_record_that_does_not_fit_is_named(tmp_path: Path) -> None:
    write_content(tmp_path / "b")
    (tmp_path / "b" / "evaluation.json").write_text('{"metrics": {}}')

    with pytest.raises(BundleError, match=r"evaluation\.json: does not fit: .*latency: Field required"):
        describe_bundle(tmp_path / "b")
