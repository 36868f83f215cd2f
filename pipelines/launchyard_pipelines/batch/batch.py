"""Batch prediction: one version of a product answers all rows of a source, and a file holds the answers or nothing.

Few rows are answered in this process, many by Ray Data in several, with the same functions; Ray is loaded only then.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Literal, Protocol, cast

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict

from launchyard.bundle.manifest import read_spec
from launchyard.bundle.store import BundleStore
from launchyard.contract.predictor import Device
from launchyard.data.intake import number_rows
from launchyard.errors import DataError, RegistryError, SpecError
from launchyard.kind import load_part
from launchyard.kinds import get_kind
from launchyard.privacy.pseudonyms import list_pseudonyms
from launchyard.records.events import EventLog
from launchyard.records.records import opening_records
from launchyard.rollout.rules import Release
from launchyard.settings import Settings
from launchyard.sources.forms.tables import iter_tables
from launchyard.sources.paths import find_local
from launchyard.sources.resolve import fetch
from launchyard.sources.uri import parse_uri, show_uri
from launchyard.spec.blocks import Product, RowData
from launchyard.threads import count_cores, describe_missing_gpus, share_threads
from launchyard_pipelines.batch.model import ERROR, BatchModel, BatchTask
from launchyard_pipelines.batch.output import open_output

BATCH_ROWS = 1024
"""Rows of one table on its way through the model."""
LARGE_ROWS = 20_000
"""Rows from which on Ray is started: that and loading a model in each process takes some ten seconds."""
MIN_CORES = 4
"""With fewer, this process computes on all of them just as well."""
MAX_WORKERS = 8
"""Processes that are started unasked: each holds the model once."""
MAX_SHOWN_ERRORS = 3

ReadTables = Callable[[], Iterator[pa.Table]]


class BatchSummary(BaseModel):
    """How a batch prediction went."""

    model_config = ConfigDict(frozen=True)

    product: str
    status: Literal["succeeded", "failed"] = "succeeded"
    error: str | None = None
    version: int | None = None
    digest: str | None = None
    input: str | None = None
    output: str | None = None
    rows: int = 0
    errors: int = 0
    seconds: float = 0.0
    rows_per_s: float = 0.0
    workers: int = 1


@dataclass(frozen=True)
class BatchRequest:
    """What to answer, and where the answers go."""

    product: str
    input: str | None
    """URI of the rows; None: all users of the product's own source."""
    output: Path
    columns: Mapping[str, str] = field(default_factory=dict)
    """Field of an input -> column that holds it under another name; an empty column: the field is left out."""
    version: int | None = None
    """None: the champion."""
    workers: int | None = None
    """Processes that answer: 1 is this one; None: one, or several for many rows."""
    max_errors: float = 0.1
    """Largest share of rows that may have no answer."""
    batch_rows: int = BATCH_ROWS
    """Rows that one process answers at a time."""


@dataclass
class _Count:
    """What has been written so far."""

    rows: int = 0
    errors: int = 0
    first_errors: list[str] = field(default_factory=list)

    def add(self, answered: pa.Table) -> None:
        """Count the rows of a table of answers, and note its first errors."""
        errors = answered[ERROR]
        places = pc.indices_nonzero(pc.is_valid(errors)).to_pylist()
        for place in places[: MAX_SHOWN_ERRORS - len(self.first_errors)]:
            self.first_errors.append(f"row {self.rows + place + 1}: {errors[place].as_py()}")
        self.rows += answered.num_rows
        self.errors += len(places)


class BatchProgress(Protocol):
    """Who is told how far a batch prediction is."""

    def show_download(self, done_bytes: int, total_bytes: int | None) -> None:
        """Take the bytes of the input that have arrived, and how many there will be if that is known."""
        ...

    def show_rows(self, num_rows: int, num_errors: int) -> None:
        """Take the rows that are done, and those of them that have no answer."""
        ...

    def show_note(self, message: str) -> None:
        """Take what a person should know."""
        ...


def run_batch(request: BatchRequest, settings: Settings, watch: BatchProgress) -> BatchSummary:
    """Answer all rows, write the answers and return how it went.

    Raises:
        RegistryError: there is no such product or version, or nothing serves.
        BundleError: the version's bundle does not verify.
        SpecError: the columns do not fit the product's inputs.
        SourceError: the rows cannot be fetched or read.
        DataError: more rows than allowed have no answer; nothing is written.
    """
    started_s = time.monotonic()
    release = find_release(settings, request.product, request.version)
    read_tables, shown = _open_source(request, settings, release, watch)
    tables = read_tables()
    first = next(tables, None)
    if first is None:
        raise DataError(f"{shown}: names no user. Give the users with --input.")
    workers, ahead = choose_workers(request.workers, chain([first], tables))
    task = _describe_task(request, settings, release, workers)
    count = _Count()
    with ExitStack() as opened:
        model = opened.enter_context(closing(BatchModel(task)))
        carried = model.plan(first.column_names).carried
        for name in carried.keys() - {*carried.values()}:
            watch.show_note(f"column '{carried[name]}' of the input is '{name}' in the output: an answer has its name")
        answers: Iterator[pa.Table] = map(model.answer, ahead)
        if workers > 1:
            # Each worker opens a model of its own; this one has said what fits it.
            opened.close()
            del model
            answers = _answer_in_workers(read_tables, task, workers, request.batch_rows)
        write = opened.enter_context(open_output(request.output))
        for answered in answers:
            write(answered)
            count.add(answered)
            watch.show_rows(count.rows, count.errors)
        _check_errors(count, request, shown)
    seconds = time.monotonic() - started_s
    return BatchSummary(
        product=request.product,
        version=release.version,
        digest=release.digest,
        input=shown,
        output=str(request.output),
        rows=count.rows,
        errors=count.errors,
        seconds=round(seconds, 3),
        rows_per_s=round(count.rows / seconds, 1),
        workers=workers,
    )


def find_release(settings: Settings, product: str, version: int | None) -> Release:
    """Return a version of a product, by default the one that serves.

    Raises:
        RegistryError: there is no such product or version, or nothing serves.
    """
    with opening_records(settings) as records:
        if version is not None:
            return records.get_version(product, version).release
        versions = ", ".join(str(found.version) for found in records.list_versions(product))
        rollout = records.find_rollout(product)
    if rollout is None or rollout.champion is None:
        raise RegistryError(
            f"{product}: nothing serves. Name a version with --version ({versions}), or: launchyard promote {product}."
        )
    return rollout.champion


def choose_workers(
    asked: int | None, tables: Iterable[pa.Table], *, large_rows: int = LARGE_ROWS, cores: int | None = None
) -> tuple[int, Iterator[pa.Table]]:
    """Return how many processes answer, 1 being this one alone, and the tables, of which some were read to decide.

    Several are started only for more than ``large_rows`` rows and on ``MIN_CORES`` or more; ``cores`` is by default
    what this process may use.
    """
    remaining = iter(tables)
    cores = count_cores() if cores is None else cores
    if asked is not None or cores < MIN_CORES:
        return asked or 1, remaining
    head: list[pa.Table] = []
    num_rows = 0
    while num_rows <= large_rows and (ahead := next(remaining, None)) is not None:
        head.append(ahead)
        num_rows += ahead.num_rows
    # One core is left to reading and writing.
    return min(cores - 1, MAX_WORKERS) if num_rows > large_rows else 1, chain(head, remaining)


class AnswerInWorkers(Protocol):
    """What answers rows in several processes: see :func:`launchyard_pipelines.batch.on_ray.answer_with_ray`."""

    def __call__(
        self, read_tables: ReadTables, task: BatchTask, *, workers: int, batch_rows: int
    ) -> Iterator[pa.Table]:
        """Yield the answers to all rows, in order."""
        ...


def _answer_in_workers(read_tables: ReadTables, task: BatchTask, workers: int, batch_rows: int) -> Iterator[pa.Table]:
    """Yield the answers to the rows that ``read_tables`` gives in another process."""
    # By dotted path: an import at the top would load Ray, about two seconds, in each run that never needs it.
    answer_with_ray: AnswerInWorkers = load_part("launchyard_pipelines.batch.on_ray:answer_with_ray")
    yield from answer_with_ray(read_tables, task, workers=workers, batch_rows=batch_rows)


def _describe_task(request: BatchRequest, settings: Settings, release: Release, workers: int) -> BatchTask:
    """Return what each of the processes that answer is told.

    Raises:
        BundleError: the version's bundle does not verify.
        SpecError: this machine has not the GPUs that the version is served with.
    """
    # Verified before anything is started.
    folder, _ = BundleStore(settings).open(release.bundle_uri)
    gpus = read_spec(folder).resources.serve.gpus
    if problem := describe_missing_gpus(gpus, count=workers, key="resources.serve"):
        raise SpecError(problem)
    device = Device(share_threads(None, count=workers), gpus)
    return BatchTask(settings, request.product, release, request.columns, device, _find_base_dir(request.input))


def _find_base_dir(source: str | None) -> Path:
    """Return the folder that paths of files in rows start from: the table's own, where that is on this machine."""
    if source is None or (uri := parse_uri(source)).scheme != "file":
        return Path.cwd()
    return find_local(uri, Path.cwd()).parent


def _check_errors(count: _Count, request: BatchRequest, shown: str) -> None:
    if count.errors <= request.max_errors * count.rows:
        return
    more = count.errors - len(count.first_errors)
    raise DataError(
        f"{shown}: {count.errors:,} of {count.rows:,} rows cannot be answered, more than the share of "
        f"{request.max_errors:g} that --max-errors allows. Nothing is written. "
        + " ".join(count.first_errors)
        + (f" And {more:,} more." if more else "")
    )


def _open_source(
    request: BatchRequest, settings: Settings, release: Release, watch: BatchProgress
) -> tuple[ReadTables, str]:
    """Return a picklable function that reads the rows, and what to call their source."""
    if request.input is not None:
        fetched = fetch(request.input, settings, base_dir=Path.cwd(), on_progress=watch.show_download)
        return partial(iter_tables, fetched, None, batch_rows=request.batch_rows), fetched.record.uri
    spec = read_spec(BundleStore(settings).find_path(release.bundle_uri))
    source = cast(RowData, spec.data).source
    subject = spec.subject
    # Where a row is more than whom it is about, its subject alone is no input.
    knows_subjects = subject is not None and subject in get_kind(spec.kind).load_recipe(spec).content_columns
    if subject is None or not knows_subjects or not isinstance(source, str):
        raise SpecError(f"{request.product}: is no product that knows users. Give the rows with --input.")
    # Fetched here, so that its progress is seen and a worker finds it.
    fetch(source, settings, base_dir=Path.cwd(), on_progress=watch.show_download)
    return partial(iter_users, settings, spec, source, subject, request.batch_rows), show_uri(source)


def iter_users(
    settings: Settings, spec: Product, source: str, subject: str, batch_rows: int = BATCH_ROWS
) -> Iterator[pa.Table]:
    """Yield the users of a product's own rows in order of appearance, by their own ids, without those to be forgotten.

    ``subject`` is the column of the examples that names them, and of the tables. Memory grows with the number of
    users, not with the number of their rows.

    Raises:
        SourceError: the source cannot be fetched or read.
        DataError: a row cannot be read as training reads it.
    """
    recipe = get_kind(spec.kind).load_recipe(spec)
    with closing(EventLog(settings, spec.product)) as log, opening_records(settings) as records:
        forgotten, key = log.forgotten(), records.get_signing_key()
    tables = iter_tables(fetch(source, settings, base_dir=Path.cwd()), recipe.source_columns())
    seen: set[str] = set()
    new: list[str] = []
    for table in number_rows(tables):
        for user in pc.unique(recipe.convert(table)[subject]).to_pylist():
            if user is not None and user not in seen:
                seen.add(user)
                if not forgotten or forgotten.keys().isdisjoint(list_pseudonyms(key, spec.product, user)):
                    new.append(user)
        while len(new) >= batch_rows:
            yield pa.table({subject: new[:batch_rows]})
            del new[:batch_rows]
    if new:
        yield pa.table({subject: new})
