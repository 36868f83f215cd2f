"""Preparation: from a product's sources to three parquet files and the manifest that says what they are.

The rows pass by four times, from disk to disk: read and identified; freed of duplicates and counted; compared across
splits; written. In memory there are one block of rows and one byte for each row: the split it goes to.

Rows stand in each file in the order of ``row_id``. That is the order of a digest, so it is shuffled with respect
to anything the rows hold, and it is the same whatever order, file format or batch size they came in.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from launchyard.contract.rows import MapBatches, PrepareJob, Recipe
from launchyard.data.checks import (
    ROWS_ADVICE,
    Totals,
    check_near_duplicates,
    check_rows,
    check_splits,
    require_checks,
    warn_of_labels,
)
from launchyard.data.duplicates import GIVEN, settle_duplicates
from launchyard.data.identity import ID_COLUMNS, Fingerprint, format_ids, id_halves
from launchyard.data.intake import Intake, Reader, map_in_process
from launchyard.data.manifest import MANIFEST_NAME, SPLITS, CheckResult, DatasetManifest, SplitName
from launchyard.data.near_duplicates import CopyFinder
from launchyard.data.profile import ColumnProfiler
from launchyard.data.progress import PrepareProgress
from launchyard.data.sizes import DEFAULT_SIZES, BlockSizes
from launchyard.data.split import (
    NEAR_DUPLICATE,
    NEAR_DUPLICATE_VALIDATION,
    OVERLAP,
    OVERLAP_VALIDATION,
    POOL,
    TEST,
    TRAIN,
    VALIDATION,
    KeyFile,
    Partition,
    make_keys,
)
from launchyard.data.split_files import SplitWriter, count_file_bytes, returned_memory
from launchyard.data.spool import Inbox, RowStore
from launchyard.errors import DataError
from launchyard.files.atomic import new_folder
from launchyard.kinds import get_kind
from launchyard.settings import Settings
from launchyard.spec.blocks import Product, RowData

COMPARED = {"train": (TRAIN, (VALIDATION, TEST)), "validation": (VALIDATION, (TEST,))}
"""Split -> its state, and the states of rows that none of its rows may nearly equal."""
LEFT_OUT = {
    "near_duplicate": NEAR_DUPLICATE,
    "near_duplicate_validation": NEAR_DUPLICATE_VALIDATION,
    "overlap": OVERLAP,
    "overlap_validation": OVERLAP_VALIDATION,
    "not_selected": POOL,
}
"""Reason, as the report names it -> the state of rows that are in no split for it."""
MOST_LABELS = 10_000
"""More are a column of texts or ids, taken for labels by mistake; counts of each would fill the memory, too."""
SAMPLE_ROWS = 2_000
"""Training rows that a recipe looks at for what is wrong: enough to see a habit, few enough for a second."""
SAMPLE_BYTES = 2**25
"""Where rows hold pictures, fewer than that many rows."""
UNWATCHED = PrepareProgress()


def prepare_dataset(
    spec: Product,
    settings: Settings,
    *,
    base_dir: Path,
    output_dir: Path,
    map_batches: MapBatches = map_in_process,
    watch: PrepareProgress = UNWATCHED,
) -> DatasetManifest:
    """Write the prepared data set of ``spec`` to ``output_dir``, whole or not at all, and return its manifest.

    The same rows and the same spec give the same files, byte for byte, wherever and however often it runs.

    Args:
        spec: The product.
        settings: Where sources are cached.
        base_dir: Folder that relative sources start from.
        output_dir: Becomes the data set; an older one is replaced.
        map_batches: What runs the recipe over the source tables.
        watch: Who is told how far reading is.

    Raises:
        DataError: the rows are not fit to train on; all checks that failed are listed.
        SourceError: a source cannot be fetched or read.
    """
    return prepare_in_blocks(PrepareJob(spec, settings, base_dir, output_dir, map_batches, watch))


def prepare_in_blocks(job: PrepareJob, sizes: BlockSizes = DEFAULT_SIZES) -> DatasetManifest:
    """Do one preparation; ``sizes`` says in what parts, where the kind does not divide its rows itself.

    Raises:
        DataError: the rows are not fit to train on; all checks that failed are listed.
        SourceError: a source cannot be fetched or read.
    """
    prepare = get_kind(job.spec.kind).load_prepare_function()
    with returned_memory():
        return _prepare_rows(job, sizes) if prepare is None else prepare(job)


def _prepare_rows(job: PrepareJob, sizes: BlockSizes) -> DatasetManifest:
    spec = job.spec
    recipe = get_kind(spec.kind).load_recipe(spec)
    reader = Reader(spec, job.settings, job.base_dir, recipe, job.map_batches, job.watch, sizes)
    with (
        new_folder(job.output_dir) as folder,
        tempfile.TemporaryDirectory(dir=folder, prefix=".rows-") as scratch,
    ):
        cleaned = _clean(reader, Path(scratch))
        states_N = _divide(cleaned, reader, Path(scratch))
        written = _write_splits(cleaned, states_N, recipe, folder)
        manifest = _describe(spec, recipe, cleaned, written)
        (folder / MANIFEST_NAME).write_text(manifest.model_dump_json(indent=1), encoding="utf-8")
    return manifest


@dataclass
class Cleaned:
    """The distinct rows on disk and what is known of them before they are divided."""

    intake: Intake
    rows: RowStore
    keys: KeyFile
    codes: dict[str, int] = field(default_factory=dict)
    """Label -> code, in the order of appearance."""
    label_counts: Counter[str] = field(default_factory=Counter)
    answers: tuple[float, float] | None = None
    """Least and greatest target, where that is a number."""
    given_rows: Counter[SplitName] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    fingerprint: Fingerprint = field(default_factory=Fingerprint)
    checks: list[CheckResult] = field(default_factory=list)


def _clean(reader: Reader, scratch: Path) -> Cleaned:
    """Read all sources and keep what is complete and distinct.

    Raises:
        DataError: what is left is not enough, or the label has too many values to be one.
    """
    inbox = Inbox(scratch, block_bytes=reader.sizes.block_bytes)
    cleaned = Cleaned(reader.read(inbox), RowStore(scratch), KeyFile(scratch / "keys"))
    target, policy = reader.recipe.target, reader.recipe.policy
    label_column = target.label_column
    for block in inbox.drain():
        table, dropped = settle_duplicates(block, target, policy)
        cleaned.dropped.update(dropped)
        cleaned.fingerprint.add(table.drop_columns([GIVEN]))
        codes_N = _encode_labels(cleaned, table, label_column)
        if reader.recipe.target.type == "number" and table.num_rows:
            _widen(cleaned, table[reader.recipe.target.column])
        given_N = table[GIVEN].to_numpy()
        for name in reader.given_splits:
            cleaned.given_rows[name] += int(np.count_nonzero(given_N == SPLITS.index(name)))
        split = reader.data.split
        is_stratified = split.stratify and not split.group and not split.time
        cleaned.keys.append(make_keys(table, split), codes_N if is_stratified else np.zeros_like(codes_N), given_N)
        cleaned.rows.append(table.drop_columns([GIVEN]))
    cleaned.dropped["null"] = cleaned.intake.num_null
    cleaned.dropped["forgotten_user"] = cleaned.intake.num_forgotten
    totals = Totals(
        num_read=cleaned.intake.num_read,
        num_null=cleaned.intake.num_null,
        num_duplicates=cleaned.dropped["exact_duplicate"],
        num_rows=cleaned.rows.num_rows,
        num_answers=None if cleaned.answers is None else len({*cleaned.answers}),
        lost_files=cleaned.intake.lost_files,
        label_counts=None if label_column is None else cleaned.label_counts,
    )
    cleaned.checks = check_rows(reader.data.checks, totals)
    require_checks(cleaned.checks, ROWS_ADVICE)
    return cleaned


def _widen(cleaned: Cleaned, answers: pa.ChunkedArray) -> None:
    """Take numbers into the range of all that are learned to answer."""
    found = pc.min_max(answers).as_py()
    known = cleaned.answers or (found["min"], found["max"])
    cleaned.answers = (min(known[0], found["min"]), max(known[1], found["max"]))


def _encode_labels(cleaned: Cleaned, table: pa.Table, label_column: str | None) -> NDArray[np.int64]:
    """Return the code of each row's label and count the labels; 0 for a kind without labels."""
    if label_column is None:
        return np.zeros(table.num_rows, dtype=np.int64)
    encoded = pc.cast(table[label_column], pa.string()).combine_chunks().dictionary_encode()
    labels = encoded.dictionary.to_pylist()
    codes = [cleaned.codes.setdefault(label, len(cleaned.codes)) for label in labels]
    if len(cleaned.codes) > MOST_LABELS:
        raise DataError(
            f"data.label: has more than {MOST_LABELS:,} different values, such as {labels[0][:40]!r}. "
            "Choose a column of few values, or group them by map or bins."
        )
    indices_N = encoded.indices.to_numpy(zero_copy_only=False)
    counts = np.bincount(indices_N, minlength=len(labels)).tolist()
    cleaned.label_counts.update(dict(zip(labels, counts, strict=True)))
    codes_N: NDArray[np.int64] = np.array(codes, dtype=np.int64)[indices_N]
    return codes_N


def _divide(cleaned: Cleaned, reader: Reader, scratch: Path) -> NDArray[np.uint8]:
    """Return the state of each row: its split, or why it is in none."""
    data, recipe = reader.data, reader.recipe
    policy = data.checks.near_duplicates if recipe.policy.near_copies == "words" else "allow"
    partition = Partition(data.split, cleaned.keys, cleaned.given_rows, num_strata=max(1, len(cleaned.codes)))
    states_N = partition.states_N
    copies = None
    if policy != "allow":
        copies = CopyFinder(cleaned.rows, recipe.content_columns, scratch, reader.sizes)
    if copies is None or policy == "fail":
        partition.hold_out()
    else:
        partition.hold_out(partial(copies.mark, states_N, POOL, (TEST,)))
        copies.mark(states_N, POOL, (VALIDATION,))
    partition.choose_train()
    if copies is not None and policy == "fail":
        num_near = {name: copies.mark(states_N, *pair) for name, pair in COMPARED.items()}
        cleaned.checks.append(check_near_duplicates(num_near["train"], num_near["validation"]))
        require_checks(cleaned.checks, ROWS_ADVICE)
    for reason, state in LEFT_OUT.items():
        cleaned.dropped[reason] = partition.count(state)
    return states_N


@dataclass
class Written:
    """What went into the three files."""

    num_rows: dict[SplitName, int]
    label_counts: dict[SplitName, Counter[str]]
    split_hash: str
    profilers: dict[str, ColumnProfiler]
    sample: pa.Table


def _write_splits(cleaned: Cleaned, states_N: NDArray[np.uint8], recipe: Recipe, folder: Path) -> Written:
    """Write each row to the file of its split."""
    split_digest = hashlib.sha256()
    label_counts = {name: Counter[str]() for name in SPLITS}
    num_rows = dict.fromkeys(SPLITS, 0)
    profilers: dict[str, ColumnProfiler] = {}
    writers = {name: SplitWriter(folder / f"{name}.parquet") for name in SPLITS}
    sample: list[pa.Table] = []
    for start, table in cleaned.rows.walk():
        states = states_N[start : start + table.num_rows]
        split_digest.update(_digest_states(table, states))
        examples = table.append_column("row_id", format_ids(table)).drop_columns([*ID_COLUMNS])
        for place, name in enumerate(SPLITS):
            part = examples.filter(pa.array(states == place))
            writers[name].add(part)
            num_rows[name] += part.num_rows
            if recipe.target.label_column is not None:
                label_counts[name].update(part[recipe.target.label_column].to_pylist())
            for column in part.drop_columns(["row_id"]).schema:
                profilers.setdefault(column.name, ColumnProfiler(column.name, column.type)).add(part[column.name])
            few_bytes = sum(map(count_file_bytes, sample)) < SAMPLE_BYTES
            if place == TRAIN and few_bytes and sum(map(len, sample)) < SAMPLE_ROWS:
                sample.append(part)
    for writer in writers.values():
        writer.close()
    return Written(
        num_rows, label_counts, split_digest.hexdigest(), profilers, pa.concat_tables(sample).slice(0, SAMPLE_ROWS)
    )


def _digest_states(table: pa.Table, states: NDArray[np.uint8]) -> bytes:
    """Return the bytes that say which of these rows is in which split, rows in no split left out."""
    high_N, low_N = id_halves(table)
    records = np.empty(table.num_rows, np.dtype([("high", "<u8"), ("low", "<u8"), ("state", "u1")]))
    records["high"], records["low"], records["state"] = high_N, low_N, states
    return records[states < len(SPLITS)].tobytes()


def _require_named_labels(spec: Product, labels: tuple[str, ...]) -> None:
    """Return when the rows have every label that the spec names: a gate on another would fail after all training.

    Raises:
        DataError: they do not.
    """
    unknown = [
        f"{key}: no row has the label '{name}'" for key, name in spec.name_labels().items() if name not in labels
    ]
    if unknown:
        raise DataError(f"{'; '.join(unknown)}. Labels: {', '.join(labels)}.")


def _describe(spec: Product, recipe: Recipe, cleaned: Cleaned, written: Written) -> DatasetManifest:
    """Return the manifest, once the splits have passed their checks."""
    labels = tuple(sorted(cleaned.codes))
    counts = {name: {label: written.label_counts[name][label] for label in labels} for name in SPLITS}
    has_labels = recipe.target.label_column is not None
    if has_labels:
        _require_named_labels(spec, labels)
    left_out = {name: _tell_overlap(cast(RowData, spec.data), name, cleaned.dropped) for name in SPLITS}
    checks = [*cleaned.checks, *check_splits(written.num_rows, counts if has_labels else None, left_out)]
    require_checks(checks, ROWS_ADVICE)
    return DatasetManifest(
        product=spec.product,
        kind=spec.kind,
        fingerprint=cleaned.fingerprint.hexdigest(),
        split_hash=written.split_hash,
        num_rows=written.num_rows,
        labels=labels,
        label_counts=counts if has_labels else {},
        dropped={reason: count for reason, count in sorted(cleaned.dropped.items()) if count},
        redactions=dict(sorted(cleaned.intake.redactions.items())),
        sources=tuple(cleaned.intake.sources),
        checks=tuple(checks),
        profile=tuple(
            # Of people nothing but how many there are.
            profiler.build(
                cleaned.intake.num_read, cleaned.intake.column_nulls[name], shows_values=name != spec.subject
            )
            for name, profiler in written.profilers.items()
        ),
        warnings=tuple(_warn(cast(RowData, spec.data), recipe, cleaned, written, counts)),
    )


def _warn(
    data: RowData,
    recipe: Recipe,
    cleaned: Cleaned,
    written: Written,
    counts: dict[SplitName, dict[str, int]],
) -> list[str]:
    """Return what a person should know before trusting a model of this data."""
    warnings = [] if recipe.target.label_column is None else warn_of_labels(counts)
    if conflicts := cleaned.dropped["conflicting_label"]:
        warnings.append(
            f"data.label: {conflicts:,} rows were left out: their {' and '.join(recipe.content_columns)} appears with "
            "different labels. "
            "Decide on one label at the source."
        )
    if lost := cleaned.intake.lost_files:
        warnings.append(f"data.source: {lost}. Their rows were left out.")
    for name in SPLITS:
        warnings += _warn_of_size(data, name, cleaned.dropped, written.num_rows[name])
    return [*warnings, *recipe.inspect(written.sample)]


def _find(dropped: Counter[str], reason: str, name: SplitName) -> int:
    """Return how many rows a split lost for a reason that is counted split by split."""
    return dropped[reason if name == "train" else f"{reason}_{name}"]


def _tell_overlap(data: RowData, name: SplitName, dropped: Counter[str]) -> str:
    rule = "time" if data.split.time else "group"
    overlap = _find(dropped, "overlap", name)
    return f"{overlap:,} overlap held-out rows in data.split.{rule}" if overlap else ""


def _warn_of_size(data: RowData, name: SplitName, dropped: Counter[str], num_rows: int) -> Iterator[str]:
    """Yield why a split has fewer rows than were given or asked for."""
    rule = "time" if data.split.time else "group"
    if _tell_overlap(data, name, dropped):
        shared = "are not older than the oldest" if rule == "time" else "are of the group of a"
        yield (
            f"data.split.{rule}: {_find(dropped, 'overlap', name):,} {name} rows were left out, {num_rows:,} are left: "
            f"they {shared} held-out row. Divide the sources by {rule}, or remove data.split.{rule}."
        )
    asked = getattr(data.split, name)
    near = _find(dropped, "near_duplicate", name)
    if asked >= 1 and num_rows < asked and (near or name == "train"):
        yield (
            f"data.split.{name}: asked for {asked:,} rows, got {num_rows:,}: {near:,} were left out because they "
            "nearly equal a held-out row. Lower the count, or add rows."
        )
