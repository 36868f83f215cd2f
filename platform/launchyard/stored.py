"""The base of every value that is kept as a JSON document: manifests, measures, versions."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Stored(BaseModel):
    """A value object that is written to disk and read back by a later step, perhaps a newer version."""

    model_config = ConfigDict(frozen=True, extra="forbid")
