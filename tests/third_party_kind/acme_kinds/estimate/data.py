"""From source rows to measurements and their target."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from acme_kinds.estimate.spec import Estimate
from launchyard.contract.rows import RowPolicy, Target
from launchyard.data.values.columns import hide_values, read_numbers, read_text, read_times
from launchyard.spec.blocks import Product


class MeasurementRecipe:
    """The features by their names, ``target``, and what slices and splits need."""

    target = Target("number", "target")
    # Two equal measurements are two observations, and that they came to two numbers is what is to be learned.
    policy = RowPolicy(duplicates="keep", conflicts="keep", near_copies="none")

    def __init__(self, spec: Product) -> None:
        product = cast(Estimate, spec)
        self._data = product.data
        self._slices = tuple(name for name in dict.fromkeys(product.evaluate.slices) if name not in self._data.features)
        self.content_columns: tuple[str, ...] = product.data.features

    def source_columns(self) -> tuple[str, ...]:
        split = self._data.split
        named = (*self._data.features, self._data.target, *self._slices, split.group, split.time)
        return tuple(dict.fromkeys(name for name in named if name is not None))

    def file_columns(self) -> Mapping[str, tuple[str, ...]]:
        return {}

    def convert(self, batch: pa.Table) -> pa.Table:
        split = self._data.split
        columns = {
            name: pa.array(read_numbers(batch, name, key="data.features"), from_pandas=True)
            for name in self._data.features
        }
        columns["target"] = pa.array(read_numbers(batch, self._data.target, key="data.target"), from_pandas=True)
        for name in self._slices:
            columns[name] = pc.utf8_trim_whitespace(read_text(batch, name, key="evaluate.slices"))
        if split.group is not None:
            columns[split.group] = hide_values(batch, split.group, key="data.split.group")
        if split.time is not None:
            columns[split.time] = pa.array(read_times(batch, split.time, key="data.split.time"), from_pandas=True)
        return pa.table(columns)

    def inspect(self, sample: pa.Table) -> list[str]:
        constant = [name for name in self._data.features if np.ptp(sample[name].to_numpy()) == 0]
        return [f"data.features: {', '.join(constant)} has one value in all rows. Remove it."] if constant else []
