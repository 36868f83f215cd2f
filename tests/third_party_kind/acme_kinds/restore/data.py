"""From source rows to pairs of pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import pyarrow as pa
import pyarrow.compute as pc

from acme_kinds.restore.spec import Restore
from launchyard.contract.rows import RowPolicy, Target
from launchyard.data.values.columns import read_text
from launchyard.spec.blocks import Product

PNG = ("image/png",)


class PictureRecipe:
    """Columns ``image``, as a request names it, and ``clean`` hold the files, as bytes."""

    content_columns: tuple[str, ...] = ("image",)
    target = Target("several", "clean")
    policy = RowPolicy(duplicates="drop", conflicts="drop", near_copies="none")

    def __init__(self, spec: Product) -> None:
        product = cast(Restore, spec)
        self._data = product.data
        self._slices = tuple(dict.fromkeys(product.evaluate.slices))

    def source_columns(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self._data.noisy, self._data.clean, *self._slices)))

    def file_columns(self) -> Mapping[str, tuple[str, ...]]:
        return {self._data.noisy: PNG, self._data.clean: PNG}

    def convert(self, batch: pa.Table) -> pa.Table:
        slices = {name: pc.utf8_trim_whitespace(read_text(batch, name, key="evaluate.slices")) for name in self._slices}
        return pa.table({"image": batch[self._data.noisy], "clean": batch[self._data.clean], **slices})

    def inspect(self, sample: pa.Table) -> list[str]:
        return []
