"""One version of a product answering tables of rows: what each process of a batch prediction runs, in Ray or without.

Each row goes the whole way of a request: parsed, its user turned into a pseudonym, enriched by the serving state,
predicted. A row that cannot be parsed, or that the model fails on, has no answer but an error.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from launchyard.bundle.manifest import read_spec
from launchyard.bundle.self_test import self_test
from launchyard.bundle.store import BundleStore
from launchyard.contract.predictor import Output
from launchyard.contract.rows import Row
from launchyard.data.values.canonical import format_column
from launchyard.errors import RequestError
from launchyard.isolation import RowFault, compute_each
from launchyard.kinds import get_kind
from launchyard.privacy.pseudonyms import FORMER_USERS, USER, list_pseudonyms
from launchyard.records.records import opening_records
from launchyard.rollout.rules import Release
from launchyard.settings import Settings
from launchyard.spec.blocks import Product
from launchyard.spec.features import Features

"""Field of an input, and column of its row, that says who is asked for."""
ERROR = "error"
"""Column that says why a row has no answer."""
EXPLANATION = "explanation"
"""Field of outputs that only the predictor's ``explain`` fills."""
PREDICT_ROWS = 256
"""Rows that are computed at once: enough to put texts of like length together, few enough for a score per item."""
FEATURES_TIMEOUT_MS = 5_000.0
"""Longest wait for the feature store: nobody waits for these answers, so they need not do without it."""
PLAIN_TYPES = {"string": pa.string(), "number": pa.float64(), "integer": pa.int64(), "boolean": pa.bool_()}


@dataclass(frozen=True)
class BatchTask:
    """What to answer with what; picklable."""

    settings: Settings
    """With an absolute home folder: workers run in folders of their own."""
    product: str
    release: Release
    fields: Mapping[str, str]
    """Field of an input -> column of the rows."""
    json_fields: frozenset[str]
    """Fields that take no text: a text in their column is read as JSON."""
    carried: Mapping[str, str]
    """Column of the output -> column of the rows that stands in it unchanged."""
    answers: pa.Schema
    """Columns that the answers fill."""
    threads: int


class BatchModel:
    """A loaded version with what it reads beside its bundle."""

    def __init__(self, task: BatchTask) -> None:
        """Load and self-test the version.

        Raises:
            BundleError: the bundle is not whole, not released, or answers otherwise than where it was measured.
        """
        self._task = task
        folder, manifest = BundleStore(task.settings).open(task.release.bundle_uri)
        kind = get_kind(manifest.kind)
        with opening_records(task.settings) as records:
            self._key = records.get_signing_key()
        # First, because its threads begin to read what many rows need while the model is loaded.
        self._resources = kind.load_serving_state(task.settings, _allow_time(read_spec(folder)), folder)
        self._predictor = kind.load_predictor(folder, threads=task.threads)
        self_test(self._predictor, folder, kind.load_compare_function())

    def answer(self, table: pa.Table) -> pa.Table:
        """Return one row for each row of ``table``, in order: carried columns, answers, and why there is none."""
        rows: list[Row] = []
        errors: list[str | None] = []
        for raw in self._make_inputs(table):
            try:
                rows.append(self._name_user(self._predictor.parse(raw)))
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
        columns = {name: table[column] for name, column in self._task.carried.items()}
        for field in self._task.answers:
            columns[field.name] = pa.array([output.get(field.name) for output in answered], field.type)
        columns[ERROR] = pa.array(errors, pa.string())
        return pa.table(columns)

    def close(self) -> None:
        """Close what is read beside the bundle."""
        if self._resources is not None:
            self._resources.close()

    def _predict(self, rows: Sequence[Row]) -> Iterator[Output | RowFault]:
        for start in range(0, len(rows), PREDICT_ROWS):
            yield from compute_each(self._compute, rows[start : start + PREDICT_ROWS])

    def _compute(self, rows: Sequence[Row]) -> list[Output]:
        return self._predictor.predict(rows if self._resources is None else self._resources.enrich(rows))

    def _name_user(self, row: Row) -> Row:
        """Return the row with a pseudonym in place of the user's own id, as an endpoint does before all else."""
        user = row.get(USER)
        if user is None:
            return row
        pseudonym, *formers = list_pseudonyms(self._key, self._task.product, user)
        return {**row, USER: pseudonym, FORMER_USERS: formers}

    def _make_inputs(self, table: pa.Table) -> Iterator[dict[str, Any]]:
        """Yield each row as a request would say it; what is null is left out."""
        fields = self._task.fields
        chosen = pa.table({field: _spell_bytes(table[column]) for field, column in fields.items()})
        for row in chosen.to_pylist(maps_as_pydicts="lossy"):
            said = _leave_out_nulls(to_jsonable_python(row, bytes_mode="base64"))
            yield {field: self._read_json(field, value) for field, value in said.items()}

    def _read_json(self, field: str, value: Any) -> Any:
        if field in self._task.json_fields and isinstance(value, str):
            # A text that is no JSON is refused by the predictor, which can say what it takes instead.
            with suppress(ValueError):
                return json.loads(value)
        return value


def _spell_bytes(values: pa.ChunkedArray) -> pa.ChunkedArray | pa.Array:
    """Return a column of bytes as the texts that training reads in it; any other as it is."""
    kind = values.type
    is_bytes = pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)
    return format_column(values) if is_bytes else values


def describe_answers(output_schema: type[BaseModel]) -> pa.Schema:
    """Return the columns that answers of this form fill: lists and objects stay nested, open objects become maps.

    Raises:
        TypeError: a field may be of several types, which no column can hold.
    """
    document = output_schema.model_json_schema(mode="serialization")
    return pa.schema(
        [
            (name, _find_type(part, document.get("$defs", {})))
            for name, part in document["properties"].items()
            if name != EXPLANATION
        ]
    )


def list_json_fields(input_schema: type[BaseModel]) -> frozenset[str]:
    """Return the fields of an input that take no text."""
    document = input_schema.model_json_schema()
    definitions = document.get("$defs", {})
    return frozenset(name for name, part in document["properties"].items() if not _takes_text(part, definitions))


def _find_type(part: Mapping[str, Any], definitions: Mapping[str, Any]) -> pa.DataType:
    """Return the Arrow type of a part of a JSON schema."""
    if "$ref" in part:
        return _find_type(definitions[part["$ref"].rpartition("/")[2]], definitions)
    choices = [choice for choice in part.get("anyOf", ()) if choice.get("type") != "null"]
    if len(choices) == 1:
        return _find_type(choices[0], definitions)
    if part.get("type") in PLAIN_TYPES:
        return PLAIN_TYPES[part["type"]]
    if part.get("type") == "array":
        return pa.list_(_find_type(part["items"], definitions))
    if "properties" in part:
        return pa.struct([(name, _find_type(found, definitions)) for name, found in part["properties"].items()])
    if isinstance(part.get("additionalProperties"), dict):
        return pa.map_(pa.string(), _find_type(part["additionalProperties"], definitions))
    raise TypeError(f"output schema: no column can hold {json.dumps(part)}. Give the field one type.")


def _takes_text(part: Mapping[str, Any], definitions: Mapping[str, Any]) -> bool:
    if "$ref" in part:
        return _takes_text(definitions[part["$ref"].rpartition("/")[2]], definitions)
    return part.get("type") == "string" or any(_takes_text(choice, definitions) for choice in part.get("anyOf", ()))


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
