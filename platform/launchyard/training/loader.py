"""Batches that are prepared while the ones before them are computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

Load = Callable[[NDArray[np.intp]], Any]

LARGE_ROWS = 10_000
"""Training rows from which on loading ahead pays for starting processes."""
AUTO_WORKERS = 2
BATCHES_AHEAD = 4
"""Batches that each process has ready."""


def count_loaders(wanted: int | None, *, device: str, num_rows: int, threads: int) -> int:
    """Return how many processes load ahead: what the spec says, else as many as pay off.

    On a CPU they would take the cores from the model.
    """
    if wanted is not None:
        return wanted
    if not device.startswith("cuda") or num_rows < LARGE_ROWS:
        return 0
    return max(0, min(AUTO_WORKERS, threads - 1))


def load_batches(load: Load, parts: Iterable[NDArray[np.intp]], *, num_workers: int, device: str) -> Iterator[Any]:
    """Yield each part of the rows as ``load`` gives it, in order, whatever the number of processes."""
    if num_workers == 0:
        return map(load, parts)
    loader: DataLoader[Any] = DataLoader(
        _LoadedRows(load),
        # Asked for its parts one by one, so that none is planned before its turn is near. What names a sample is up to
        # the data set.
        sampler=parts,
        batch_size=None,
        num_workers=num_workers,
        prefetch_factor=BATCHES_AHEAD,
        pin_memory=device.startswith("cuda"),
        # Else it would draw a number from the generator that the training step draws from.
        generator=torch.Generator(),
    )
    return iter(loader)


class _LoadedRows(Dataset[Any]):
    """Any rows, loaded together; PyTorch's map-style data set whose keys are arrays of rows."""

    def __init__(self, load: Load) -> None:
        self._load = load

    def __getitem__(self, rows_B: NDArray[np.intp]) -> Any:
        return self._load(rows_B)
