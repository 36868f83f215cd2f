"""What computes the logits: torch on the trained weights, on a CPU or a GPU, or ONNX Runtime on an exported graph.

An ONNX replica imports neither torch nor transformers. Shapes: B rows, T tokens, C classes.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from launchyard.contract.predictor import Device
from launchyard.errors import BundleError

if TYPE_CHECKING:
    import torch

RuntimeName = Literal["torch", "onnx", "onnx-int8"]
GRAPH_NAMES: dict[RuntimeName, str] = {"onnx": "model.onnx", "onnx-int8": "model-int8.onnx"}
WEIGHTS_NAME = "model.safetensors"


class Runtime(Protocol):
    """Token ids in, logits out; a row's logits do not depend on the rows beside it."""

    def compute(self, input_ids_BT: NDArray[np.int64], mask_BT: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the logits, of shape (B, C)."""
        ...


class TorchRuntime:
    """transformers on the safetensors weights."""

    def __init__(self, model_dir: Path, device: Device) -> None:
        """Load the weights; the number of threads holds for all of torch in this process.

        Raises:
            BundleError: the folder holds no model that transformers can load, or there is no GPU.
        """
        import torch  # noqa: PLC0415 - slow to import, and ONNX serves without it

        torch.set_num_threads(device.threads)
        if device.gpus and not torch.cuda.is_available():
            raise BundleError(
                f"{model_dir}: {device.gpus:g} GPU asked for, torch {torch.__version__} finds none in this process. "
                "Set gpus in resources.serve and resources.evaluate to 0, or run where a GPU is."
            )
        self._device = device.torch_name
        self.model = load_torch_model(model_dir).to(self._device)

    def compute(self, input_ids_BT: NDArray[np.int64], mask_BT: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the logits, of shape (B, C)."""
        import torch  # noqa: PLC0415 - slow to import, and ONNX serves without it

        with torch.inference_mode():
            answer = self.model(
                input_ids=torch.from_numpy(input_ids_BT).to(self._device),
                attention_mask=torch.from_numpy(mask_BT).to(self._device),
            )
        logits_BC: NDArray[np.float64] = answer.logits.double().cpu().numpy()
        return logits_BC


class OnnxRuntime:
    """ONNX Runtime on an exported graph."""

    def __init__(self, graph: Path, threads: int) -> None:
        """Load the graph.

        Raises:
            BundleError: ONNX Runtime does not accept it.
        """
        import onnxruntime  # noqa: PLC0415 - slow to import, and torch serves without it
        from onnxruntime.capi import onnxruntime_pybind11_state as errors  # noqa: PLC0415 - slow to import, and torch serves without it

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Spinning saves microseconds between operators but burns the cores that the ingress needs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        except (errors.Fail, errors.InvalidGraph, errors.InvalidProtobuf, errors.NotImplemented) as err:
            raise BundleError(f"{graph}: ONNX Runtime cannot load it: {err}. Evaluate the model again.") from err

    def compute(self, input_ids_BT: NDArray[np.int64], mask_BT: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the logits, of shape (B, C)."""
        feed = {"input_ids": input_ids_BT, "attention_mask": mask_BT}
        logits_BC: NDArray[np.float32] = self._session.run(["logits"], feed)[0]
        return logits_BC.astype(np.float64)


def load_runtime(name: RuntimeName, model_dir: Path, device: Device) -> Runtime:
    """Return the runtime called ``name`` on the files in ``model_dir``; ONNX Runtime computes on the CPU.

    Raises:
        BundleError: its file is missing or cannot be loaded, or torch finds no GPU where it is to compute on one.
    """
    path = model_dir / (WEIGHTS_NAME if name == "torch" else GRAPH_NAMES[name])
    if not path.is_file():
        raise BundleError(f"{path}: is missing, the runtime {name} needs it. Evaluate the model again.")
    return TorchRuntime(model_dir, device) if name == "torch" else OnnxRuntime(path, device.threads)


def load_torch_model(model_dir: Path) -> torch.nn.Module:
    """Return the trained model in float32, in evaluation mode, read from local files only.

    Raises:
        BundleError: the folder holds no model that transformers can load.
    """
    import torch  # noqa: PLC0415 - slow to import, and ONNX serves without it
    from transformers import AutoModelForSequenceClassification  # noqa: PLC0415 - slow to import, and ONNX serves without it
    from transformers.utils import logging  # noqa: PLC0415 - slow to import, and ONNX serves without it

    logging.disable_progress_bar()
    try:
        model: Any = AutoModelForSequenceClassification.from_pretrained(
            model_dir, dtype=torch.float32, local_files_only=True, use_safetensors=True
        )
    except (OSError, ValueError, KeyError) as err:
        raise BundleError(f"{model_dir}: transformers cannot load the model: {err}. Train it again.") from err
    loaded: torch.nn.Module = model.eval()
    return loaded
