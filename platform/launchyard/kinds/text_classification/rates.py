"""Learning rates that pretrained transformers are fine-tuned with."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RateRange:
    """Learning rates at which pretrained transformers are fine-tuned with one optimizer."""

    low: float
    high: float
    refused: float
    """From here on a pretrained model forgets what it knew within a few steps."""

    def scale(self, factor: float) -> RateRange:
        """Return the range of weights that take ``factor`` times the rate."""
        return RateRange(self.low * factor, self.high * factor, self.refused * factor)


_ADAPTIVE = RateRange(low=1e-6, high=5e-4, refused=1e-2)
RATES = {
    "adamw": _ADAPTIVE,
    "adam": _ADAPTIVE,
    "rmsprop": RateRange(low=1e-7, high=2e-4, refused=1e-2),
    "sgd": RateRange(low=1e-4, high=1e-1, refused=2.0),
}
LORA_FACTOR = 10
"""Adapters start at zero and take about ten times the rate (Biderman et al. 2024, "LoRA learns less")."""


def find_rates(optimizer: str, *, has_adapters: bool) -> RateRange:
    """Return the learning rates of an optimizer, for all weights or for low-rank adapters."""
    return RATES[optimizer].scale(LORA_FACTOR if has_adapters else 1)


def describe_rates(optimizer: str, rates: RateRange) -> str:
    """Return in words what is usual."""
    return f"{optimizer} on a pretrained transformer takes {rates.low:g} to {rates.high:g}"
