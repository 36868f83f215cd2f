"""The only modules that import Feast. It is loaded here, without what takes most of the time of that.

Feast 0.67 lets typeguard rewrite its classes while it is loaded, and loads torch, for answers as tensors that nobody
asks for: together two thirds of its seconds, for which each command that reads features and each replica would wait.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import typeguard

TORCH_WRAPPER = "feast.torch_wrapper"


def _leave_as_it_is(target: Any = None, **_options: Any) -> Any:
    """Stand in for ``typeguard.typechecked``, in both of its forms."""
    return _leave_as_it_is if target is None else target


@contextmanager
def _lightly() -> Iterator[None]:
    """Let Feast be loaded without types that are checked at run time, and torch only when it is asked for."""
    if TORCH_WRAPPER not in sys.modules:
        wrapper: Any = ModuleType(TORCH_WRAPPER, "Loads torch when Feast asks for it.")
        wrapper.get_torch = lambda: importlib.import_module("torch")
        sys.modules[TORCH_WRAPPER] = wrapper
    checked = typeguard.typechecked
    typeguard.typechecked = _leave_as_it_is
    try:
        yield
    finally:
        typeguard.typechecked = checked


with _lightly():
    importlib.import_module("feast")
