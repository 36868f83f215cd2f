"""Letting go of a predictor that holds more than memory."""

from __future__ import annotations

from launchyard.contract.predictor import Closing, Predictor


def close_predictor(predictor: Predictor) -> None:
    """Let go of what a predictor holds beside memory, if it holds anything; blocks."""
    if isinstance(predictor, Closing):
        predictor.close()
