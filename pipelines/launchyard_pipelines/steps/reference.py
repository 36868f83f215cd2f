"""How a step is given its spec and its files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from launchyard.spec.load import load_spec

from launchyard.settings import Settings, load_settings
from launchyard.sources import fetch
from launchyard.spec.blocks import Product


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
        return load_spec(fetched.path, self.overrides)


def find_run_id(settings: Settings, pipeline_id: str) -> str:
    """Return the run's id: its folder's name on a laptop, the pipeline job's id on a cluster."""
    return pipeline_id if settings.run_dir is None else settings.run_dir.name
