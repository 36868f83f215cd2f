"""A kind without training, as a distribution brings it: a classifier that others trained is measured and served."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.csv
import pyarrow.parquet as pq

from installed_distribution import PACKAGE, install
from launchyard.data.manifest import SPLITS
from launchyard.kinds import list_installed_kinds

KIND = '''
"""Texts that a model labels as it comes."""

import shutil
from dataclasses import replace
from typing import Literal

from pydantic import Field

from launchyard.kinds.text_classification import KIND as TEXTS
from launchyard.kinds.text_classification.data import TextRecipe
from launchyard.kinds.text_classification.export import export_text_classifier
from launchyard.kinds.text_classification.spec import TextData, TextEvaluate, TextServe
from launchyard.spec.blocks import PretrainedModel, Product


class Notes(Product):
    """Texts that a model labels as it comes."""

    kind: Literal["acme-notes"] = Field(description="What sort of product it is.")
    data: TextData = Field(description="Where the rows come from and what they must fulfil.")
    model: PretrainedModel = Field(description="What is served.")
    evaluate: TextEvaluate = Field(TextEvaluate(), description="Measures and gates.")
    serve: TextServe = Field(TextServe(), description="How the endpoint answers.")


class NotesRecipe(TextRecipe):
    def __init__(self, spec):
        self._data, self._slices = spec.data, spec.evaluate.slices


def export_base(job):
    assert not list((job.bundle_dir).glob("model")) and job.base_dir is not None
    shutil.copytree(job.base_dir / "model", job.bundle_dir / "model")
    shutil.copyfile(job.base_dir / "preprocess.json", job.bundle_dir / "preprocess.json")
    return export_text_classifier(job)


KIND = replace(
    TEXTS,
    name="acme-notes",
    summary="Labels of texts.",
    spec=Notes,
    recipe="acme_notes:NotesRecipe",
    train=None,
    export="acme_notes:export_base",
)
'''


def write_product(folder: Path, dataset_dir: Path, candidate_dir: Path) -> Path:
    """Write rows and a spec whose base is the trained candidate; return the spec's path."""
    names = {}
    for split in SPLITS:
        names[split] = f"{split}.csv"
        table = pq.read_table(dataset_dir / f"{split}.parquet").select(["text", "label"])
        pyarrow.csv.write_csv(table, folder / names[split])
    document = {
        "api": "launchyard/v1",
        "product": "notes",
        "kind": "acme-notes",
        "data": {"source": names},
        "model": {"base": str(candidate_dir)},
        "evaluate": {"gates": {"accuracy": ">= 0.6"}, "bootstrap": 100},
        "serve": {"runtime": "torch"},
    }
    (folder / "product.yaml").write_text(json.dumps(document), encoding="utf-8")
    return folder / "product.yaml"


@contextmanager
def installed(site: Path, module: str = KIND) -> Iterator[None]:
    """Install the distribution, whose package is ``module``, for this process, as long as the block runs."""
    install(site, module=module)
    sys.path.insert(0, str(site))
    sys.modules.pop(PACKAGE, None)
    importlib.invalidate_caches()
    list_installed_kinds.cache_clear()
    try:
        yield
    finally:
        sys.path.remove(str(site))
        sys.modules.pop(PACKAGE, None)
        list_installed_kinds.cache_clear()
