"""Kinds of rows that nobody here wrote: pictures, and measurements without labels, as a distribution brings them."""

from __future__ import annotations

import importlib
import struct
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from installed_distribution import PACKAGE, install
from launchyard.kinds import list_installed_kinds

KIND = '''
"""Rows of pictures or of measurements."""

from dataclasses import replace
from typing import Literal

import pyarrow as pa
from pydantic import Field

from launchyard.contract.rows import RowPolicy, Target
from launchyard.data.values.columns import read_numbers, read_text
from launchyard.kinds.text_classification import KIND as TEXTS
from launchyard.spec.blocks import PretrainedModel, Product, RowData


class RowsData(RowData):
    """Rows of a picture or of a measurement."""

    image: str | None = Field(None, description="Column of the picture.")
    sizes: tuple[str, ...] = Field((), description="Columns of numbers.")
    target: str = Field("folder", description="Column of the answer.")


class Rows(Product):
    """A product of Acme."""

    kind: Literal["acme-notes"] = Field(description="What sort of product it is.")
    data: RowsData = Field(description="Where the rows are.")
    model: PretrainedModel = Field(description="What is served.")


class RowsRecipe:
    def __init__(self, spec):
        self._data = spec.data
        if spec.data.image is not None:
            self.content_columns = ("image",)
            self.target = Target("class", "target")
            self.policy = RowPolicy(duplicates="drop", conflicts="drop", near_copies="none")
        else:
            self.content_columns = spec.data.sizes
            self.target = Target("number", "target")
            self.policy = RowPolicy(duplicates="keep", conflicts="keep", near_copies="none")

    def source_columns(self):
        images = () if self._data.image is None else (self._data.image,)
        return (*images, *self._data.sizes, self._data.target)

    def file_columns(self):
        return {} if self._data.image is None else {self._data.image: ("image/png", "image/jpeg")}

    def convert(self, batch):
        data = self._data
        if data.image is not None:
            target = read_text(batch, data.target, key="data.target")
            return pa.table({"image": batch[data.image], "target": target})
        sizes = {name: pa.array(read_numbers(batch, name, key="data.sizes")) for name in data.sizes}
        return pa.table(sizes | {"target": pa.array(read_numbers(batch, data.target, key="data.target"))})

    def inspect(self, sample):
        return []


KIND = replace(TEXTS, name="acme-notes", summary="Rows.", spec=Rows, recipe="acme_notes:RowsRecipe", train=None)
'''


@contextmanager
def installed(site: Path) -> Iterator[None]:
    """Install the distribution for this process, as long as the block runs."""
    install(site, module=KIND)
    sys.path.insert(0, str(site))
    importlib.invalidate_caches()
    list_installed_kinds.cache_clear()
    try:
        yield
    finally:
        sys.path.remove(str(site))
        sys.modules.pop(PACKAGE, None)
        list_installed_kinds.cache_clear()


def make_png(shade: int, *, size_px: int = 4) -> bytes:
    """Return a grey picture."""
    rows = (b"\0" + bytes([shade]) * size_px) * size_px
    head = struct.pack(">IIBBBBB", size_px, size_px, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    )
