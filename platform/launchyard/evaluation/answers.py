"""A predictor's answers to example rows, which go the whole way of a request: what is measured is what serves."""

from __future__ import annotations

import time
from typing import Any

import pyarrow as pa

from launchyard.contract.predictor import ExplainingPredictor, Output, Predictor
from launchyard.errors import DataError
from launchyard.prediction.schemas import list_fields, list_shapes

ANSWER_ROWS = 1024
"""Rows that are held as Python objects at a time."""


def answer(predictor: Predictor, rows: pa.Table) -> list[Output]:
    """Return the predictor's outputs for example rows, in order."""
    outputs: list[Output] = []
    for start in range(0, rows.num_rows, ANSWER_ROWS):
        inputs = make_inputs(predictor, rows.slice(start, ANSWER_ROWS))
        outputs += predictor.predict([predictor.parse(raw) for raw in inputs])
    return outputs


def explain_in_time(predictor: ExplainingPredictor, rows: pa.Table, patience_s: float) -> list[Output]:
    """Return the explained answers to the first rows: as many as ``patience_s`` allows, at least one."""
    explained: list[Output] = []
    deadline_s = time.monotonic() + patience_s
    for raw in make_inputs(predictor, rows):
        if explained and time.monotonic() > deadline_s:
            break
        explained += predictor.explain([predictor.parse(raw)])
    return explained


def make_inputs(predictor: Predictor, rows: pa.Table) -> list[dict[str, Any]]:
    """Return raw request inputs that say what example rows say: a field is what stands in the column of its name.

    Raises:
        DataError: no column has the name of a field that every input must have.
    """
    known = list_fields(predictor.input_schema)
    names = [name for name in known if name in rows.column_names]
    missing = [name for name, is_required in known.items() if is_required and name not in names]
    if missing or not names:
        raise DataError(
            f"inputs: no column of the examples is named '{missing[0] if missing else next(iter(known))}', as a field "
            f"of an input is, found {', '.join(rows.column_names)}. Let the kind's recipe name its columns as the "
            "fields of its predictor's inputs."
        )
    inputs: list[dict[str, Any]] = rows.select(names).to_pylist()
    if len(list_shapes(predictor.input_schema)) == 1:
        return inputs
    # A row of one shape has nulls in the columns of the others.
    return [{name: value for name, value in raw.items() if value is not None} for raw in inputs]
