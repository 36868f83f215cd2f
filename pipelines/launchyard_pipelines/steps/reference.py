"""How a step is given its spec and its files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from launchyard.settings import Settings, load_settings
from launchyard.sources.fetch.request import Progress
from launchyard.sources.resolve import Fetched, fetch
from launchyard.spec.blocks import Product
from launchyard.spec.load import load_spec


class Artifact(Protocol):
    """The part of a KFP artifact that steps use."""

    path: str


@dataclass(frozen=True)
class SpecReference:
    """A spec by place, digest and the values that a person changed when starting the run."""

    uri: str
    sha256: str
    overrides: Sequence[str]
    code_version: str
    """Part of what a step is reused by: new code, new result."""

    def load(self) -> Product:
        """Return the spec.

        Raises:
            SourceError: the file is not there, or not the one that the run was started with.
        """
        fetched = fetch(f"{self.uri}#sha256={self.sha256}", load_settings(), base_dir=Path.cwd())
        return load_spec(fetched.path, [write_whole_numbers(text) for text in self.overrides])


def write_whole_numbers(override: str) -> str:
    """Return ``override`` with a whole number written as one: KFP 2.17 carries every number as a double.

    >>> write_whole_numbers("train.epochs=3.0")
    'train.epochs=3'
    """
    key, separator, value = override.partition("=")
    whole, point, fraction = value.partition(".")
    return f"{key}{separator}{whole}" if point and fraction == "0" and whole.lstrip("-").isdigit() else override


def find_run_id(settings: Settings, pipeline_id: str) -> str:
    """Return the run's id: its folder's name on a laptop, the pipeline job's id on a cluster."""
    return pipeline_id if settings.run_dir is None else settings.run_dir.name


def fetch_base(spec: Product, settings: Settings, on_download: Progress) -> Fetched | None:
    """Return the base model, if the spec has one; ``on_download`` is told how far it is."""
    uri = spec.model.base_uri
    return None if uri is None else fetch(uri, settings, base_dir=Path.cwd(), on_progress=on_download)
