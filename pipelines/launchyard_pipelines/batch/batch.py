"""Batch prediction: one version of a product answers all rows of a source, and a file holds the answers or nothing.

Few rows are answered in this process, many by Ray Data in several, with the same functions; Ray is loaded only then.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Literal, Protocol, cast

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict

from launchyard.bundle.manifest import read_spec
from launchyard.bundle.store import BundleStore
from launchyard.contract.predictor import Predictor
from launchyard.data.intake import number_rows
from launchyard.errors import DataError, RegistryError, SpecError
from launchyard.kind import load_part
from launchyard.kinds import get_kind
from launchyard.privacy.pseudonyms import USER, list_pseudonyms
from launchyard.records.events import EventLog
from launchyard.records.records import opening_records
from launchyard.rollout.rules import Release
from launchyard.settings import Settings
from launchyard.sources.fetch.request import describe_nearest
from launchyard.sources.forms.tables import iter_tables
from launchyard.sources.resolve import fetch
from launchyard.sources.uri import show_uri
from launchyard.spec.blocks import Product, RowData
from launchyard.threads import count_cores, share_threads
from launchyard_pipelines.batch.model import (
    ERROR,
    BatchModel,
    BatchTask,
    describe_answers,
    list_json_fields,
)
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
INPUT_PREFIX = "input_"
"""Put before a column's name where an answer has that name."""

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
    task = _plan(request, settings, release, first.column_names)
    for name in task.carried.keys() - {*task.carried.values()}:
        watch.show_note(f"column '{task.carried[name]}' of the input is '{name}' in the output: an answer has its name")
    workers, ahead = choose_workers(request.workers, chain([first], tables))
    count = _Count()
    with open_output(request.output) as write:
        for answered in _answer(read_tables, ahead, task, workers):
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


def _answer(read_tables: ReadTables, tables: Iterator[pa.Table], task: BatchTask, workers: int) -> Iterator[pa.Table]:
    """Yield the answers to all rows: to ``tables`` in this process, or to what ``read_tables`` gives in others."""
    if workers > 1:
        # By dotted path: an import at the top would load Ray, about two seconds, in each run that never needs it.
        answer_with_ray = load_part("launchyard_pipelines.batch.on_ray:answer_with_ray")
        yield from answer_with_ray(read_tables, _with_threads(task, workers), workers=workers, batch_rows=BATCH_ROWS)
        return
    with closing(BatchModel(_with_threads(task, 1))) as model:
        yield from map(model.answer, tables)


def _with_threads(task: BatchTask, workers: int) -> BatchTask:
    return replace(task, threads=share_threads(None, count=workers))


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
        return partial(iter_tables, fetched, None, batch_rows=BATCH_ROWS), fetched.record.uri
    spec = read_spec(BundleStore(settings).find_path(release.bundle_uri))
    source = cast(RowData, spec.data).source
    if USER not in get_kind(spec.kind).load_recipe(spec).content_columns or not isinstance(source, str):
        raise SpecError(f"{request.product}: is no product that knows users. Give the rows with --input.")
    # Fetched here, so that its progress is seen and a worker finds it.
    fetch(source, settings, base_dir=Path.cwd(), on_progress=watch.show_download)
    return partial(iter_users, settings, spec, source), show_uri(source)


def iter_users(settings: Settings, spec: Product, source: str) -> Iterator[pa.Table]:
    """Yield the users of a product's own rows in order of appearance, by their own ids, without those to be forgotten.

    Memory grows with the number of users, not with the number of their rows.

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
        for user in pc.unique(recipe.convert(table)[USER]).to_pylist():
            if user is not None and user not in seen:
                seen.add(user)
                if not forgotten or forgotten.keys().isdisjoint(list_pseudonyms(key, spec.product, user)):
                    new.append(user)
        while len(new) >= BATCH_ROWS:
            yield pa.table({USER: new[:BATCH_ROWS]})
            del new[:BATCH_ROWS]
    if new:
        yield pa.table({USER: new})


def _plan(request: BatchRequest, settings: Settings, release: Release, columns: list[str]) -> BatchTask:
    """Return what is answered from which columns, and what the output holds."""
    # Verified before anything is started.
    _, manifest = BundleStore(settings).open(release.bundle_uri)
    predictor = cast(type[Predictor], load_part(get_kind(manifest.kind).predictor))
    answers = describe_answers(predictor.output_schema)
    fields = match_columns(predictor.input_schema, columns, request.columns)
    asked = {column for name, column in fields.items() if name != USER}
    return BatchTask(
        settings=settings,
        product=request.product,
        release=release,
        fields=fields,
        json_fields=list_json_fields(predictor.input_schema),
        carried=name_carried([name for name in columns if name not in asked], {*answers.names, ERROR}),
        answers=answers,
        threads=1,
    )


def match_columns(input_schema: type[BaseModel], columns: list[str], given: Mapping[str, str]) -> dict[str, str]:
    """Return field of an input -> its column: the one that ``given`` names, else the one of the same name.

    Raises:
        SpecError: ``given`` names what is not there, or a field that an input must have has no column.
    """
    known = input_schema.model_fields
    for name, column in given.items():
        if name not in known:
            raise SpecError(f"--column {name}={column}: inputs have no field '{name}'. {describe_nearest(name, known)}")
        if column and column not in columns:
            hint = describe_nearest(column, columns)
            raise SpecError(f"--column {name}={column}: the input has no column '{column}'. {hint}")
    fields = {name: column for name in known if (column := given.get(name, name)) in columns}
    missing = [name for name, found in known.items() if found.is_required() and name not in fields]
    if missing or not fields:
        wanted = missing[0] if missing else next(iter(known))
        raise SpecError(
            f"--input: no column is named '{wanted}', found {', '.join(columns)}. Name the column that holds it with "
            f"--column {wanted}=COLUMN. Fields of an input: {', '.join(known)}."
        )
    return fields


def name_carried(columns: list[str], taken: set[str]) -> dict[str, str]:
    """Return column of the output -> column of the input that stands in it, renamed where an answer has its name.

    >>> name_carried(["id", "label"], {"label"})
    {'id': 'id', 'input_label': 'label'}

    Raises:
        SpecError: the other name is taken too.
    """
    carried: dict[str, str] = {}
    for column in columns:
        name = INPUT_PREFIX + column if column in taken else column
        if name in carried or (name != column and name in columns):
            raise SpecError(
                f"--input: columns '{column}' and '{name}' would both be '{name}' in the output. Rename one."
            )
        carried[name] = column
    return carried
