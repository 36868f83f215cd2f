"""ONNX graphs of a trained classifier: exported by torch, and with int8 matrix products.

The int8 graph has fixed activation scales. Dynamic quantisation would scale each batch by its largest value, so that an
answer would depend on the rows beside it.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from launchyard.errors import BundleError
from launchyard.text.runtimes import load_torch_model

EXPORT_ERRORS = (
    BundleError,
    RuntimeError,
    ValueError,
    TypeError,
    AttributeError,
    NotImplementedError,
    onnx.checker.ValidationError,
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)
"""What exporter and ONNX Runtime raise for an architecture that they do not know."""
INPUT_NAMES = ("input_ids", "attention_mask")

Batch = tuple[NDArray[np.int64], NDArray[np.int64]]


class _Logits(torch.nn.Module):
    """The model with two tensors in and one out."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids_BT: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
        logits_BC: torch.Tensor = self.model(input_ids=input_ids_BT, attention_mask=mask_BT).logits
        return logits_BC


def export_graph(model_dir: Path, graph: Path) -> None:
    """Write the float32 graph of the model in ``model_dir``; any number of rows and tokens fits it.

    Raises:
        RuntimeError: torch cannot export this architecture (one of ``EXPORT_ERRORS``).
    """
    model: Any = load_torch_model(model_dir)
    # Eager attention exports to the plain pattern that ONNX Runtime fuses; SDPA's adds checks for fully masked rows.
    model.set_attn_implementation("eager")
    rows, tokens = torch.export.Dim("rows"), torch.export.Dim("tokens")
    shape = {0: rows, 1: tokens}
    # Two tensors, not one twice: the exporter takes a repeated one for a single input.
    ids_BT = torch.ones(2, 8, dtype=torch.int64)
    mask_BT = torch.ones(2, 8, dtype=torch.int64)
    mask_BT[0, -1] = 0
    with _quiet():
        program = torch.onnx.export(
            _Logits(model).eval(),
            (ids_BT, mask_BT),
            dynamo=True,
            input_names=INPUT_NAMES,
            output_names=["logits"],
            dynamic_shapes=(shape, shape),
            verbose=False,
        )
        # torch 2.13 notes on each operation the files and lines that it was exported from, by their paths here.
        for node in program.model.graph.all_nodes():
            node.metadata_props.clear()
        program.save(graph, external_data=False)


def quantize_graph(graph: Path, quantized: Path, batches: Sequence[Batch]) -> None:
    """Write ``graph`` with int8 weights and activations in every product with weights, but the classifying one.

    Activation scales are the ranges seen on ``batches``. Weights use 7 of their 8 bits, because processors without
    VNNI would overflow otherwise (ONNX Runtime's documentation of quantisation).
    """
    model = onnx.load(graph)
    weights = {tensor.name for tensor in model.graph.initializer}
    products = [node for node in model.graph.node if node.op_type in ("MatMul", "Gemm")]
    kept = [node.name for node in products if node.input[1] not in weights or "logits" in node.output]
    with _quiet():
        quantize_static(
            model,
            str(quantized),
            _Batches(batches),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["MatMul", "Gemm"],
            nodes_to_exclude=kept,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            extra_options={"OpTypesToExcludeOutputQuantization": ["MatMul", "Gemm"]},
        )


class _Batches(CalibrationDataReader):
    """Calibration rows, batch by batch."""

    def __init__(self, batches: Sequence[Batch]) -> None:
        self._batches = iter(batches)

    def get_next(self) -> dict[str, NDArray[np.int64]] | None:
        """Return the next batch, or None at the end."""
        batch = next(self._batches, None)
        return None if batch is None else dict(zip(INPUT_NAMES, batch, strict=True))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what exporter (torch 2.13) and quantiser (onnxruntime 1.32) tell their own developers from the user."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)
