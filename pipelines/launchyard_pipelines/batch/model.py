"""One version of a product answering tables of rows: what each process of a batch prediction runs, in Ray or without.

Each row goes the whole way of a request: parsed, its user turned into a pseudonym, enriched by the serving state,
predicted. A row that cannot be parsed, or that the model fails on, has no answer but an error.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic_core import to_jsonable_python

from launchyard.bundle.store import BundleStore
from launchyard.contract.predictor import Device, Output
from launchyard.contract.rows import Row
from launchyard.data.values.canonical import format_column
from launchyard.errors import RequestError
from launchyard.isolation import RowFault
from launchyard.prediction.media import list_media_fields, spell_media
from launchyard.prediction.open import open_model
from launchyard.prediction.schemas import list_json_fields
from launchyard.privacy.subjects import name_subject
from launchyard.records.records import opening_records
from launchyard.rollout.rules import Release
from launchyard.settings import Settings
from launchyard.sources.resolve import fetch
from launchyard.spec.blocks import Product
from launchyard.spec.features import Features
from launchyard_pipelines.batch.columns import (
    describe_answers,
    make_column,
    match_columns,
    name_carried,
)

ERROR = "error"
"""Column that says why a row has no answer."""
PREDICT_ROWS = 256
"""Rows that are computed at once: enough to put texts of like length together, few enough for a score per item."""
FEATURES_TIMEOUT_MS = 5_000.0
"""Longest wait for the feature store: nobody waits for these answers, so they need not do without it."""


@dataclass(frozen=True)
class BatchTask:
    """What to answer with what; picklable."""

    settings: Settings
    """With an absolute home folder: workers run in folders of their own."""
    product: str
    release: Release
    columns: Mapping[str, str]
    """Field of an input -> column that holds it under another name; an empty column: the field is left out."""
    device: Device
    base_dir: Path = field(default_factory=Path.cwd)
    """Folder that paths of files in rows start from."""


@dataclass(frozen=True)
class BatchPlan:
    """What is answered from which columns, and what the output holds."""

    fields: Mapping[str, str]
    """Field of an input -> column of the rows."""
    json_fields: frozenset[str]
    """Fields that take no text: a text in their column is read as JSON."""
    media_fields: frozenset[str]
    """Fields that take a file: its bytes stand in their column, or a path or URI that leads to it."""
    carried: Mapping[str, str]
    """Column of the output -> column of the rows that stands in it unchanged."""
    answers: pa.Schema
    """Columns that the answers fill."""


class BatchModel:
    """A loaded version with what it reads beside its bundle."""

    def __init__(self, task: BatchTask) -> None:
        """Load and self-test the version.

        Raises:
            BundleError: the bundle is not whole, not released, or answers otherwise than where it was measured.
        """
        self._task = task
        self._plan: BatchPlan | None = None
        with opening_records(task.settings) as records:
            self._key = records.get_signing_key()
        store = BundleStore(task.settings)
        self._model = open_model(task.settings, store, task.release, task.device, revise=_allow_time)

    def plan(self, columns: Sequence[str]) -> BatchPlan:
        """Return how rows with these columns are answered.

        Raises:
            SpecError: the columns do not fit the product's inputs.
        """
        predictor = self._model.predictor
        answers = describe_answers(predictor.output_schema)
        fields = match_columns(predictor.input_schema, columns, self._task.columns)
        asked = {column for name, column in fields.items() if name != self._model.spec.subject}
        return BatchPlan(
            fields=fields,
            json_fields=list_json_fields(predictor.input_schema),
            media_fields=frozenset(list_media_fields(predictor.input_schema, "validation")),
            carried=name_carried([name for name in columns if name not in asked], {*answers.names, ERROR}),
            answers=answers,
        )

    def answer(self, table: pa.Table) -> pa.Table:
        """Return one row for each row of ``table``, in order: carried columns, answers, and why there is none.

        Raises:
            SpecError: its columns do not fit the product's inputs.
        """
        if self._plan is None:
            # Once: all tables of a source have the same columns.
            self._plan = self.plan(table.column_names)
        plan = self._plan
        rows: list[Row] = []
        errors: list[str | None] = []
        for raw in _make_inputs(table, plan):
            try:
                rows.append(self._parse(self._open_files(raw, plan)))
                errors.append(None)
            except RequestError as err:
                errors.append(str(err))
        outputs = self._predict(rows)
        answered: list[Output] = []
        for place, error in enumerate(errors):
            output = {} if error else next(outputs)
            if isinstance(output, RowFault):
                errors[place] = _describe_fault(output.error)
                output = {}
            answered.append(output)
        columns = {name: table[column] for name, column in plan.carried.items()}
        for column in plan.answers:
            columns[column.name] = make_column(answered, column)
        columns[ERROR] = pa.array(errors, pa.string())
        return pa.table(columns)

    def close(self) -> None:
        """Close what the model holds and reads beside its bundle."""
        self._model.close()

    def _predict(self, rows: Sequence[Row]) -> Iterator[Output | RowFault]:
        for start in range(0, len(rows), PREDICT_ROWS):
            yield from self._model.answer_each(rows[start : start + PREDICT_ROWS])

    def _open_files(self, raw: dict[str, Any], plan: BatchPlan) -> dict[str, Any]:
        """Return an input with the content of the files that its texts lead to.

        Raises:
            RequestError: a file cannot be read, or is larger than an endpoint would take.
        """
        most = self._model.spec.serve.max_body_bytes
        for name in plan.media_fields & raw.keys():
            place = raw[name]
            if isinstance(place, str):
                try:
                    path = fetch(place, self._task.settings, base_dir=self._task.base_dir).path
                    if path.stat().st_size > most:
                        raise RequestError(f"{name}: {place} is larger than the {most} bytes of serve.max_body_bytes.")
                    raw[name] = path.read_bytes()
                except (OSError, ValueError) as err:
                    if isinstance(err, RequestError):
                        raise
                    raise RequestError(f"{name}: cannot be read: {err}") from err
        return raw

    def _parse(self, raw: object) -> Row:
        """Return the row of an input, without the own id of whom it is about, as an endpoint does before all else."""
        row = self._model.predictor.parse(raw)
        return name_subject(self._model.spec, row, self._key, has_former_ids=True)


def _make_inputs(table: pa.Table, plan: BatchPlan) -> Iterator[dict[str, Any]]:
    """Yield each row as a request would say it; what is null is left out."""
    files = plan.media_fields
    chosen = pa.table(
        {name: table[column] if name in files else _spell_bytes(table[column]) for name, column in plan.fields.items()}
    )
    for row in chosen.to_pylist(maps_as_pydicts="lossy"):
        opened = {name: row.pop(name) for name in files & row.keys()}
        said = _leave_out_nulls(to_jsonable_python(spell_media(row)) | opened)
        yield {name: _read_json(value) if name in plan.json_fields else value for name, value in said.items()}


def _read_json(value: Any) -> Any:
    if isinstance(value, str):
        # A text that is no JSON is refused by the predictor, which can say what it takes instead.
        with suppress(ValueError):
            return json.loads(value)
    return value


def _spell_bytes(values: pa.ChunkedArray) -> pa.ChunkedArray | pa.Array:
    """Return a column of bytes as the texts that training reads in it; any other as it is."""
    kind = values.type
    is_bytes = pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)
    return format_column(values) if is_bytes else values


def _describe_fault(error: Exception) -> str:
    if isinstance(error, RequestError):
        return str(error)
    return f"the model failed on this row: {type(error).__name__}: {error}. Mend the row, or report the model's fault."


def _leave_out_nulls(value: Any) -> Any:
    """Return a JSON value without the keys that are null: a table has them where a row of objects says nothing."""
    if isinstance(value, dict):
        return {key: _leave_out_nulls(part) for key, part in value.items() if part is not None}
    return [_leave_out_nulls(part) for part in value] if isinstance(value, list) else value


def _allow_time(spec: Product) -> Product:
    """Return the spec with more time for the feature store, if it has one."""
    features = getattr(spec, "features", None)
    if not isinstance(features, Features):
        return spec
    patient = features.model_copy(update={"timeout_ms": max(features.timeout_ms, FEATURES_TIMEOUT_MS)})
    return spec.model_copy(update={"features": patient})
