"""The model bundle: the contract between training and serving.

    bundle.json      the manifest below: what the bundle is, and sha256 and size of every other file
    spec.json        the product spec it was made from
    model/           weights and tokenizer, in formats that execute nothing on loading
    preprocess.json  what turns a raw request into model input
    examples.json    rows with expected outputs: the self-test when it loads
    dataset.json  evaluation.json ...  records of how it came about

A bundle has two digests. ``digest`` is its identity: it covers everything but when and in which run the manifest was
written, so registering the same content again gives the same version. ``seal`` covers the whole manifest, so that no
byte of ``bundle.json`` can change unseen. Both guard against damage and mix-ups, not against someone who may write to
the store: that one could compute them anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from pydantic import AwareDatetime, BaseModel, Field, ValidationError

from launchyard.bundle.files import FileEntry, check_format, describe_file, list_files
from launchyard.data.manifest import MANIFEST_NAME as DATASET_NAME
from launchyard.data.manifest import DatasetManifest, SourceRecord
from launchyard.errors import BundleError
from launchyard.evaluation.results import (
    TRAINING_NAME,
    Evaluation,
    GateResult,
    GradientRecord,
    Measure,
    TrainingRecord,
)
from launchyard.files import atomic
from launchyard.kinds import get_kind
from launchyard.spec.blocks import Product
from launchyard.spec.load import dump_spec
from launchyard.stored import Stored

SCHEMA_VERSION = 1
MANIFEST_NAME = "bundle.json"
SPEC_NAME = "spec.json"
NOT_SEALED = frozenset({"seal"})
NOT_IDENTITY = frozenset({"seal", "digest", "run_id", "created"})
EVALUATION_NAME = "evaluation.json"

AnyModel = TypeVar("AnyModel", bound=BaseModel)


class GateRecord(Stored):
    """The verdict that a bundle may be released, or may not."""

    evaluation_sha256: str = Field(description="Digest of the evaluation that the verdict stands on.")
    gates: tuple[GateResult, ...]

    @property
    def passed(self) -> bool:
        """Whether every gate passed; a model without gates passes."""
        return all(gate.passed for gate in self.gates)

    @property
    def failures(self) -> str:
        """The gates that did not pass, in words, such as ``accuracy 0.71 is not >= 0.80``."""
        return ", ".join(
            f"{gate.metric} {'undefined' if gate.value is None else format(gate.value, '.4g')} is not {gate.rule}"
            for gate in self.gates
            if not gate.passed
        )


class BundleManifest(Stored):
    """What a bundle is; the content of ``bundle.json``."""

    schema_version: int = SCHEMA_VERSION
    namespace: str
    product: str
    kind: str
    spec_sha256: str
    fingerprint: str = Field(description="Of the rows it was trained and measured on.")
    split_hash: str
    metrics: dict[str, Measure] = Field(description="On the test rows.")
    gate: GateRecord
    code_version: str
    licences: dict[str, str] = Field(description="Source URI -> licence, as far as carriers declare one.")
    base_model: SourceRecord | None
    files: dict[str, FileEntry] = Field(description="POSIX path -> what the file holds.")
    run_id: str
    created: AwareDatetime
    digest: str = Field(description="Identity of the content: all of the above but run_id and created.")
    seal: str = Field(description="Digest of all of the above.")


def write_manifest(
    folder: Path, spec: Product, *, namespace: str, run_id: str, code_version: str, base_model: SourceRecord | None
) -> BundleManifest:
    """Write ``spec.json`` and, last of all, ``bundle.json`` into a complete bundle folder; return the manifest.

    ``dataset.json`` and ``evaluation.json`` must be there. Refused models get a manifest too, with the failed gates in
    it, so that they can be looked at; only loading and registering them is refused.

    Raises:
        BundleError: a record is missing or does not fit, a file has a forbidden format, or the disk is full.
    """
    dataset = parse_file(folder, DATASET_NAME, DatasetManifest)
    evaluation = parse_file(folder, EVALUATION_NAME, Evaluation)
    _write(folder / SPEC_NAME, dump_spec(spec))
    files = _describe_files(folder)
    sources = (*dataset.sources, *([base_model] if base_model else []))
    manifest = seal_manifest(
        BundleManifest(
            namespace=namespace,
            product=spec.product,
            kind=spec.kind,
            spec_sha256=files[SPEC_NAME].sha256,
            fingerprint=dataset.fingerprint,
            split_hash=dataset.split_hash,
            metrics=evaluation.metrics.get("test", {}),
            gate=GateRecord(evaluation_sha256=files[EVALUATION_NAME].sha256, gates=evaluation.gates),
            code_version=code_version,
            licences={source.uri: source.licence for source in sources if source.licence},
            base_model=base_model,
            files=files,
            run_id=run_id,
            created=datetime.now(UTC),
            digest="",
            seal="",
        )
    )
    _write(folder / MANIFEST_NAME, manifest.model_dump_json(indent=2) + "\n")
    return manifest


def open_bundle(folder: Path, *, require_gate: bool = True, marks_dir: Path | None = None) -> BundleManifest:
    """Return the manifest of the bundle in ``folder`` after checking every file against it.

    Args:
        folder: The bundle.
        require_gate: Refuse a bundle whose gates did not pass.
        marks_dir: Where it is noted, per digest, that the contents were read and found right. A later opening then
            compares only each file's size, times and inode. Without it all bytes are read every time.

    Raises:
        BundleError: a file is missing, was added, altered or may execute code; the manifest is missing, altered or
            newer than this version reads; or no passing gate record stands in it. The message says which.
    """
    manifest = read_manifest(folder)
    if require_gate and not manifest.gate.passed:
        raise BundleError(
            f"{folder}: has no passing gate record: {manifest.gate.failures}. "
            "Train a better model, or change evaluate.gates in the spec and run again."
        )
    _check_listing(folder, manifest)
    stamps = _stamp_files(folder, manifest)
    mark = marks_dir / f"{manifest.digest}.json" if marks_dir else None
    if mark is None or not _is_marked(mark, stamps):
        _check_contents(folder, manifest)
        if mark is not None:
            # A mark that does not fit on the disk only costs the next opening its time.
            with suppress(OSError):
                atomic.write_text(mark, json.dumps(stamps))
    return manifest


def read_manifest(folder: Path) -> BundleManifest:
    """Return the manifest in ``folder``, checked by itself; the files beside it are not looked at.

    Raises:
        BundleError: it is missing, altered, or of a newer schema.
    """
    path = folder / MANIFEST_NAME
    try:
        raw = json.loads(path.read_bytes())
    except FileNotFoundError as err:
        raise BundleError(f"{folder}: {MANIFEST_NAME} is missing: no bundle here. Run the pipeline first.") from err
    except ValueError as err:
        raise BundleError(f"{path}: is not JSON: {err}. The file was altered; fetch or make the bundle again.") from err
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise BundleError(
            f"{path}: has schema version {version}, this launchyard reads up to {SCHEMA_VERSION}. Upgrade launchyard."
        )
    manifest = parse_file(folder, MANIFEST_NAME, BundleManifest)
    if (manifest.digest, manifest.seal) != (_digest(raw, NOT_IDENTITY), _digest(raw, NOT_SEALED)):
        raise BundleError(f"{path}: was altered after it was written. Fetch or make the bundle again.")
    return manifest


def read_spec(folder: Path) -> Product:
    """Return the product spec that the bundle in ``folder`` was made from.

    Raises:
        BundleError: it is missing or does not fit this version of the kind.
        SpecError: this installation does not know the kind.
    """
    kind = get_kind(read_manifest(folder).kind)
    return parse_file(folder, SPEC_NAME, kind.spec)


def parse_file(folder: Path, name: str, model: type[AnyModel]) -> AnyModel:
    """Return the JSON file ``name`` in ``folder`` as a ``model``.

    Raises:
        BundleError: it is missing or does not fit; the message says where.
    """
    try:
        return model.model_validate_json((folder / name).read_bytes())
    except FileNotFoundError as err:
        raise BundleError(f"{folder}: {name} is missing. Make the bundle again.") from err
    except ValidationError as err:
        problems = "; ".join(f"{'.'.join(map(str, found['loc']))}: {found['msg']}" for found in err.errors())
        raise BundleError(f"{folder / name}: does not fit: {problems}. Make the bundle again.") from err


def find_training(folder: Path) -> TrainingRecord | None:
    """Return how the model in ``folder`` was trained; None for one that was not.

    Raises:
        BundleError: the record does not fit.
    """
    path = folder / TRAINING_NAME
    if not path.is_file():
        return None
    # A record with curves is one of gradient descent; before there was a fit, every record was.
    is_gradient = b'"curves"' in path.read_bytes()
    return parse_file(folder, TRAINING_NAME, GradientRecord if is_gradient else TrainingRecord)


def seal_manifest(manifest: BundleManifest) -> BundleManifest:
    """Return ``manifest`` with its two digests filled in."""
    identified = manifest.model_copy(update={"digest": _digest(manifest.model_dump(mode="json"), NOT_IDENTITY)})
    return identified.model_copy(update={"seal": _digest(identified.model_dump(mode="json"), NOT_SEALED)})


def _digest(document: Mapping[str, Any], without: frozenset[str]) -> str:
    """Return the sha256 of a JSON document in its one canonical form, some top-level keys left out."""
    kept = {key: value for key, value in document.items() if key not in without}
    text = json.dumps(kept, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _describe_files(folder: Path) -> dict[str, FileEntry]:
    names = [name for name in list_files(folder) if name != MANIFEST_NAME]
    for name in names:
        check_format(folder, name)
    return {name: describe_file(folder / name) for name in names}


def _check_listing(folder: Path, manifest: BundleManifest) -> None:
    """Refuse a folder whose files are not exactly those that the manifest lists.

    A listed name that leads outside the folder never equals a name found inside it, and so counts as missing.
    """
    found = set(list_files(folder)) - {MANIFEST_NAME}
    for name in sorted(manifest.files.keys() - found):
        raise BundleError(f"{folder}: {name} is listed in {MANIFEST_NAME} but missing. Make the bundle again.")
    for name in sorted(found - manifest.files.keys()):
        raise BundleError(f"{folder}: {name} is not listed in {MANIFEST_NAME}. Remove it or make the bundle again.")
    for name in manifest.files:
        check_format(folder, name)


def _check_contents(folder: Path, manifest: BundleManifest) -> None:
    for name, entry in manifest.files.items():
        actual = describe_file(folder / name)
        if actual.size_bytes != entry.size_bytes:
            raise BundleError(
                f"{folder}: {name} has {actual.size_bytes} bytes, {entry.size_bytes} were written. "
                "Make the bundle again."
            )
        if actual.sha256 != entry.sha256:
            raise BundleError(
                f"{folder}: {name} was altered: its sha256 is {actual.sha256}, {entry.sha256} was written. "
                "Make the bundle again."
            )


def _stamp_files(folder: Path, manifest: BundleManifest) -> dict[str, list[int]]:
    """Return what changes when a file is written to; its owner cannot set the change time back."""
    stats = {name: (folder / name).stat() for name in sorted(manifest.files)}
    return {name: [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino] for name, stat in stats.items()}


def _is_marked(mark: Path, stamps: dict[str, list[int]]) -> bool:
    return mark.is_file() and mark.read_text(encoding="utf-8") == json.dumps(stamps)


def _write(path: Path, text: str) -> None:
    try:
        atomic.write_text(path, text)
    except OSError as err:
        raise BundleError(f"{path}: cannot be written: {err.strerror}. Free some space and run again.") from err
