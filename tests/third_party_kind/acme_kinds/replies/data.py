"""From source rows to questions and replies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import pyarrow as pa
import pyarrow.compute as pc

from acme_kinds.replies.spec import Replies
from launchyard.contract.rows import RowPolicy, Target
from launchyard.data.intake import REDACTED
from launchyard.data.values.columns import hide_values, read_text, read_times
from launchyard.data.values.redact import clean_text
from launchyard.spec.blocks import Product


class ReplyRecipe:
    """Columns ``question`` and ``reply``, and those that slices and splits need."""

    content_columns: tuple[str, ...] = ("question",)
    target = Target("sequence", "reply")
    # Two replies to one question are both right.
    policy = RowPolicy(duplicates="drop", conflicts="keep", near_copies="none")

    def __init__(self, spec: Product) -> None:
        product = cast(Replies, spec)
        self._data = product.data
        self._slices = tuple(dict.fromkeys(product.evaluate.slices))

    def source_columns(self) -> tuple[str, ...]:
        data = self._data
        named = (data.question, data.reply, *self._slices, data.split.group, data.split.time)
        return tuple(dict.fromkeys(name for name in named if name is not None))

    def file_columns(self) -> Mapping[str, tuple[str, ...]]:
        return {}

    def convert(self, batch: pa.Table) -> pa.Table:
        data, split = self._data, self._data.split
        masked: dict[str, int] = dict.fromkeys(data.redact, 0)
        columns = {}
        for name, column in (("question", data.question), ("reply", data.reply)):
            cleaned = []
            for value in read_text(batch, column, key=f"data.{name}").to_pylist():
                text, counts = clean_text(value or "", data.redact)
                for pattern, count in counts.items():
                    masked[pattern] += count
                cleaned.append(text.strip() or None)
            columns[name] = pa.array(cleaned, pa.string())
        for name in self._slices:
            columns[name] = pc.utf8_trim_whitespace(read_text(batch, name, key="evaluate.slices"))
        if split.group is not None:
            columns[split.group] = hide_values(batch, split.group, key="data.split.group")
        if split.time is not None:
            columns[split.time] = pa.array(read_times(batch, split.time, key="data.split.time"), from_pandas=True)
        for pattern, count in masked.items():
            columns[REDACTED + pattern] = pa.array([count, *[0] * batch.num_rows][: batch.num_rows], pa.int64())
        return pa.table(columns)

    def inspect(self, sample: pa.Table) -> list[str]:
        return []
