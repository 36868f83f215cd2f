"""In which arithmetic the forward pass is computed."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Literal

import torch

Precision = Literal["fp32", "bf16"]


def choose_precision(wanted: Literal["auto", "fp32", "bf16"], device: str) -> Precision:
    """Return the precision to compute in; ``auto`` takes bf16 where the processor multiplies it in hardware.

    Emulated bf16 (older CPUs, GPUs before Ampere) is slower than fp32.
    """
    if wanted != "auto":
        return wanted
    if torch.device(device).type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    flags = torch.cpu.get_capabilities()
    return "bf16" if flags.get("avx512_bf16") or flags.get("amx_bf16") else "fp32"


def autocast(precision: Precision, device: str) -> AbstractContextManager[None]:
    """Return the context in which matrix products run in ``precision``; weights stay in fp32."""
    return torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=precision == "bf16")  # type: ignore[no-any-return]
